"""What happens before the camera: drift within its bounds, hops at known moments, all of it from a seed."""

import numpy as np
import pytest

from segdepth.camera.schedule import REST, DriftPath, HopSchedule


def always(_: float) -> np.ndarray:
    return np.ones(8, bool)


@pytest.mark.parametrize("seed", range(5))
def test_drift_begins_at_0_keeps_its_speed_and_stays_within_bounds(seed: int) -> None:
    path = np.array([DriftPath(0.5, 3.0, seed).at(time_s) for time_s in np.arange(0, 200, 0.05)])
    assert np.abs(path[0]).max() < 1e-12
    assert np.abs(path).max() <= 3.0
    assert np.abs(path).max() > 2.5, "it turns back at the bound, not before"
    speed = np.hypot(*np.diff(path, axis=0).T) / 0.05
    assert np.median(speed) == pytest.approx(0.5, rel=0.1)


def test_without_speed_nothing_moves() -> None:
    assert DriftPath(0.0, 3.0, 1).at(123.4) == (0.0, 0.0)
    assert DriftPath(5.0, 0.0, 1).at(123.4) == (0.0, 0.0)


def test_hops_come_at_their_rate_and_columns_go_and_come_back() -> None:
    hops = HopSchedule(8, 1.5, 3, always).until(600)
    assert len(hops) == pytest.approx(400, abs=25)
    for index in range(8):
        own = [hop for hop in hops if hop.index == index]
        assert [hop.hopped for hop in own[:4]] == [True, False, True, False]
        assert np.diff([hop.time_s for hop in own]).min() >= REST * 1.5
    assert {hop.index for hop in hops[:8]} == set(range(8)), "none hops again before all have hopped"


def test_steps_of_any_length_see_the_same_hops() -> None:
    whole = HopSchedule(8, 0.7, 4, always).until(30)
    schedule = HopSchedule(8, 0.7, 4, always)
    assert [hop for time_s in np.arange(0, 30.01, 0.05) for hop in schedule.until(time_s)] == whole
    assert HopSchedule(8, 0.7, 5, always).until(30) != whole


def test_only_columns_in_sight_hop() -> None:
    def right_half(time_s: float) -> np.ndarray:
        return np.arange(8) >= (4 if time_s < 50 else 8)

    hops = HopSchedule(8, 1.0, 0, right_half).until(200)
    assert {hop.index for hop in hops} == {4, 5, 6, 7}
    assert max(hop.time_s for hop in hops) < 50


def test_no_interval_no_hop() -> None:
    assert HopSchedule(8, 0.0, 0, always).until(1e6) == []
