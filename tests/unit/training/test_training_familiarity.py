"""Strangers, and the classifier that is fitted to them."""

import numpy as np
import torch

from segdepth_training.benchmark.foreign import FOREIGN
from segdepth_training.benchmark.shifts import SHIFTS, shifts_for
from segdepth_training.familiarity import Seen, altered, cut, fitted
from segdepth_training.foreign import STRANGERS, Foreign, OtherZone, strangers
from segdepth_training.imaging import draw_exposure, draw_optics
from segdepth_training.labels import View
from segdepth_training.observation import Observation
from tests.unit.training.small import recipe

RECIPE = recipe()


def test_the_benchmark_has_other_strangers():
    """No crystal along an axis that a model was taught to refuse is asked about."""
    taught = {(one.symbol, one.zone) for one in STRANGERS}
    assert taught.isdisjoint((one.symbol, one.zone) for one in FOREIGN.values())
    zones = [one.zone for one in strangers(RECIPE.crystal) if isinstance(one, OtherZone)]
    assert zones
    assert not {tuple(sorted(one.zone)) for one in FOREIGN.values()} & {tuple(sorted(zone)) for zone in zones}


GOLD = RECIPE.crystal.model_copy(update={"elements": ("Au",), "basis": ((0.0, 0.0, 0.0),), "lattice_A": 4.0786})


def test_ones_own_crystal_is_no_stranger():
    names = {(one.symbol, one.zone) for one in strangers(GOLD) if isinstance(one, Foreign)}
    assert ("Pt", (1, 1, 0)) not in names
    assert ("Pt", (1, 1, 0)) in {
        (one.symbol, one.zone) for one in strangers(RECIPE.crystal) if isinstance(one, Foreign)
    }


def test_no_model_is_asked_to_refuse_its_own_crystal():
    assert shifts_for(RECIPE.crystal) == SHIFTS
    assert {shift.name for shift in SHIFTS} - {shift.name for shift in shifts_for(GOLD)} == {"gold-110"}


def test_slabs_fill_their_cell_with_atoms_apart():
    for one in strangers(RECIPE.crystal):
        made = one.specimen(np.random.default_rng(3), 28.8)
        positions = made.atoms.positions
        assert len(positions) > 100
        assert positions.min() >= 0
        assert (positions[:, 2] <= made.lowest_A + 1e-6).all()
        distance = np.linalg.norm(positions[:200, None] - positions[None, :200], axis=-1)
        assert distance[~np.eye(len(distance), dtype=bool)].min() > 0.8


def test_altered_conditions_are_outside_the_recipe():
    microscope, numbers = RECIPE.microscope, torch.Generator().manual_seed(0)
    optics, exposure = draw_optics(numbers, microscope, 1), draw_exposure(numbers, RECIPE.camera, 1)
    seen = set()
    for seed in range(30):
        changed, _ = altered(np.random.default_rng(seed), RECIPE)(optics, exposure)
        low, high = microscope.defocus_A
        if changed.c10_A != optics.c10_A:
            assert not low <= float(changed.c10_A) <= high
            seen.add("over" if changed.c10_A > high else "under")
        elif changed.c12_A != optics.c12_A:
            assert changed.c12_A >= 3 * microscope.astigmatism_A
            seen.add("astigmatism")
        else:
            assert changed.c21_A >= 3 * microscope.coma_A
            seen.add("coma")
    assert seen == {"over", "under", "astigmatism", "coma"}


def test_frames_are_cut_no_smaller_than_the_field_that_is_answered():
    view = View(0.1, (0, 0), 300, 150)
    whole = Observation(np.zeros((300, 300), np.float32), 0.1, 500.0, np.zeros((0, 5), np.float32), 0, "paper", view)
    sides = [cut(np.random.default_rng(seed), whole).frame.shape[0] for seed in range(50)]
    assert min(sides) >= 200
    assert max(sides) <= 300
    assert len(set(sides)) > 20


def features(rng: np.random.Generator, number: int, shift: float) -> Seen:
    """Features that change with the dose, and strangers that differ in a few of them."""
    dose = np.exp(rng.uniform(np.log(30), np.log(5000), number))
    means = rng.normal(size=(number, 40)) * (0.5 + 3 / np.sqrt(dose))[:, None] + np.log10(dose)[:, None]
    means[:, :5] += shift
    ones = torch.ones(number)
    return Seen(
        torch.from_numpy(means).float(),
        torch.from_numpy(dose).float(),
        40 * ones,
        torch.arange(number),
        ones.bool() if shift else ~ones.bool(),
    )


def test_the_classifier_tells_strangers_and_keeps_to_its_shares():
    rng = np.random.default_rng(5)
    known, strange = features(rng, 600, 0.0), features(rng, 400, 1.8)
    both = Seen(*(torch.cat(parts) for parts in zip(known, strange, strict=True)))
    judge, check = fitted(both)
    others = features(rng, 2000, 0.0)
    with torch.no_grad():
        ours = judge(*others[:3])[others.dose >= 100]
        theirs = judge(*features(rng, 500, 1.8)[:3])
    assert check.upper is not None
    assert check.ok_upper is not None
    # A mean scatters less than its parts, by which the range is set: no more are refused than meant.
    assert float((ours > check.upper).float().mean()) < 0.01
    assert float((ours > check.ok_upper).float().mean()) < 0.03
    assert float((theirs > check.upper).float().mean()) > 0.9
    again, _ = fitted(both)
    assert torch.equal(again.hidden.weight, judge.hidden.weight)
