"""pooled.csv: a movie's columns, several frames together."""

from pathlib import Path
from types import TracebackType
from typing import Self

from segdepth.export.atomic import AtomicFile, cannot_write
from segdepth.pooling import PooledFrames

CSV_HEADER = "first,last,frames,x_px,y_px,x_A,y_A,species,count,p_count,lo90,hi90,abstained,found_in,p_hop,status\n"


class PooledTable:
    """Writes STEM.pooled.csv of a movie's groups of frames into a folder, whole or not at all. Raises CannotWrite."""

    def __init__(self, folder: Path, stem: str):
        self._path = folder / f"{stem}.pooled.csv"
        self.groups = self.moved = self.without_sum = 0

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self._path.parent, error) from error
        self._file = AtomicFile(self._path)
        self._file.write(CSV_HEADER.encode())
        return self

    def add(self, group: PooledFrames) -> None:
        """The next group."""
        self.groups += 1
        self.moved += group.moved
        self.without_sum += group.frames > 1 and not group.summed
        self._file.write(csv_rows(group).encode())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._file.discard()
            return
        try:
            self._file.finish()
            self._file.publish()
        except BaseException:
            self._file.discard()
            raise


def csv_rows(group: PooledFrames) -> str:
    """The rows of one group of frames."""
    columns, sampling_A = group.columns, group.sampling_A
    frames = f"{group.first},{group.last},{group.frames}"
    row = f"{frames},%.3f,%.3f,%.3f,%.3f,%s,%d,%.4f,%d,%d,%d,%d,%.4f,{group.status.value}\n"
    fields = (
        *(columns.x_px, columns.y_px, columns.x_px * sampling_A, columns.y_px * sampling_A),
        *(columns.species_names(), columns.count, columns.p_count, columns.lo90, columns.hi90),
        *(columns.abstained, columns.frames, columns.p_hop),
    )
    return "".join(row % values for values in zip(*fields, strict=True))
