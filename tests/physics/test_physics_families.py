"""The benchmark's families are what they are said to be, and no specimen of theirs was trained on."""

from pathlib import Path

import numpy as np
import pytest

from segdepth_training.recipes.recipe import PAPER, Recipe, load_recipe
from segdepth_training.recipes.seeds import SeedRange, generator
from segdepth_training.specimens.families import BY_ONE_SHARE, draw_for_benchmark, perturbation
from segdepth_training.specimens.projection import Projection, project
from segdepth_training.specimens.specimen import FAMILIES, Specimen, draw

RECIPE: Recipe = load_recipe(Path(__file__).parents[2] / "training" / "recipes" / "ceo2-110.toml")
SPACING_A = 5.4113 / 2
"""Of {002}."""


@pytest.fixture(scope="module")
def ceria() -> Projection:
    return project(RECIPE.crystal)


def specimen(ceria: Projection, family: str, index: int) -> Specimen:
    return draw_for_benchmark(generator(SeedRange.BENCHMARK, 0, index), ceria, RECIPE.specimens, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_by_its_rule(ceria: Projection, family: str):
    for index in range(6):
        thing = specimen(ceria, family, index)
        count, change = thing.columns[:, 2], thing.columns[:, 4]
        assert thing.family == family
        assert (thing.kind in PAPER) == (family != "particle")
        assert count.min() >= 1
        if family == "paper":
            assert (change == 0).all()
        if family != "particle":
            before = count - change
            assert before.min() >= 3
            assert before.max() <= 10
        if family == "perturbed":
            changed = change != 0
            assert changed.sum() == round(0.1 * len(count))
            assert (np.abs(change[changed]) == 1).sum() == round(BY_ONE_SHARE * changed.sum())
            assert count.max() <= 10
        atoms = thing.atoms.get_chemical_symbols()
        assert len(atoms) == count.sum()


def test_a_change_keeps_to_the_classes():
    for first in (1, 2, 9, 10):
        change = perturbation(np.random.default_rng(first), np.full(1000, first))
        left = first + change
        assert left.min() >= 1
        assert left.max() <= 10
        assert (change != 0).sum() == 100
    change = perturbation(np.random.default_rng(0), np.full(10000, 5))
    assert abs((change > 0).sum() / 1000 - 0.5) < 0.06


def test_adatoms_stand_on_half_of_the_particles(ceria: Projection):
    changes = [specimen(ceria, "particle", index).columns[:, 4] for index in range(12)]
    with_adatoms = [change for change in changes if change.any()]
    assert 2 <= len(with_adatoms) <= 10
    assert all(set(np.unique(change)) == {0, 1} for change in with_adatoms)


def orientation_deg(thing: Specimen) -> float:
    """Angle of the lattice of cerium columns to the field's x axis, in [0, 360): of the shortest vector along [001]."""
    cerium = thing.columns[thing.columns[:, 3] == 0, :2].astype(float)
    difference = cerium[None] - cerium[:, None]
    length = np.hypot(*np.moveaxis(difference, -1, 0))
    along = difference[(np.abs(length - 2 * SPACING_A) < 0.02)]
    assert len(along) > 4
    doubled = np.exp(2j * np.arctan2(along[:, 1], along[:, 0]))
    return float(np.degrees(np.angle(doubled.mean()) / 2) % 180)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_orientations_of_the_benchmark_are_held_out(ceria: Projection, quarters: int, flipped: bool):
    """The middle half of every degree, whatever quarter turns and mirroring make of it."""
    calm = RECIPE.specimens.model_copy(
        update={"tilt_share": 0.0, "displacement_A": (0.0, 0.0), "kinds": {"flat": 1.0}, "vacuum_share": 0.0}
    )
    for index in range(5):
        numbers = [generator(SeedRange.BENCHMARK, 0, index), generator(SeedRange.TRAIN, 0, index)]
        held_out = draw_for_benchmark(numbers[0], ceria, calm, "paper", kind="flat")
        trained = draw(numbers[1], ceria, calm, ("paper",))
        for thing, is_held_out in ((held_out, True), (trained, False)):
            angle = orientation_deg(thing)
            angle = (-angle if flipped else angle) + 90 * quarters
            assert (0.25 - 1e-3 <= angle % 1 <= 0.75 + 1e-3) == is_held_out
