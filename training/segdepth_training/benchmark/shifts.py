"""Shift sets: frames from outside what the model knows, each with what an honest model does with them."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from ase import Atoms
from scipy.spatial import cKDTree

from segdepth_training.benchmark.foreign import FOREIGN
from segdepth_training.frames.exit_waves import ExitWaves, Plan
from segdepth_training.frames.imaging import Exposure, Optics
from segdepth_training.frames.observation import Observation, observe
from segdepth_training.recipes.recipe import Crystal
from segdepth_training.recipes.seeds import generator
from segdepth_training.specimens.families import draw_for_benchmark
from segdepth_training.specimens.foreign import alike
from segdepth_training.specimens.projection import project
from segdepth_training.specimens.specimen import Specimen

DOSES = (200.0, 500.0, 2000.0)
"""e/Å² in vacuum and frame."""

SEED = 1
"""Of the benchmark's seed range: no specimen of a shift set is one of the families'."""

Expected = Literal["refused", "suspect", "ten", "covered"]
"""A refusal; at least a suspicion; ten or more, or an abstention; an interval that covers the truth."""

CARBON_PER_A3 = 0.10
"""Number density of amorphous carbon of 2 g/cm³."""

CARBON_A, CARBON_APART_A = (10.0, 30.0), 1.3
"""Its thickness, and the least distance of two atoms [Å]."""

STRAIN = 0.02
"""Of a strained specimen along a direction; half of them longer, half shorter."""


@dataclass(frozen=True)
class ShiftPlan(Plan):
    """Specimens of a shift set."""

    made: str = "known"
    """known, tilt-<degrees>, thick, carbon, strained, or a name of FOREIGN."""

    @property
    def digest(self) -> str:
        """Over how they are made, too."""
        return f"{self.made}-{super().digest}"

    def specimen(self, index: int) -> Specimen:
        """One of them; known ones family by family."""
        numbers, limits = generator(self.purpose, self.seed, index), self.recipe.specimens
        if self.made in FOREIGN:
            return FOREIGN[self.made].specimen(numbers, limits.cell_A)
        family = self.families[index % len(self.families)]
        tilt_deg = float(self.made.removeprefix("tilt-")) if self.made.startswith("tilt-") else None
        if self.made == "thick":
            family, limits = "paper", limits.model_copy(update={"atoms": (11, limits.thick_atoms)})
        projection = project(self.recipe.crystal)
        specimen = draw_for_benchmark(numbers, projection, limits, family, tilt_deg=tilt_deg)
        altered = {"carbon": on_carbon, "strained": strained}.get(self.made)
        return altered(numbers, specimen) if altered else specimen


def strained(rng: np.random.Generator, specimen: Specimen) -> Specimen:
    """The same specimen by STRAIN longer or shorter along a direction of the image; what leaves the cell is cut off."""
    angle_rad, middle_A = rng.uniform(0, np.pi), float(specimen.atoms.cell[0, 0]) / 2
    along = np.array([np.cos(angle_rad), np.sin(angle_rad)])
    stretch = np.eye(2) + rng.choice([-STRAIN, STRAIN]) * np.outer(along, along)
    atoms, columns = specimen.atoms.copy(), specimen.columns.copy()
    for places in (atoms.positions, columns):
        places[:, :2] = (places[:, :2] - middle_A) @ stretch + middle_A
    inside_A = np.abs(atoms.positions[:, :2] - middle_A).max(1) < middle_A
    inside_C = np.abs(columns[:, :2] - middle_A).max(1) < middle_A
    return dataclasses.replace(specimen, atoms=atoms[inside_A], columns=columns[inside_C], at_entrance=None)


def on_carbon(rng: np.random.Generator, specimen: Specimen) -> Specimen:
    """The same specimen on 10-30 Å of amorphous carbon, which the beam meets last: random atoms, none within 1.3 Å."""
    side_A, thickness_A = float(specimen.atoms.cell[0, 0]), rng.uniform(*CARBON_A)
    wanted = round(CARBON_PER_A3 * side_A**2 * thickness_A)
    positions = np.zeros((0, 3))
    while len(positions) < wanted:
        more = rng.uniform(0, [side_A, side_A, thickness_A], (wanted, 3))
        both = np.concatenate([positions, more])
        late = {int(second) for _, second in cKDTree(both).query_pairs(CARBON_APART_A, output_type="ndarray")}
        positions = both[[i for i in range(len(both)) if i not in late]][:wanted]
    positions[:, 2] += specimen.lowest_A + 1.5
    carbon = Atoms("C" * len(positions), positions)
    atoms = specimen.atoms + carbon
    atoms.cell[2, 2] = positions[:, 2].max() + 2.0
    return dataclasses.replace(specimen, atoms=atoms)


@dataclass(frozen=True)
class Shift:
    """One shift set: how its specimens are made, and what is other than in the domain when they are seen."""

    name: str
    expected: Expected
    made: str = "known"
    more_defocus_A: float = 0.0
    optics: tuple[tuple[str, float], ...] = ()
    """Fields of Optics with a value instead of the drawn one."""
    exposure: tuple[tuple[str, float], ...] = ()
    """The same of Exposure."""
    stated: float = 1.0
    """Factor on the sampling that is stated."""
    inverted: bool = False

    def observations(self, waves: ExitWaves, plan: Plan) -> Iterator[Observation]:
        """Every specimen at every dose."""
        for index in range(waves.first, waves.first + len(waves)):
            for dose in DOSES:
                seen = observe(waves, plan, index, dose, alter=self.alter)
                frame = 2 * seen.frame.mean() - seen.frame if self.inverted else seen.frame
                # Half of the specimens are stated too coarse, half too fine.
                factor = self.stated if index % 2 else 1 / self.stated
                yield dataclasses.replace(seen, frame=frame, sampling_A=seen.sampling_A * factor)

    def alter(self, optics: Optics, exposure: Exposure) -> tuple[Optics, Exposure]:
        """The drawn conditions as this set has them."""
        optics = dataclasses.replace(optics, c10_A=optics.c10_A + self.more_defocus_A)
        return _with(optics, self.optics), _with(exposure, self.exposure)


T = TypeVar("T", Optics, Exposure)


def _with(drawn: T, values: tuple[tuple[str, float], ...]) -> T:
    changes = {name: torch.full_like(getattr(drawn, name), value) for name, value in values}
    return dataclasses.replace(drawn, **changes)


SHIFTS = (
    *(Shift(f"tilt {degrees}°", "covered", f"tilt-{degrees}") for degrees in (1, 2, 3)),
    # What was drawn from 10-90 Å becomes 120-200 Å, or -100 to -20 Å.
    Shift("defocus 120-200 Å", "covered", more_defocus_A=110),
    Shift("underfocus 20-100 Å", "covered", more_defocus_A=-110),
    Shift("sampling stated 2 % wrong", "suspect", stated=1.02),
    Shift("sampling stated 5 % wrong", "refused", stated=1.05),
    Shift("correlated noise, point spread 1.2 px", "covered", exposure=(("mtf_px", 1.2), ("correlated", True))),
    Shift("astigmatism 40 Å, coma 2000 Å", "covered", optics=(("c12_A", 40.0), ("c21_A", 2000.0))),
    Shift("drift 1.2 Å in a frame", "covered", exposure=(("drift_A", 1.2),)),
    Shift("amorphous carbon, 1-3 nm", "covered", "carbon"),
    Shift("strain 2 %", "covered", "strained"),
    # What other instruments have: less contrast than simulated, a holder that vibrates, a wider envelope.
    Shift("half contrast", "covered", exposure=(("contrast", 0.5),)),
    Shift("vibration 0.5 Å", "covered", exposure=(("vibration_A", 0.5),)),
    Shift("focal spread 60 Å", "covered", optics=(("focal_spread_A", 60.0),)),
    Shift("inverted contrast", "refused", inverted=True),
    Shift("columns of 11-20 atoms", "ten", "thick"),
    *(Shift(name, "refused", name) for name in FOREIGN),
)
BY_NAME = {shift.name: shift for shift in SHIFTS}


def shifts_for(own: Crystal) -> tuple[Shift, ...]:
    """The shift sets for a model of a crystal: its own is none."""
    return tuple(shift for shift in SHIFTS if shift.made not in FOREIGN or not alike(FOREIGN[shift.made], own))


def described() -> list[object]:
    """Everything that decides the frames of the shift sets, but the recipe."""
    foreign = [dataclasses.asdict(one) for one in FOREIGN.values()]
    carbon = [CARBON_PER_A3, CARBON_A, CARBON_APART_A]
    return [SEED, DOSES, [dataclasses.asdict(shift) for shift in SHIFTS], foreign, carbon, STRAIN]
