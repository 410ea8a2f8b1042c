"""model.xyz: the atoms of a model that has the counts of each frame, as extended XYZ.

A count says how many atoms a column has, not where along the beam they are. The model spaces them evenly by the
crystal's period along the beam and puts the middle of every column into one plane: what a slab that is even about a
plane would be, up to half a period. x and y are those of the table, y downwards as in the frame, z along the beam.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import InvalidFrame, NotInstalled
from segdepth.export.atomic import AtomicFile
from segdepth.results import Answer, FrameResult
from segdepth_protos import contract

PERIODS_A = {"ceo2-110": 5.4113 / np.sqrt(2), "au-110": 4.0786 / np.sqrt(2)}
"""Distance of equal atoms along the beam [Å] of the released families: a/√2 of a face-centred lattice along [110]."""

MODEL = "atoms are placed by count, not measured"

MOST = contract.CLASSES - 1
"""Atoms of the highest column: ten stand for ten or more."""


class ModelAtoms:
    """Writes the atoms as the frames come: frame i of the file is frame i of the movie, empty where it has no columns.

    `period_A`: distance of a column's atoms along the beam [Å], by default the family's in PERIODS_A. Raises
    InvalidFrame for a family without one, CannotWrite.
    """

    def __init__(self, file: AtomicFile, shape: tuple[int, int], sampling_A: float, period_A: float | None = None):
        try:
            from ase.io.extxyz import write_extxyz
        except ImportError as error:
            raise NotInstalled("extended XYZ needs: pip install 'segdepth[export]'") from error
        self._file, self._write = file, write_extxyz
        self._size_A = (shape[1] * sampling_A, shape[0] * sampling_A)
        self._period_A = period_A

    def add(self, answer: Answer) -> None:
        """The next answer."""
        if isinstance(answer, FrameResult):
            self._add(answer)
            return
        for frame in range(answer.first, answer.last + 1):
            self._put(np.zeros((0, 3)), [], {}, 0.0, {"frame": frame, "status": "unanswered"})

    def _add(self, result: FrameResult) -> None:
        period_A = self._period(result.model.family)
        columns = result.columns
        number = columns.count.astype(int)
        column = np.repeat(np.arange(len(columns)), number)
        nth = np.arange(len(column)) - np.repeat(np.cumsum(number) - number, number)
        z_A = (nth - (number[column] - 1) / 2 + MOST / 2) * period_A
        # ASE calls an atom of no known element X.
        names = ["X" if name == "?" else name for name in columns.species_names()]
        self._put(
            np.column_stack([columns.x_A[column], columns.y_A[column], z_A]),
            [names[i] for i in column],
            {
                "column": column,
                "p_count": columns.p_count[column].astype(float),
                "abstained": columns.abstained[column],
            },
            MOST * period_A,
            {
                "frame": result.sequence,
                "status": result.domain.status.value,
                "family": result.model.family,
                "version": result.model.version,
                "period_A": round(period_A, 4),
            },
        )

    def _period(self, family: str) -> float:
        if self._period_A is not None:
            return self._period_A
        crystal = family.partition("@")[0]  # After that, the instrument that it is adapted to.
        if crystal not in PERIODS_A:
            raise InvalidFrame(
                f"xyz: how far apart the atoms of a column of {family} are along the beam is not known; say it in Å"
                " (--period)",
                "period",
            )
        return float(PERIODS_A[crystal])

    def _put(
        self,
        positions_A: NDArray[np.float64],
        names: list[str],
        arrays: dict[str, NDArray[Any]],
        height_A: float,
        about: dict[str, Any],
    ) -> None:
        from ase import Atoms

        atoms = Atoms(names, positions_A, cell=(*self._size_A, height_A), pbc=False)
        if len(atoms):
            atoms.arrays.update(arrays)
        atoms.info.update(about, model=MODEL)
        text = io.StringIO()
        self._write(text, [atoms])
        self._file.write(text.getvalue().encode())

    def finish(self) -> None:
        """No frame follows."""
        self._file.finish()
