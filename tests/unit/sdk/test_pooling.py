"""How several frames' posteriors combine, against models whose exact posterior is known."""

import numpy as np
import pytest

from segdepth_protos.pooling import pooled

CLASSES = 11
RNG = np.random.default_rng(20)
PRIOR = RNG.dirichlet(np.ones(CLASSES))


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
    found = pooled(each, np.tile(PRIOR, (400, 1)), 0.0, 0.0)
    np.testing.assert_allclose(found.posterior, exact / exact.sum(-1, keepdims=True), atol=2e-4)
    assert (found.frames == 7).all()


@pytest.mark.parametrize("correlation", [0.0, 0.4, 1.0])
def test_one_frame_pooled_is_itself(correlation: float) -> None:
    one = frames(still(50, 1, np.random.default_rng(2)), 1.0, np.random.default_rng(3))
    found = pooled(one, np.tile(PRIOR, (50, 1)), correlation, 0.1)
    np.testing.assert_allclose(found.posterior, one[0], atol=2e-5)
    assert not found.hopping.any()


def test_the_same_frame_again_adds_nothing_where_errors_are_common() -> None:
    one = frames(still(50, 1, np.random.default_rng(2)), 1.0, np.random.default_rng(3))
    found = pooled(np.repeat(one, 10, axis=0), np.tile(PRIOR, (50, 1)), 1.0, 0.0)
    np.testing.assert_allclose(found.posterior, one[0], atol=2e-5)


def test_the_order_of_frames_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    seen = frames(still(60, 6, rng), 1.0, rng)
    prior = np.tile(PRIOR, (60, 1))
    np.testing.assert_allclose(
        pooled(seen, prior, 0.2, 0.05).posterior, pooled(seen[::-1], prior, 0.2, 0.05).posterior, atol=1e-12
    )


def test_a_frame_without_the_column_says_nothing() -> None:
    rng = np.random.default_rng(5)
    seen = frames(still(40, 5, rng), 1.0, rng)
    prior = np.tile(PRIOR, (40, 1))
    holes = np.concatenate([seen, np.full((3, 40, CLASSES), np.nan)])
    np.testing.assert_allclose(pooled(holes, prior, 0.3, 0.05).posterior, pooled(seen, prior, 0.3, 0.05).posterior)
    assert (pooled(holes, prior, 0.3, 0.05).frames == 5).all()


def still_and_hopping(number: int, at: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten frames of columns of six atoms that stand still, of the same with three from frame `at` on; a flat prior."""
    truth = np.full((10, number), 6)
    hops = truth.copy()
    hops[at:] = 3
    return truth, hops, np.full((number, CLASSES), 1 / CLASSES)


def test_a_column_that_hops_loses_its_confidence() -> None:
    rng = np.random.default_rng(6)
    truth, hops, prior = still_and_hopping(300, 6)
    quiet, moved = (pooled(frames(counts, 0.5, rng, prior[0]), prior, 0.0, 0.02) for counts in (truth, hops))
    assert quiet.posterior.max(1).mean() > 0.98
    assert quiet.hopping.mean() < 0.02
    assert (moved.hopping > 0.9).mean() > 0.95
    assert moved.posterior.max(1).mean() < 0.7
    blind = pooled(frames(hops, 0.5, rng, prior[0]), prior, 0.0, 0.0)
    assert blind.posterior.max(1).mean() > 0.9


def in_context(truth: np.ndarray, context: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Exact posteriors [F, N, K] of columns of which each frame is told the same expectation `context` [N, K]."""
    seen = truth + noise * rng.normal(size=truth.shape)
    log = np.log(context) - (seen[..., None] - np.arange(CLASSES)) ** 2 / (2 * noise**2)
    posterior = np.exp(log - log.max(-1, keepdims=True))
    return posterior / posterior.sum(-1, keepdims=True)


def test_what_all_frames_are_told_hides_no_hop() -> None:
    """Surroundings let nine in ten columns expect their number: frames that contradict each other still say so."""
    rng = np.random.default_rng(9)
    number, count = 2000, 10
    truth = np.tile(rng.integers(3, 9, number), (count, 1))
    context = np.full((number, CLASSES), 0.1 / (CLASSES - 1))
    context[np.arange(number), truth[0]] = 0.9
    hops = truth.copy()
    hops[count // 2 :] += 2
    prior = np.full((number, CLASSES), 1 / CLASSES)
    quiet, moved = (pooled(in_context(counts, context, 0.6, rng), prior, 0.85, 0.02) for counts in (truth, hops))
    assert quiet.hopping.mean() < 0.03
    assert (quiet.hopping > 0.5).mean() < 0.01
    assert moved.hopping.mean() > 0.5
    assert moved.posterior.max(1).mean() < quiet.posterior.max(1).mean() - 0.2


def test_stated_probability_is_observed_accuracy_also_with_hops() -> None:
    rng = np.random.default_rng(7)
    number, count, hop = 20000, 6, 0.1
    truth = still(number, count, rng)
    hops = rng.random(number) < hop
    truth[:, hops] = rng.choice(CLASSES, (count, int(hops.sum())), p=PRIOR)
    found = pooled(frames(truth, 1.2, rng), np.tile(PRIOR, (number, 1)), 0.0, hop)
    assert found.hopping.mean() == pytest.approx(hop, abs=0.01)
    sure = found.hopping < 0.02
    assert hops[sure].mean() < 0.02


def test_arrays_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        pooled(np.zeros((2, 3, 11)), np.zeros((4, 11)), 0.0, 0.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        pooled(np.ones((2, 3, 11)), np.ones((3, 11)), 1.5, 0.0)


def test_the_sum_counts_and_the_frames_tell_a_hop() -> None:
    rng = np.random.default_rng(12)
    truth, hops, prior = still_and_hopping(200, 5)
    of_sum = frames(np.full((1, 200), 6), 0.1, rng, prior[0])[0]
    quiet, moved = (pooled(frames(counts, 0.5, rng, prior[0]), prior, 0.0, 0.02, of_sum) for counts in (truth, hops))
    calm = quiet.hopping < 0.02
    assert calm.mean() > 0.9
    np.testing.assert_allclose(quiet.posterior[calm], of_sum[calm], atol=0.02)
    assert (moved.hopping > 0.9).mean() > 0.95
    assert moved.posterior.max(1).mean() < 0.7


def test_a_column_is_one_if_the_frames_or_their_sum_show_it() -> None:
    rng = np.random.default_rng(13)
    seen = frames(still(3, 4, rng), 1.0, rng)
    seen[1:, 0] = np.nan
    seen[:, 2] = np.nan
    prior = np.tile(PRIOR, (3, 1))
    assert pooled(seen, prior, 0.3, 0.02).seen.tolist() == [False, True, False]
    of_sum = np.full((3, CLASSES), np.nan)
    of_sum[2] = PRIOR
    with_sum = pooled(seen, prior, 0.3, 0.02, of_sum)
    assert with_sum.seen.tolist() == [False, True, True]
    np.testing.assert_allclose(with_sum.posterior[2], PRIOR, atol=1e-6)
    assert with_sum.hopping[2] == 0
    with pytest.raises(ValueError, match="of the sum"):
        pooled(seen, prior, 0.3, 0.02, of_sum[:2])
