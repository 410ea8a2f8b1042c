"""The simulated camera's movies: a folder of MRC stacks, each there whole at once or growing frame by frame."""

import re
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import NotInstalled
from segdepth.export.atomic import AtomicFile, cannot_write
from segdepth.export.growing import GrowingFile

STEM = "camera"


class MovieFiles:
    """Frames of u16 into FOLDER/camera-00000.mrc and so on, `frames_per_file` each; a frame of another shape begins a
    new file. Earlier files in the folder stay; numbers go on after theirs.

    grow: a file is there from its first frame on and its header counts the frames that are in it; otherwise it has its
    name when it is whole. Raises CannotWrite, NotInstalled.
    """

    def __init__(self, folder: Path, sampling_A: float, frames_per_file: int, *, grow: bool = False):
        try:
            import mrcfile.dtypes  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            raise NotInstalled("MRC files need: pip install 'segdepth[files]'") from error
        self._header_dtype = mrcfile.dtypes.HEADER_DTYPE
        self._folder, self._sampling_A = folder, sampling_A
        self._frames_per_file, self._grow = frames_per_file, grow
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._number = 1 + max((_number(path) for path in folder.iterdir()), default=-1)
        except OSError as error:
            raise cannot_write(folder, error) from error
        self._file: AtomicFile | GrowingFile | None = None
        self._shape, self._frames = (0, 0), 0

    def add(self, image: NDArray[np.uint16]) -> None:
        """The next frame [height, width]."""
        if self._file is not None and (self._frames == self._frames_per_file or image.shape != self._shape):
            self._finish()
        if self._file is None:
            path = self._folder / f"{STEM}-{self._number:05d}.mrc"
            self._number += 1
            self._shape, self._frames = (image.shape[0], image.shape[1]), 0
            self._file = GrowingFile(path) if self._grow else AtomicFile(path)
            self._file.write(self._header(1 if self._grow else 0))
        self._file.write(np.ascontiguousarray(image, "<u2").tobytes())
        self._frames += 1
        if self._grow:
            self._count()

    def close(self) -> None:
        """No frame follows: the last file is finished, with the frames that it has."""
        if self._file is not None:
            self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif self._file is not None:
            self._file.discard()

    def _finish(self) -> None:
        assert self._file is not None
        self._count()
        self._file.finish()
        self._file.publish()
        self._file = None

    def _count(self) -> None:
        """Let the header say how many frames there are."""
        assert self._file is not None
        self._file.begin_with(self._header(self._frames))

    def _header(self, frames: int) -> bytes:
        """Of the MRC standard (2014) for an image stack of u16, lengths in Å."""
        header = np.zeros((), self._header_dtype)
        rows, columns = self._shape
        header["nx"], header["ny"], header["nz"] = columns, rows, frames
        header["mode"] = 6
        header["mx"], header["my"], header["mz"] = columns, rows, 1
        header["cella"]["x"], header["cella"]["y"] = columns * self._sampling_A, rows * self._sampling_A
        header["cella"]["z"] = self._sampling_A
        header["cellb"]["alpha"] = header["cellb"]["beta"] = header["cellb"]["gamma"] = 90
        header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
        # By the standard: not determined.
        header["dmin"], header["dmax"], header["dmean"], header["rms"] = 0, -1, -2, -1
        header["map"], header["machst"], header["nversion"] = b"MAP ", [0x44, 0x44, 0, 0], 20141
        return bytes(header.tobytes())


def _number(path: Path) -> int:
    """Of a file of this kind, -1 for any other."""
    match = re.fullmatch(rf"{STEM}-(\d+)\.mrc", path.name)
    return int(match[1]) if match else -1
