"""A movie in which nothing may hop: all its frames count one specimen, by the rule that models are fitted with."""

import numpy as np

from segdepth.models import PoolingNumbers
from segdepth.results import FrameResult
from segdepth.tracks import TrackedFrame, Tracker, Tracking, TrackState
from segdepth_protos.pooling import pooled
from tests.answers import SHAPE, result

COLUMNS, FRAMES, CLASSES, SAMPLING_A = 12, 40, 11, 0.3
PRIOR = np.random.default_rng(1).dirichlet(np.ones(CLASSES) * 5, 2)
NUMBERS = PoolingNumbers(tuple(map(tuple, PRIOR.tolist())), (100.0, 1000.0), (0.3, 0.3), 0.02, 0.4)
X_PX, Y_PX = 8.0 + 8 * (np.arange(COLUMNS) % 4), 8.0 + 6 * (np.arange(COLUMNS) // 4)
SPECIES = 1 + np.arange(COLUMNS) % 2
HOPS = 5
"""The column that loses three atoms halfway."""
ALL = np.arange(COLUMNS)


def answer(sequence: int, probabilities: np.ndarray, found: np.ndarray = ALL) -> FrameResult:
    """The answer to a frame that shows these columns."""
    message = result(sequence, sampling_A=SAMPLING_A, maps=False).message
    table = message.columns
    table.x_px, table.y_px = X_PX[found].astype("<f4").tobytes(), Y_PX[found].astype("<f4").tobytes()
    table.size = len(found)
    table.species = bytes(SPECIES[found].tolist())
    table.count = table.lo90 = table.hi90 = bytes(probabilities[found].argmax(axis=1).tolist())
    table.abstained = bytes(table.size)
    table.probabilities = probabilities[found].astype("<f4").tobytes()
    return FrameResult(message)


def posteriors() -> np.ndarray:
    """What each frame says of each column [frame, column, class]: six atoms, noisily; of HOPS at last three."""
    rng = np.random.default_rng(2)
    atoms = np.full((FRAMES, COLUMNS), 6.0)
    atoms[FRAMES // 2 :, HOPS] = 3
    seen = atoms + rng.normal(0, 0.4, atoms.shape)
    likely = np.exp(-0.5 * (seen[..., None] - np.arange(CLASSES)) ** 2)
    return (likely / likely.sum(axis=2, keepdims=True)).astype(np.float32)


def tracked(said: np.ndarray, settings: Tracking, of_sum: np.ndarray | None = None) -> list[TrackedFrame]:
    tracker, frames = Tracker(settings), []
    for sequence, probabilities in enumerate(said):
        one = answer(sequence, probabilities)
        tracker.learn(one.model, NUMBERS)
        image = np.random.default_rng(sequence).poisson(50, SHAPE).astype(np.uint16)
        frames += tracker.add(one, image)
        if total := tracker.take_sum():
            assert of_sum is not None
            tracker.add_sum(total, answer(total.last, of_sum))
    frames += tracker.finish()
    assert [frame.state for frame in frames] == [TrackState.TRACKED] * len(said)
    return frames


def test_every_frame_has_the_posterior_of_the_rule():
    said = posteriors()
    frames = tracked(said, Tracking(hop_rate=0, summed_frames=0))
    rule = pooled(said, PRIOR[SPECIES - 1], 0.3).posterior
    for frame in frames:
        np.testing.assert_allclose(frame.columns.probabilities, rule, rtol=1e-5, atol=1e-9)
        assert not frame.columns.p_changed.any()
    assert not any(frame.changes for frame in frames)


def test_where_something_may_hop_it_is_another_one_after_it():
    frames = tracked(posteriors(), Tracking(summed_frames=0))
    assert [change.track for frame in frames for change in frame.changes] == [HOPS]
    assert frames[0].columns.count[HOPS] > frames[-1].columns.count[HOPS]


def test_what_their_sum_says_takes_the_frames_place():
    said = posteriors()
    of_sum = np.random.default_rng(3).dirichlet(np.ones(CLASSES), COLUMNS)
    frames = tracked(said, Tracking(hop_rate=0, summed_frames=FRAMES), of_sum)
    rule = pooled(said, PRIOR[SPECIES - 1], 0.3, of_sum.astype(np.float32)).posterior
    for frame in frames:
        np.testing.assert_allclose(frame.columns.probabilities, rule, rtol=1e-4, atol=1e-5)


def test_a_column_that_is_found_late_has_not_come():
    tracker, frames = Tracker(Tracking(hop_rate=0, summed_frames=0)), []
    for sequence, probabilities in enumerate(posteriors()):
        shown = ALL if sequence >= FRAMES // 2 else np.delete(ALL, HOPS)
        one = answer(sequence, probabilities, shown)
        tracker.learn(one.model, NUMBERS)
        frames += tracker.add(one, np.ones(SHAPE, np.uint16))
    frames += tracker.finish()
    assert len(frames[-1].columns) == COLUMNS
    assert not any(frame.changes for frame in frames)
