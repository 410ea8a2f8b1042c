"""Settings of tracking, and what is none."""

import pytest

from segdepth.errors import InvalidFrame, InvalidType
from segdepth.tracks.settings import Tracking


def test_nothing_may_hop_and_nothing_is_waited_for():
    settings = Tracking(hop_rate=0, lag_frames=0, summed_frames=0)
    assert (settings.hop_rate, settings.lag_frames) == (0, 0)


@pytest.mark.parametrize(
    "given, field",
    [
        ({"hop_rate": 1.0}, "hop_rate"),
        ({"hop_rate": -0.1}, "hop_rate"),
        ({"hop_rate": float("nan")}, "hop_rate"),
        ({"false_alarms": 0.0}, "false_alarms"),
        ({"false_alarms": 1}, "false_alarms"),
        ({"lag_frames": -1}, "lag_frames"),
        ({"summed_frames": 1}, "summed_frames"),
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
