"""Strangers, and the classifier that is fitted to them."""

import numpy as np
import torch

from segdepth_core.familiarity import Familiarity
from segdepth_training.benchmark.foreign import FOREIGN
from segdepth_training.benchmark.shifts import SHIFTS, shifts_for
from segdepth_training.fitting.familiarity import FOLDS, HIDDEN, Seen, cut, fitted, joined, log_dose, slope_by_dose
from segdepth_training.frames.imaging import draw_exposure, draw_optics
from segdepth_training.frames.labels import View
from segdepth_training.frames.observation import Observation
from segdepth_training.frames.strangers import StrangerPlan, altered
from segdepth_training.recipes.seeds import SeedRange
from segdepth_training.specimens.foreign import STRANGERS, Foreign, OtherZone, strangers
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
        torch.full((number,), -1) if shift else torch.arange(number) % FOLDS,
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


def test_low_doses_are_refused_no_more_often_than_high_ones():
    """Where known frames look the more foreign the fewer their electrons are, the limit follows."""
    dose = torch.from_numpy(np.exp(np.random.default_rng(1).uniform(np.log(100), np.log(1e4), 4000)))
    logits = torch.randn(4000, generator=torch.Generator().manual_seed(1)) - 2 * log_dose(dose)
    slope = slope_by_dose(logits, dose)
    assert abs(slope + 2) < 0.5
    rest = logits - slope * log_dose(dose)
    limit = torch.quantile(rest, 0.99)
    low = dose < 1000
    assert abs(float((rest[low] > limit).float().mean()) - float((rest[~low] > limit).float().mean())) < 0.01


def test_a_few_frames_tell_no_slope():
    assert slope_by_dose(torch.randn(20), torch.linspace(100, 1000, 20)) == 0.0


def test_the_classifier_is_the_mean_of_its_members_less_the_slope():
    torch.manual_seed(0)
    members = [Familiarity(5, HIDDEN).eval() for _ in range(3)]
    means, dose, field_A = torch.randn(4, 5), torch.tensor([20.0, 100, 3000, 1e6]), torch.full((4,), 30.0)
    with torch.no_grad():
        whole = joined(members, -1.5)(means, dose, field_A)
        parts = torch.stack([member(means, dose, field_A) for member in members])
    assert torch.allclose(whole, parts.mean(0) + 1.5 * log_dose(dose), atol=1e-4)


def test_frames_that_the_network_was_trained_on_set_no_limit():
    """They look less foreign than any other: were they asked, the limit would be too tight."""
    rng = np.random.default_rng(6)
    known, strange = features(rng, 300, 0.0), features(rng, 200, 1.8)
    trained = features(rng, 900, -1.8)._replace(foreign=torch.zeros(900, dtype=torch.bool))
    limits = []
    for fold in (trained.fold, torch.arange(900) % FOLDS):
        parts = zip(known, trained._replace(fold=fold), strange, strict=True)
        limits.append(fitted(Seen(*(torch.cat(part) for part in parts)))[1].upper)
    assert limits[0] > limits[1]


def test_two_strangers_of_three_are_the_own_crystal_tilted():
    plan = StrangerPlan(RECIPE, SeedRange.CALIBRATION, 1, 6)
    assert [len(plan.specimen(index).columns) > 0 for index in range(6)] == [False, True, True] * 2
