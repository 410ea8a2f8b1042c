"""columns.csv: one row a column, with the verdict of its frame in the last field."""

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.export.atomic import AtomicFile
from segdepth.export.growing import GrowingFile
from segdepth.results import Answer, FrameResult

CSV_HEADER = "frame,x_px,y_px,x_A,y_A,species,count,p_count,lo90,hi90,abstained,status\n"

_ROW = "%d,%.3f,%.3f,%.3f,%.3f,%s,%d,%.4f,%d,%d,%d,%s\n"


def csv_rows(result: FrameResult) -> str:
    """The rows of one frame, sorted by y, then x, as they are printed."""
    if not len(result.columns):
        return ""
    fields = column_fields(result).values()
    rows = zip(*(field.tolist() for field in fields), strict=True)
    return _ROW * len(result.columns) % tuple(chain.from_iterable(rows))


def column_fields(result: FrameResult) -> dict[str, NDArray[Any]]:
    """The columns of columns.csv by name, rounded and sorted as there: for every format that holds the table."""
    fields = result.fields()
    fields |= {name: rounded(fields[name], 3) for name in ("x_px", "y_px", "x_A", "y_A")}
    fields["p_count"] = rounded(fields["p_count"], 4)
    order = np.lexsort((fields["x_px"], fields["y_px"]))
    return {name: field[order] for name, field in fields.items()}


def rounded(values: NDArray[Any], digits: int) -> NDArray[np.float64]:
    """Values as they are printed."""
    # + 0.0 makes of -0.0 a 0.0.
    return np.add(np.round(values.astype(np.float64), digits), 0.0, dtype=np.float64)


class CsvTable:
    """Writes the table as the frames come. Raises CannotWrite."""

    def __init__(self, file: AtomicFile | GrowingFile):
        self._file = file
        file.write(CSV_HEADER.encode())

    def add(self, answer: Answer) -> None:
        """The next answer; one without columns has no rows."""
        if isinstance(answer, FrameResult):
            self._file.write(csv_rows(answer).encode())

    def finish(self) -> None:
        """No frame follows."""
        self._file.finish()
