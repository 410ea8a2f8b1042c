"""How several frames' posteriors combine, against models whose exact posterior is known."""

import numpy as np
import pytest

from segdepth_protos.pooling import SMALLEST, log_of, pooled, told, worth

CLASSES = 11
PRIOR = np.random.default_rng(20).dirichlet(np.ones(CLASSES))


def frames(truth: np.ndarray, noise: float, rng: np.random.Generator, prior: np.ndarray = PRIOR) -> np.ndarray:
    """Exact posteriors [F, N, K] of columns that each frame sees with Gaussian noise; `truth` [F, N]."""
    seen = truth + noise * rng.normal(size=truth.shape)
    log = np.log(prior) - (seen[..., None] - np.arange(CLASSES)) ** 2 / (2 * noise**2)
    posterior = np.exp(log - log.max(-1, keepdims=True))
    return posterior / posterior.sum(-1, keepdims=True)


def still(number: int, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.tile(rng.choice(CLASSES, number, p=PRIOR), (count, 1))


def test_independent_frames_pool_to_the_exact_posterior() -> None:
    rng = np.random.default_rng(1)
    truth = still(400, 7, rng)
    noise = 1.5
    seen = truth + noise * rng.normal(size=truth.shape)
    each = np.log(PRIOR) - (seen[..., None] - np.arange(CLASSES)) ** 2 / (2 * noise**2)
    each = np.exp(each - each.max(-1, keepdims=True))
    each /= each.sum(-1, keepdims=True)
    exact = np.log(PRIOR) - (seen.mean(0)[:, None] - np.arange(CLASSES)) ** 2 / (2 * noise**2 / 7)
    exact = np.exp(exact - exact.max(-1, keepdims=True))
    found = pooled(each, np.tile(PRIOR, (400, 1)), 0.0)
    np.testing.assert_allclose(found.posterior, exact / exact.sum(-1, keepdims=True), atol=2e-4)
    assert (found.frames == 7).all()


@pytest.mark.parametrize("correlation", [0.0, 0.4, 1.0])
def test_one_frame_pooled_is_itself(correlation: float) -> None:
    one = frames(still(50, 1, np.random.default_rng(2)), 1.0, np.random.default_rng(3))
    found = pooled(one, np.tile(PRIOR, (50, 1)), correlation)
    np.testing.assert_allclose(found.posterior, one[0], atol=2e-5)


def test_the_same_frame_again_adds_nothing_where_errors_are_common() -> None:
    one = frames(still(50, 1, np.random.default_rng(2)), 1.0, np.random.default_rng(3))
    found = pooled(np.repeat(one, 10, axis=0), np.tile(PRIOR, (50, 1)), 1.0)
    np.testing.assert_allclose(found.posterior, one[0], atol=2e-5)


def test_so_many_frames_are_worth_as_many_independent_ones() -> None:
    np.testing.assert_allclose(worth(np.arange(4), 0.5), [1, 1, 1 / 1.5, 1 / 2])
    assert worth(10, 0.0) == 1
    assert 10 * worth(10, 1.0) == pytest.approx(1)


def test_what_a_frame_tells_of_a_class_that_it_rules_out_is_bounded() -> None:
    said = np.array([1.0, 0.0])
    np.testing.assert_allclose(told(said, log_of(np.array([0.5, 0.5]))), np.log([2, 2 * SMALLEST]))


def test_the_order_of_frames_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    seen = frames(still(60, 6, rng), 1.0, rng)
    prior = np.tile(PRIOR, (60, 1))
    np.testing.assert_allclose(pooled(seen, prior, 0.2).posterior, pooled(seen[::-1], prior, 0.2).posterior, atol=1e-12)


def test_a_frame_without_the_column_says_nothing() -> None:
    rng = np.random.default_rng(5)
    seen = frames(still(40, 5, rng), 1.0, rng)
    prior = np.tile(PRIOR, (40, 1))
    holes = np.concatenate([seen, np.full((3, 40, CLASSES), np.nan)])
    np.testing.assert_allclose(pooled(holes, prior, 0.3).posterior, pooled(seen, prior, 0.3).posterior)
    assert (pooled(holes, prior, 0.3).frames == 5).all()


def test_stated_probability_is_observed_accuracy() -> None:
    rng = np.random.default_rng(7)
    truth = still(20000, 6, rng)
    found = pooled(frames(truth, 1.2, rng), np.tile(PRIOR, (20000, 1)), 0.0).posterior
    right = found.argmax(axis=1) == truth[0]
    assert found.max(axis=1).mean() == pytest.approx(right.mean(), abs=0.01)


def test_arrays_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        pooled(np.zeros((2, 3, 11)), np.zeros((4, 11)), 0.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        pooled(np.ones((2, 3, 11)), np.ones((3, 11)), 1.5)


def test_the_sum_takes_the_place_of_the_frames() -> None:
    rng = np.random.default_rng(12)
    seen = frames(still(200, 10, rng), 0.5, rng)
    of_sum = frames(still(200, 1, rng), 0.1, rng)[0]
    np.testing.assert_allclose(pooled(seen, np.tile(PRIOR, (200, 1)), 0.3, of_sum).posterior, of_sum, atol=1e-9)


def test_a_column_is_one_if_the_frames_or_their_sum_show_it() -> None:
    rng = np.random.default_rng(13)
    seen = frames(still(3, 4, rng), 1.0, rng)
    seen[1:, 0] = np.nan
    seen[:, 2] = np.nan
    prior = np.tile(PRIOR, (3, 1))
    alone = pooled(seen, prior, 0.3)
    assert alone.seen.tolist() == [False, True, False]
    np.testing.assert_allclose(alone.posterior[2], PRIOR)
    of_sum = np.full((3, CLASSES), np.nan)
    of_sum[2] = PRIOR[::-1]
    with_sum = pooled(seen, prior, 0.3, of_sum)
    assert with_sum.seen.tolist() == [False, True, True]
    np.testing.assert_allclose(with_sum.posterior[2], PRIOR[::-1])
    np.testing.assert_allclose(with_sum.posterior[:2], alone.posterior[:2])
    with pytest.raises(ValueError, match="of the sum"):
        pooled(seen, prior, 0.3, of_sum[:2])
