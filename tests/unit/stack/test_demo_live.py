"""The demo's live part: which hop counts as found, and how far off the drift is."""

from dataclasses import replace

import numpy as np
import pytest

from segdepth.camera import CameraTruth, TrueChange
from segdepth_stack.demo_live import _drift_error_A, compared
from tests.tracked import change, tracked

SIZE, SAMPLING_A = 100, 0.1


def truth(*changes, frames=20, drift_A=0.05):
    """A camera whose specimen drifts along x by `drift_A` a frame."""
    sequence = np.arange(frames)
    drift = np.stack([drift_A * sequence, np.zeros(frames)], axis=1)
    return CameraTruth({}, np.zeros((0, 2)), np.zeros(0, np.int64), (), sequence, drift, changes)


def hop(frame, x_A=5.0):
    return TrueChange(0, x_A, 5.0, "Ce", frame, 5, 3)


def said(frame, x_A=5.0, first_frame=None):
    """A change as it is announced, of the column that stands at x_A in frame 0."""
    first_frame = frame - 1 if first_frame is None else first_frame
    announced = replace(change(3, frame, 5, 3, 0.9), first_frame=first_frame, last_frame=frame + 1)
    return replace(announced, x_px=(x_A + 0.05 * frame) / SAMPLING_A, y_px=5.0 / SAMPLING_A)


def found(truths, announced):
    pairs, wrong = compared(truth(*truths), [tracked(0, changes=tuple(announced))], SIZE, SAMPLING_A)
    return [each is not None for _, each in pairs], len(wrong)


def test_a_hop_is_found_where_and_when_it_was():
    assert found([hop(10)], [said(12)]) == ([True], 0)
    assert found([hop(10)], [said(14)]) == ([False], 1)
    assert found([hop(10)], [said(14, first_frame=9)]) == ([True], 0)
    assert found([hop(10)], [said(10, x_A=6.0)]) == ([False], 1)
    assert found([hop(10)], []) == ([False], 0)


def test_one_announcement_finds_one_hop():
    assert found([hop(10), hop(11)], [said(10)]) == ([True, False], 0)


def test_hops_at_the_edge_are_not_asked_for():
    assert found([hop(10, x_A=1.0)], []) == ([], 0)


def test_the_drift_of_each_segment_is_against_its_own_first_frame():
    frames = [replace(tracked(n), drift_A=(0.05 * n, 0.0), segment=0) for n in range(10)]
    frames += [replace(tracked(n), drift_A=(0.05 * (n - 10), 0.0), segment=1) for n in range(10, 20)]
    assert _drift_error_A(truth(), frames) == pytest.approx(0, abs=1e-9)
    frames[3] = replace(frames[3], drift_A=(0.35, 0.0))
    assert _drift_error_A(truth(), frames) == pytest.approx(0.1)
