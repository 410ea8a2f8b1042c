"""What pooling is told by held-out movies, and how the benchmark judges it."""

import numpy as np
import pytest
import torch

from segdepth_artefacts.manifest import Pooling
from segdepth_protos.contract import CLASSES
from segdepth_training.benchmark import movies
from segdepth_training.benchmark.bars import judged
from segdepth_training.fitting.pooling import DOSES, Watched, correlation, fitted, prior_of
from segdepth_training.frames.exit_waves import ExitWaves, Plan, load
from segdepth_training.frames.observation import movie, observe
from segdepth_training.recipes.seeds import SeedRange
from tests.unit.training.small import filled, recipe

FLAT = np.full((2, CLASSES), 1 / CLASSES)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(recipe(), SeedRange.CALIBRATION, 0, 2, in_turn=True)


@pytest.fixture(scope="module")
def waves(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> ExitWaves:
    return load(filled(tmp_path_factory.mktemp("waves") / "waves.zarr", plan), plan, torch.device("cpu"))


def watched(seed: int, noise: float, common: float, columns: int = 3000, frames: int = 6, dose: float = 500) -> Watched:
    """Frames that see each column with an error of their own and one that all of them share; posteriors say so."""
    rng = np.random.default_rng(seed)
    true = rng.integers(CLASSES, size=columns)
    seen = true + noise * rng.normal(size=(frames, columns)) + common * rng.normal(size=columns)
    log = -((seen[..., None] - np.arange(CLASSES)) ** 2) / (2 * (noise**2 + common**2))
    posterior = np.exp(log - log.max(-1, keepdims=True))
    posterior /= posterior.sum(-1, keepdims=True)
    species = np.arange(columns) % 2
    said = np.stack([posterior[:, species == kind].sum((0, 1)) for kind in (0, 1)])
    return Watched(posterior, true, species, [dose] * frames, said)


def test_a_movie_is_one_specimen_under_one_condition(waves: ExitWaves, plan: Plan) -> None:
    frames = movie(waves, plan, 1, 200.0, 3)
    alone = observe(waves, plan, 1, 200.0)
    np.testing.assert_array_equal(frames[0].frame, alone.frame)
    for frame in frames:
        np.testing.assert_array_equal(frame.columns, alone.columns)
        assert (frame.specimen, frame.dose, frame.sampling_A, frame.view) == (1, 200.0, alone.sampling_A, alone.view)
    assert not np.array_equal(frames[1].frame, frames[2].frame)
    calm = movie(waves, plan, 1, 20000.0, 1)[0].frame
    assert np.corrcoef(frames[1].frame.ravel(), calm.ravel())[0, 1] > 0.1


def test_the_correlation_is_that_of_the_errors() -> None:
    """The optimum for Gaussian errors is the share of their variance that all frames have in common."""
    for noise, common in ((1.0, 0.0), (0.8, 0.6), (0.6, 0.8)):
        found = correlation([watched(1, noise, common), watched(2, noise, common)], FLAT)
        assert found == pytest.approx(common**2 / (noise**2 + common**2), abs=0.06)
    same = watched(3, 1.0, 0.0)
    again = same._replace(posteriors=np.repeat(same.posteriors[:1], 6, axis=0))
    assert correlation([again], FLAT) > 0.95


def test_numbers_are_by_the_measured_dose() -> None:
    low, high = watched(4, 1.0, 0.0, dose=90), watched(5, 0.6, 0.8, dose=700)
    numbers = fitted([[low], [], [high]], 2)
    assert numbers.dose == pytest.approx((90, 700))
    assert numbers.correlation[0] < 0.1 < 0.5 < numbers.correlation[1]
    for prior in numbers.prior:
        assert sum(prior) == pytest.approx(1, abs=1e-4)
        assert min(prior) > 0
    assert Pooling.model_validate_json(numbers.model_dump_json()) == numbers


def test_the_prior_is_how_often_a_class_is_answered() -> None:
    part = watched(6, 0.3, 0.0, columns=40000)
    frequency = [np.bincount(part.true[part.species == kind], minlength=CLASSES) / 20000 for kind in (0, 1)]
    np.testing.assert_allclose(prior_of([part]), frequency, atol=0.01)


def test_a_model_that_finds_nothing_gains_nothing_from_more_frames() -> None:
    numbers = fitted([[], [], []], 2)
    assert numbers.dose == DOSES
    assert set(numbers.correlation) == {1.0}
    np.testing.assert_allclose(numbers.prior, FLAT)


def rows(right: float, stated: float) -> np.ndarray:
    """Columns of `perturbed`: counted right by pooling with this share, by one frame always."""
    made = np.zeros(4000, movies.ROW)
    rng = np.random.default_rng(0)
    made["specimen"], made["family"], made["true"] = np.arange(4000) // 100, "perturbed", 6
    made["pooled"], made["one"], made["summed"], made["first"] = np.where(rng.random(4000) < right, 6, 5), 6, 6, 5
    made["p_pooled"], made["p_one"], made["p_summed"] = stated, 0.99, 0.99
    return made


def test_bars_of_movies() -> None:
    def bars(right: float, stated: float) -> dict[str, bool]:
        return {bar.what: bar.reached for bar in judged({}, None, None, movies.figures(rows(right, stated)))}

    assert bars(1.0, 0.99) == {"ten frames pooled, less one of their dose": True, "calibration error pooled": True}
    assert not any(bars(0.9, 0.99).values())


def test_a_model_that_cannot_pool_is_left_out() -> None:
    assert movies.figures(None) == {}
    assert judged({}, None, None, {}) == []
