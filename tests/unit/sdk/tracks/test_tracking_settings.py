"""Settings of tracking, and what is none."""

import numpy as np
import pytest

from segdepth.errors import InvalidFrame, InvalidType
from segdepth.tracks.settings import Tracking


def test_what_is_meant_by_default():
    assert Tracking() == Tracking(hop_rate=0.0005, false_alarms=0.0001, lag_frames=100)


def test_numbers_of_any_type_are_numbers():
    assert Tracking(np.float32(0.25), np.float64(0.5), np.int16(3)) == Tracking(0.25, 0.5, 3)


def test_nothing_may_hop_and_nothing_is_waited_for():
    assert Tracking(hop_rate=0, lag_frames=0).hop_rate == 0.0


@pytest.mark.parametrize(
    "given, field",
    [
        ({"hop_rate": 1.0}, "hop_rate"),
        ({"hop_rate": -0.1}, "hop_rate"),
        ({"hop_rate": float("nan")}, "hop_rate"),
        ({"false_alarms": 0.0}, "false_alarms"),
        ({"false_alarms": 1}, "false_alarms"),
        ({"lag_frames": -1}, "lag_frames"),
    ],
)
def test_out_of_range(given, field):
    with pytest.raises(InvalidFrame, match=field) as raised:
        Tracking(**given)
    assert raised.value.field == f"tracking.{field}"


@pytest.mark.parametrize("given", [{"hop_rate": "0.1"}, {"false_alarms": None}, {"lag_frames": 2.0}])
def test_of_a_wrong_type(given):
    with pytest.raises(InvalidType):
        Tracking(**given)
