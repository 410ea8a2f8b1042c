"""Fitting of the second stage: what examples become on their way to a step, and that a killed fit goes on alike."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segdepth_artefacts.manifest import Cell, Known
from segdepth_core.conditions import measured
from segdepth_core.second_stage import SCALES, Evidence, table
from segdepth_protos.contract import CLASSES
from segdepth_training.fitting.examples import Example, cell_of
from segdepth_training.fitting.second_calibration import Sample, error_factors, fitted
from segdepth_training.fitting.second_conditions import fit_conditions
from segdepth_training.fitting.second_stage import FULL, Fit, fit, mirror, mirrored, told, window
from segdepth_training.recipes.recipe import load_recipe
from segdepth_training.recipes.second_stage import SecondStage

RECIPES = Path(__file__).parents[3] / "training" / "recipes"
CERIA = cell_of(load_recipe(RECIPES / "ceo2-110.toml"))


def example(seed: int, cells: int = 4) -> Example:
    """A frame whose patches are brighter the more atoms a column has, of which the first stage knows nothing."""
    numbers = np.random.default_rng(seed)
    steps = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), -1).reshape(-1, 2)
    site = np.repeat(np.arange(len(CERIA.sites)), len(steps))
    true = numbers.integers(3, 6, len(site))
    patches = numbers.normal(0, 0.1, (len(site), 19 * 19)) + 0.5 * (true[:, None] - 4)
    evidence = Evidence(
        patches_NP=torch.from_numpy(patches).half(),
        posterior_NK=torch.full((len(site), CLASSES), 1 / CLASSES),
        species_N=torch.tensor([s[2] for s in CERIA.sites])[site],
        site_N=torch.from_numpy(site),
        cell_N2=torch.from_numpy(np.tile(steps, (len(CERIA.sites), 1))),
        edge_N=torch.zeros(len(site)),
        dose=500.0,
    )
    conditions = Known(contrast=(0.95, 0.95), vibration_A=(0.1, 0.1), defocus_A=(40.0, 40.0))
    return Example(evidence, torch.from_numpy(true), conditions, seed, 0)


def places(evidence: Evidence) -> np.ndarray:
    """Where columns stand [Å], in whole cells and sites."""
    sites = np.array([site[:2] for site in CERIA.sites])[evidence.site_N]
    return (evidence.cell_N2.numpy() + sites) * CERIA.sides_A


@pytest.mark.parametrize("axis", [0, 1])
def test_a_mirrored_frame_has_mirrored_places_and_patches(axis: int):
    evidence = example(1).evidence
    image = mirrored(evidence, axis, CERIA)
    before, after = places(evidence), places(image)
    after[:, axis] *= -1
    np.testing.assert_allclose(after - after[0], before - before[0], atol=1e-4)
    assert image.cell_N2.min() == 0
    ramp = torch.arange(19.0).expand(19, 19)
    shown = Evidence(**{**vars(evidence), "patches_NP": (ramp if axis == 0 else ramp.T).reshape(1, -1)})
    turned = mirrored(shown, axis, CERIA).patches_NP.view(19, 19)
    np.testing.assert_array_equal(turned, (ramp if axis == 0 else ramp.T).flip(1 - axis))
    again = mirrored(image, axis, CERIA)
    np.testing.assert_allclose(places(again) - places(again)[0], before - before[0], atol=1e-4)


def test_a_crystal_without_a_mirror_is_told():
    with pytest.raises(ValueError, match="no mirror along its side 1"):
        mirror(Cell(sides_A=(4.0, 3.0), sites=((0.0, 0.0, 0), (0.3, 0.0, 1))), 0)


def test_what_is_told_of_an_instrument_is_true_of_it():
    numbers = np.random.default_rng(0)
    said = [told(example(1).conditions, numbers) for _ in range(400)]
    for name in SCALES:
        value = getattr(example(1).conditions, name)[0]
        ranges = [bounds for one in said if (bounds := getattr(one, name))]
        assert 60 < len(ranges) < 340
        assert all(FULL[name][0] <= low <= value <= high <= FULL[name][1] for low, high in ranges)


def test_a_window_is_a_square_of_neighbours():
    evidence = example(1, cells=12).evidence
    kept = window(evidence, CERIA, np.random.default_rng(0))
    extent_A = np.ptp(evidence.cell_N2[kept].numpy() * CERIA.sides_A, axis=0)
    assert 10 < extent_A.max() <= 36
    assert not kept.all()


def test_it_learns_what_patches_say_and_a_resumed_fit_is_the_unbroken_one(tmp_path: Path):
    network = {"width": 16, "blocks": 1, "hidden": 32, "told": 8, "context": 8}
    settings = SecondStage(network=network, steps=200, batch=2, checkpoint_every=100, learning_rate=5e-3, average=0.9)
    examples = [example(seed) for seed in range(6)]

    def run() -> Fit:
        return Fit(settings, CERIA, 2, seed=5)

    losses: list[float] = []
    first = run()
    whole = fit(first, examples, lambda: None, lambda _d, _t, figures: losses.append(figures["loss"]))
    assert losses[-1] < np.log(CLASSES) - 0.5

    class Killed(Exception):
        """After its first checkpoint."""

    broken = run()

    def keep() -> None:
        broken.save(tmp_path)
        raise Killed

    with pytest.raises(Killed):
        fit(broken, examples, keep, lambda *_: None)
    resumed = run()
    resumed.restore(tmp_path)
    assert resumed.step == 100
    for name, tensor in fit(resumed, examples, lambda: None, lambda *_: None).state_dict().items():
        np.testing.assert_allclose(tensor, whole.state_dict()[name], atol=1e-5, err_msg=name)


def test_conditions_are_told_with_errors_as_large_as_they_are():
    """Of frames whose patches tell the contrast, not quite, and nothing of the defocus."""
    settings = SecondStage(network={"width": 16, "blocks": 1, "hidden": 32, "told": 8, "context": 16}, steps=1)
    numbers = np.random.default_rng(0)

    def taken(seed: int) -> Example:
        contrast, defocus_A = numbers.uniform(0.5, 1.0), numbers.uniform(10, 90)
        one = example(seed, cells=2)
        shown = torch.full_like(one.evidence.patches_NP, contrast + numbers.normal(0, 0.03))
        evidence = Evidence(**{**vars(one.evidence), "patches_NP": shown})
        conditions = Known(contrast=(contrast,) * 2, vibration_A=(0.1, 0.1), defocus_A=(defocus_A,) * 2)
        return one._replace(evidence=evidence, conditions=conditions)

    frames = [taken(seed) for seed in range(600)]
    run = Fit(settings, CERIA, 2, seed=1)
    run.standardise(frames)
    network = run.network.eval()
    fit_conditions(network, frames[:500], CERIA, 1, lambda *_: None)
    deviations, errors = {name: [] for name in SCALES}, {name: [] for name in SCALES}
    with torch.inference_mode():
        for one in frames[500:]:
            found = measured(network, network.gathered(table([one.evidence])), dict.fromkeys(SCALES, 1.0))
            assert found is not None
            for name in ("contrast", "defocus_A"):
                deviations[name].append(getattr(found, name).value - getattr(one.conditions, name)[0])
                errors[name].append(getattr(found, name).error)
    assert np.std(deviations["contrast"]) < 0.08 < 0.14, "a guess would be .14 off"
    assert np.std(deviations["contrast"]) == pytest.approx(np.mean(errors["contrast"]), rel=0.5)
    assert 15 < np.mean(errors["defocus_A"]) < 32


def test_errors_are_stated_as_large_as_two_thirds_of_deviations_are():
    numbers = np.random.default_rng(0)
    none = torch.zeros(0, dtype=torch.long)

    def one(deviations: dict[str, float]) -> Sample:
        return Sample(500.0, torch.zeros(0, CLASSES), none, torch.zeros(0, CLASSES), none, deviations)

    seen = [one(dict(zip(SCALES, numbers.normal(0, (1.0, 2.5, 0.5)), strict=True))) for _ in range(2000)]
    factors = error_factors([seen[:900], seen[900:], [one({})]])
    np.testing.assert_allclose(list(factors.values()), [1.0, 2.5, 0.5], rtol=0.1)
    assert error_factors([[one({})]]) == {}


def samples(dose: float, columns: int, temperature: float) -> list[Sample]:
    """Frames whose logits, over a temperature, say how often each class is true."""
    numbers = np.random.default_rng(round(dose))
    logits = numbers.normal(0, 2, (columns, CLASSES))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    true = (shares.cumsum(1) > numbers.random((columns, 1))).argmax(1)
    said, none = torch.from_numpy(temperature * logits), torch.zeros(0, dtype=torch.long)
    return [Sample(dose, said, torch.from_numpy(true), said[:0], none, {})]


def test_temperatures_are_of_each_dose_that_has_the_columns_for_one():
    groups = [samples(100.0, 5000, 2.0), samples(300.0, 800, 0.5), samples(1000.0, 4000, 0.5), samples(5000.0, 90, 0.5)]
    found = fitted(groups, "on")
    np.testing.assert_allclose(found.temperature, [2.0, 0.5], rtol=0.1)
    assert found.dose[0] == pytest.approx(100)
    assert 1000 < found.dose[1] < 1200
    assert fitted(groups, "off").temperature == (1.0,)
