"""A movie's columns as one table."""

from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segdepth import dataframes
from segdepth.arguments import several, wrong_type
from segdepth.results import Answer, FrameResult, Gap
from segdepth.verdict import Status
from segdepth_protos.v1 import frame_pb2

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Columns of many frames, and which frames have none.

    fields: arrays of one entry a column of atoms, by the names of columns.csv: `frame` first, the `status` of its frame
    last; frames: with columns or without; refused: the numbers of the frames without columns because they were refused;
    gaps: frames without an answer.
    """

    fields: dict[str, NDArray[Any]]
    frames: int
    refused: tuple[int, ...]
    gaps: tuple[Gap, ...]

    def __len__(self) -> int:
        return len(self.fields["frame"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The array of a field."""
        return self.fields[name]

    def to_pandas(self) -> "pd.DataFrame":
        """As pandas' DataFrame. NotInstalled without pandas."""
        return dataframes.to_pandas(self.fields)

    def to_arrow(self) -> "pa.Table":
        """As arrow's Table, with units in the metadata of its fields. NotInstalled without pyarrow."""
        return dataframes.to_arrow(self.fields)

    def __repr__(self) -> str:
        return f"Table({self._sizes()})"

    def _repr_html_(self) -> str | None:
        table = dataframes.html(self.fields)
        return table and f"{table}<p>{self._sizes()}</p>"

    def _sizes(self) -> str:
        return f"rows={len(self)}, frames={self.frames}, refused={len(self.refused)}, gaps={sum(map(len, self.gaps))}"


def table(answers: Iterable[Answer]) -> Table:
    """The columns of all frames of a stream, or of other answers, as one table.

    Keeps their columns and none of their maps. Raises what the stream does, InvalidType for what is no answer.
    """
    if isinstance(answers, FrameResult | Gap):
        answers = (answers,)
    if isinstance(answers, AsyncIterable):
        raise wrong_type(answers, "answers", "a list of answers", "[answer async for answer in stream] is one")
    parts: list[dict[str, NDArray[Any]]] = [FrameResult(frame_pb2.FrameResult()).fields()]
    refused: list[int] = []
    gaps: list[Gap] = []
    for answer in several(answers, "answers", "the answers of a stream"):
        if isinstance(answer, Gap):
            gaps.append(answer)
            continue
        if not isinstance(answer, FrameResult):
            raise wrong_type(answer, "answers", "an answer of a stream: a FrameResult or a Gap")
        parts.append(answer.fields())
        if answer.domain.status is Status.REFUSED:
            refused.append(answer.sequence)
    fields = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Table(fields, len(parts) - 1, tuple(refused), tuple(gaps))
