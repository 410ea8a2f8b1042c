"""The atomic columns of a frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segdepth import dataframes
from segdepth_protos import contract
from segdepth_protos.v1 import frame_pb2

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SPECIES = ("Ce", "O")
"""Names of the values 1, 2 of `Columns.species` where the server says none: it knows CeO2 alone."""


@dataclass(frozen=True, eq=False, repr=False)
class Columns:
    """The atomic columns of a frame, arrays of one entry each, sorted by y, then x."""

    table: frame_pb2.ColumnTable
    sampling_A: float

    def __len__(self) -> int:
        return self.table.size

    @cached_property
    def x_px(self) -> NDArray[np.float32]:
        """Position along a row [px]; 0 is the centre of the left-most pixel."""
        return array_from_wire(self.table.x_px, "<f4", len(self))

    @cached_property
    def y_px(self) -> NDArray[np.float32]:
        """Position along a column of the array [px]; 0 is the centre of the top-most pixel."""
        return array_from_wire(self.table.y_px, "<f4", len(self))

    @cached_property
    def x_A(self) -> NDArray[np.float64]:
        """x_px times the frame's own sampling [Å]."""
        return self.x_px * np.float64(self.sampling_A)

    @cached_property
    def y_A(self) -> NDArray[np.float64]:
        """y_px times the frame's own sampling [Å]."""
        return self.y_px * np.float64(self.sampling_A)

    @cached_property
    def species(self) -> NDArray[np.uint8]:
        """1 is the first of `elements`, 2 the second, ..."""
        return array_from_wire(self.table.species, "u1", len(self))

    @cached_property
    def count(self) -> NDArray[np.uint8]:
        """Most likely number of atoms, 10 = ten or more. Filled also where `abstained`."""
        return array_from_wire(self.table.count, "u1", len(self))

    @cached_property
    def lo90(self) -> NDArray[np.uint8]:
        """Lower end of the smallest contiguous set of counts that holds 0.90 of the posterior."""
        return array_from_wire(self.table.lo90, "u1", len(self))

    @cached_property
    def hi90(self) -> NDArray[np.uint8]:
        """Upper end of that set, inclusive."""
        return array_from_wire(self.table.hi90, "u1", len(self))

    @cached_property
    def abstained(self) -> NDArray[np.bool_]:
        """True where the posterior is too flat for the count to be used."""
        return array_from_wire(self.table.abstained, "u1", len(self)).astype(bool)

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """Posterior [column, 11] of 0, 1, ... 9, 10 or more atoms."""
        return array_from_wire(self.table.probabilities, "<f4", len(self), contract.CLASSES)

    @cached_property
    def p_count(self) -> NDArray[np.float32]:
        """Posterior of `count`."""
        return np.asarray(self.probabilities[np.arange(len(self)), self.count], np.float32)

    @property
    def elements(self) -> tuple[str, ...]:
        """What the model's columns may be of, for example Ce, O."""
        return tuple(self.table.species_names) or SPECIES

    def species_names(self) -> Sequence[str]:
        """The element of each column."""
        return named(self.species, self.elements)

    def fields(self) -> dict[str, NDArray[Any]]:
        """All of it but the posteriors, by the names of columns.csv, neither rounded nor sorted anew."""
        names = ("x_px", "y_px", "x_A", "y_A", "species", "count", "p_count", "lo90", "hi90", "abstained")
        return {name: getattr(self, name) for name in names} | {"species": np.array(self.species_names(), str)}

    def to_pandas(self) -> "pd.DataFrame":
        """The `fields` as pandas' DataFrame, a row a column of atoms. NotInstalled without pandas."""
        return dataframes.to_pandas(self.fields())

    def to_arrow(self) -> "pa.Table":
        """The `fields` as arrow's Table, with units in the metadata of its fields. NotInstalled without pyarrow."""
        return dataframes.to_arrow(self.fields())

    def __repr__(self) -> str:
        sizes = counted(self.elements, self.species, self.count, self.abstained)
        return f"Columns({sizes}, sampling_A={self.sampling_A:g})"

    def _repr_html_(self) -> str | None:
        return dataframes.html(self.fields())

    # A message of protobuf has no pickle; its bytes do.
    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.table.SerializeToString(), self.sampling_A)


def _unpickled(table: bytes, sampling_A: float) -> Columns:
    return Columns(frame_pb2.ColumnTable.FromString(table), sampling_A)


def counted(elements: Sequence[str], species: NDArray[Any], count: NDArray[Any], abstained: NDArray[np.bool_]) -> str:
    """How many columns there are, of which element, with which counts: for a repr."""
    parts = [f"size={len(count)}"]
    parts += [f"{name}={np.count_nonzero(species == number)}" for number, name in enumerate(elements, 1)]
    if len(count):
        parts += [f"count='{count.min()}-{count.max()}'", f"abstained={np.count_nonzero(abstained)}"]
    return ", ".join(parts)


def named(species: NDArray[np.uint8], elements: tuple[str, ...]) -> list[str]:
    """The names of values 1, 2, ...; 0 is nothing known."""
    names = ("?", *elements)
    return [names[value] for value in species]


def array_from_wire(data: bytes, dtype: str, *shape: int) -> NDArray[Any]:
    """Little endian bytes of the wire as a read-only array that shares their memory."""
    return np.frombuffer(data, dtype).reshape(shape)
