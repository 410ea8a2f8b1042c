"""Strangers to a model: specimens that are foreign to it, and imaging conditions outside its recipe's.

None of them is among the benchmark's shift sets.
"""

import dataclasses
import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from segdepth_training.frames.exit_waves import Plan
from segdepth_training.frames.imaging import Exposure, Optics
from segdepth_training.frames.observation import Alter
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.recipes.seeds import generator
from segdepth_training.specimens.foreign import strangers
from segdepth_training.specimens.projection import project
from segdepth_training.specimens.specimen import Specimen, draw

TILT_DEG = (0.9, 4.0)
"""Tilts off the zone axis that are foreign [°]; up to 0.7° are in the domain."""

BEYOND_A = (15.0, 150.0)
"""How far a foreign defocus lies outside the recipe's range [Å]."""

TIMES = (3.0, 10.0)
"""A foreign aberration is so many times the recipe's largest."""


@dataclass(frozen=True)
class StrangerPlan(Plan):
    """Specimens that are foreign to a model: two of three are the own crystal tilted, the others other crystals.

    Tilt is what happens, and what resembles the domain most: it takes many to be told.
    """

    @property
    def digest(self) -> str:
        """Over which strangers there are, too."""
        ingredients = repr((TILT_DEG, strangers(self.recipe.crystal)))
        return f"{hashlib.sha256(ingredients.encode()).hexdigest()[:16]}-{super().digest}"

    def specimen(self, index: int) -> Specimen:
        """One of them."""
        numbers, limits = generator(self.purpose, self.seed, index), self.recipe.specimens
        if index % 3:
            tilt_deg = float(numbers.uniform(*TILT_DEG))
            return draw(numbers, project(self.recipe.crystal), limits, self.families, tilt_deg)
        kinds = strangers(self.recipe.crystal)
        return kinds[index // 3 % len(kinds)].specimen(numbers, limits.cell_A)


def altered(rng: np.random.Generator, recipe: Recipe) -> Alter:
    """Imaging conditions with one of them outside the recipe's."""
    microscope = recipe.microscope
    low_A, high_A = microscope.defocus_A
    beyond_A, times = rng.uniform(*BEYOND_A), rng.uniform(*TIMES)
    what = {
        "over": ("c10_A", high_A + beyond_A),
        "under": ("c10_A", low_A - beyond_A),
        "astigmatism": ("c12_A", times * max(microscope.astigmatism_A, 1.0)),
        "coma": ("c21_A", times * max(microscope.coma_A, 50.0)),
    }
    field, value = what[str(rng.choice(list(what)))]

    def alter(optics: Optics, exposure: Exposure) -> tuple[Optics, Exposure]:
        return dataclasses.replace(optics, **{field: torch.full_like(getattr(optics, field), value)}), exposure

    return alter
