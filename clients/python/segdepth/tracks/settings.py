"""How a movie is tracked."""

from dataclasses import dataclass

from segdepth.arguments import number, whole
from segdepth.errors import InvalidFrame


@dataclass(frozen=True)
class Tracking:
    """What is asked of tracking. Raises InvalidFrame for a number out of its range, InvalidType for what is none.

    hop_rate: probability that a column's number of atoms changes from a frame to the next, 0 for a specimen in which
    nothing may hop; false_alarms: how many changes may be reported a column and frame where nothing changes;
    lag_frames: how many later frames are waited for before a frame's columns are told; 0 is forward only, for a live
    view.
    """

    hop_rate: float = 1 / 2000
    false_alarms: float = 1 / 10_000
    lag_frames: int = 100

    def __post_init__(self) -> None:
        hop_rate = number(self.hop_rate, "tracking.hop_rate", "a probability")
        if not 0 <= hop_rate < 1:
            raise InvalidFrame(f"tracking.hop_rate: {hop_rate:g} is not from 0 to less than 1", "tracking.hop_rate")
        false_alarms = number(self.false_alarms, "tracking.false_alarms", "a rate")
        if not 0 < false_alarms < 1:
            raise InvalidFrame(
                f"tracking.false_alarms: {false_alarms:g} is not between 0 and 1", "tracking.false_alarms"
            )
        lag_frames = whole(self.lag_frames, "tracking.lag_frames")
        if lag_frames < 0:
            raise InvalidFrame(f"tracking.lag_frames: {lag_frames} is less than none", "tracking.lag_frames")
        for name, value in (("hop_rate", hop_rate), ("false_alarms", false_alarms), ("lag_frames", lag_frames)):
            object.__setattr__(self, name, value)
