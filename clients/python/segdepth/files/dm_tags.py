"""The tags of a DigitalMicrograph file, by ncempy, within bounds."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from ncempy.io import dm
from numpy.typing import NDArray

from segdepth.errors import UnreadableFile
from segdepth.files.damage import DAMAGED

MOST_READS = 2_000_000
MOST_BYTES_OF_NAMES = 64_000_000
"""Bounds of a file's tags. Files of microscopes stay a hundred times below."""


def tags_of(path: Path) -> dict[str, Any]:
    """Every tag by its name, ".ImageList.2.ImageData.DataType". Raises UnreadableFile for a damaged file."""
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            # Damaged counts overflow numpy's scalars.
            np.errstate(all="ignore"),
        ):
            return _Tags(data).allTags  # type: ignore[no-any-return]
    except UnreadableFile:
        raise
    except DAMAGED as error:
        raise UnreadableFile(
            f"not a DM3 or DM4 file, truncated or damaged: {str(error) or type(error).__name__}"
        ) from error


class _Tags(dm.fileDM):  # type: ignore[misc]
    """ncempy believes every count, and keeps each tag under its whole path: a small file could fill the memory."""

    def __init__(self, data: mmap.mmap):
        self._reads = self._bytes_of_names = 0
        super().__init__(data)

    def fromfile(self, file: mmap.mmap, dtype: Any, count: int) -> NDArray[Any]:
        """`count` numbers from where the file stands."""
        self._reads += 1
        if self._reads > MOST_READS:
            raise UnreadableFile("damaged: too many tags")
        size = np.dtype(dtype).itemsize * int(count)
        if size > len(file) - file.tell():
            raise UnreadableFile("truncated: a tag ends beyond the end of the file")
        return np.frombuffer(file.read(size), dtype)

    def _storeTag(self, name: str, value: Any) -> Any:
        self._bytes_of_names += len(self._curGroupNameAtLevelX) + len(name)
        if self._bytes_of_names > MOST_BYTES_OF_NAMES:
            raise UnreadableFile("damaged: too many tags")
        return super()._storeTag(name, value)
