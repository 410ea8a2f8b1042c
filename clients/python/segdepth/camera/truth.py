"""What is true of the simulated camera's frames, as a JSON file: drift of each frame, every column, every change."""

import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segdepth.camera.camera import Camera, Shot
from segdepth.errors import CannotWrite, UnreadableFile
from segdepth.export.atomic import AtomicFile


@dataclass(frozen=True)
class TrueChange:
    """A column has another number of atoms from frame `frame` on.

    column: its row in `CameraTruth.columns`; x_A, y_A: where it is in frame 0, (0, 0) the centre of the first pixel.
    """

    column: int
    x_A: float
    y_A: float
    species: str
    frame: int
    before: int
    after: int


class TruthFile:
    """Written while the camera runs, there under its name when it is closed, by whatever: what is in it is true.

    An object of: what the camera was asked for; `columns`: rows of x [Å], y [Å] in frame 0, atoms, element, also of
    those outside the field; `frames`: rows of number, drift x [Å], drift y [Å]; `changes`. Raises CannotWrite.
    """

    def __init__(self, path: Path, camera: Camera):
        self._scene, self._file = camera.scene, AtomicFile(path)
        self._xy_A = camera.field.positions_A()
        self._hopped = np.zeros(len(camera.scene.by), bool)
        self._changes: list[TrueChange] = []
        self._frames = 0
        self._lock, self._closed, self._broken = threading.Lock(), False, False
        about = {
            "scene": camera.scene.name,
            "seed": camera.seed,
            "dose_per_A2": camera.dose,
            "fps": camera.fps,
            "size_px": camera.field.size,
            "sampling_A": camera.field.sampling_A,
            "drift_A_per_s": camera.drift_A_per_s,
            "hop_every_s": camera.hop_every_s,
            "optics": camera.scene.optics,
            "columns": [
                [round(x, 4), round(y, 4), atoms, camera.scene.elements[species]]
                for (x, y), atoms, species in zip(
                    self._xy_A.tolist(), camera.scene.atoms.tolist(), camera.scene.species.tolist(), strict=True
                )
            ],
        }
        self._file.write(f'{json.dumps(about)[:-1]},\n"frames": ['.encode())

    def add(self, shot: Shot) -> None:
        """The next frame; none that a stream's thread takes after the end."""
        with self._lock:
            if self._closed:
                return
            try:
                self._add(shot)
            except CannotWrite:
                self._broken = self._closed = True
                raise

    def close(self) -> None:
        """No frame follows: the file is there."""
        with self._lock:
            self._closed = True
        changes = json.dumps([asdict(change) for change in self._changes])
        try:
            self._file.write(f'\n],\n"changes": {changes}}}\n'.encode())
            self._file.finish()
            self._file.publish()
        except CannotWrite:
            self._file.discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._broken:
            self._file.discard()
        else:
            self.close()

    def _add(self, shot: Shot) -> None:
        for hop in shot.hops:
            self._change(hop.index, hop.hopped, int(shot.frame.sequence or 0))
        row = [shot.frame.sequence, round(shot.drift_A[0], 6), round(shot.drift_A[1], 6)]
        self._file.write(f"{',' if self._frames else ''}\n{json.dumps(row)}".encode())
        self._frames += 1

    def _change(self, index: int, hopped: bool, frame: int) -> None:
        before = self._scene.counts(self._hopped)
        self._hopped[index] = hopped
        after = self._scene.counts(self._hopped)
        column = int(self._scene.hopping[index])
        x, y = self._xy_A[column].round(4).tolist()
        species = self._scene.elements[int(self._scene.species[column])]
        self._changes.append(TrueChange(column, x, y, species, frame, int(before[column]), int(after[column])))


@dataclass(frozen=True, eq=False, repr=False)
class CameraTruth:
    """A truth file as it is read.

    about: what the camera was asked for, by name; xy_A [columns, 2], atoms [columns] and element of each column in
    frame 0; sequence [frames] and drift_A [frames, 2] of the frames that there were; changes in the order of time.
    """

    about: dict[str, Any]
    xy_A: NDArray[np.float64]
    atoms: NDArray[np.int64]
    species: tuple[str, ...]
    sequence: NDArray[np.int64]
    drift_A: NDArray[np.float64]
    changes: tuple[TrueChange, ...]

    def counts(self, frame: int) -> NDArray[np.int64]:
        """Atoms of each column [columns] in a frame, by its number."""
        counts = self.atoms.copy()
        for change in self.changes:
            if change.frame <= frame:
                counts[change.column] = change.after
        return counts

    def positions_A(self, frame: int) -> NDArray[np.float64]:
        """x, y of each column [columns, 2] in a frame, by its number. LookupError for a frame that there was not."""
        (row,) = np.flatnonzero(self.sequence == frame) if frame in self.sequence else (None,)
        if row is None:
            raise LookupError(f"frame {frame}: the camera did not take it")
        return np.asarray(self.xy_A + self.drift_A[row])

    def __repr__(self) -> str:
        return f"CameraTruth(columns={len(self.atoms)}, frames={len(self.sequence)}, changes={len(self.changes)})"


def read_truth(path: Path) -> CameraTruth:
    """A truth file. Raises UnreadableFile."""
    try:
        said = json.loads(path.read_text())
        columns, frames, changes = said.pop("columns"), said.pop("frames"), said.pop("changes")
        return CameraTruth(
            about=said,
            xy_A=np.array([row[:2] for row in columns], float).reshape(-1, 2),
            atoms=np.array([row[2] for row in columns], np.int64),
            species=tuple(row[3] for row in columns),
            sequence=np.array([row[0] for row in frames], np.int64),
            drift_A=np.array([row[1:] for row in frames], float).reshape(-1, 2),
            changes=tuple(TrueChange(**change) for change in changes),
        )
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UnreadableFile(f"{path}: not the truth of a simulated camera ({error})") from error
