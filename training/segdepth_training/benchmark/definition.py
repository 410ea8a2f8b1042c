"""What the benchmark is: its specimens, its doses, its sizes, and the digest by which two of them are the same."""

import hashlib
import json
from enum import StrEnum

from segdepth_training.benchmark import shifts
from segdepth_training.frames.exit_waves import Plan
from segdepth_training.recipes.recipe import Recipe, Set
from segdepth_training.recipes.seeds import SeedRange
from segdepth_training.specimens.specimen import FAMILIES

DOSES: Set = Set(specimens=3, doses=(50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, "noise-free"))
"""e/Å² in vacuum and frame; every specimen is seen once at each."""

SEED = 0


class Size(StrEnum):
    """How much of it: the first specimens of each family are those of every larger size."""

    SMALL = "small"
    QUARTER = "quarter"
    FULL = "full"

    @property
    def specimens(self) -> int:
        """Of each family."""
        return {Size.SMALL: 2, Size.QUARTER: 75, Size.FULL: 300}[self]

    @property
    def shifted(self) -> int:
        """Specimens of each shift set."""
        return {Size.SMALL: 1, Size.QUARTER: 15, Size.FULL: 60}[self]

    @property
    def movies(self) -> int:
        """Specimens of each family of which movies are pooled."""
        return {Size.SMALL: 1, Size.QUARTER: 12, Size.FULL: 60}[self]

    @property
    def bounded(self) -> int:
        """Specimens on which the Bayes bound is computed, some 14 columns each; of `paper` a third, with all."""
        return {Size.SMALL: 1, Size.QUARTER: 24, Size.FULL: 150}[self]


def plan_of(recipe: Recipe, size: Size) -> Plan:
    """The specimens: family by family in turn."""
    return Plan(recipe, SeedRange.BENCHMARK, SEED, len(FAMILIES) * size.specimens)


def digest(recipe: Recipe) -> str:
    """Over specimens, imaging conditions, doses and seeds: everything that decides a frame, but not its pixels.

    Pixels are compared on stored probes (`probes`), since Fourier transforms differ in the last digits between CPUs.
    """
    parts = recipe.model_dump(mode="json", include={"microscope", "camera"})
    field = (recipe.training.field_px, recipe.training.canonical_sampling_A)
    said = [plan_of(recipe, Size.FULL).digest, parts, field, list(DOSES.doses), shifts.described()]
    text = json.dumps(said, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
