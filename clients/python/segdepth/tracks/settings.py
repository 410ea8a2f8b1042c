"""What is asked of tracking."""

from dataclasses import dataclass

from segdepth.arguments import number, whole
from segdepth.errors import InvalidFrame

HOP_RATE = 1 / 2000
FALSE_ALARMS = 1 / 2000
LAG_FRAMES = 100
SUMMED_FRAMES = 15


@dataclass(frozen=True)
class Tracking:
    """How a movie is tracked.

    hop_rate: probability that a column's number of atoms is another one in the next frame, before it is seen; 0 for a
    movie in which nothing may change; false_alarms: changes announced that are none, per column and frame; lag_frames:
    frames that an answer waits for what follows, which tells more of it; 0 for live, where only what was before counts;
    summed_frames: frames that are added up, with the drift taken out, for the model to count once more: their sum shows
    what none shows alone; 0 for none.
    """

    hop_rate: float = HOP_RATE
    false_alarms: float = FALSE_ALARMS
    lag_frames: int = LAG_FRAMES
    summed_frames: int = SUMMED_FRAMES

    def __post_init__(self) -> None:
        if not 0 <= number(self.hop_rate, "tracking.hop_rate") <= 0.1:
            raise InvalidFrame(
                f"tracking.hop_rate: {self.hop_rate:g} is no probability from 0 to 0.1 that a column changes from one"
                " frame to the next",
                "tracking.hop_rate",
            )
        if not 1e-6 <= number(self.false_alarms, "tracking.false_alarms") <= 0.01:
            raise InvalidFrame(
                f"tracking.false_alarms: {self.false_alarms:g} is not between 1e-6 and 0.01 per column and frame",
                "tracking.false_alarms",
            )
        if not 0 <= whole(self.lag_frames, "tracking.lag_frames") <= 1000:
            raise InvalidFrame(f"tracking.lag_frames: {self.lag_frames} is not from 0 to 1000", "tracking.lag_frames")
        if not 0 <= whole(self.summed_frames, "tracking.summed_frames") <= 100 or self.summed_frames == 1:
            raise InvalidFrame(
                f"tracking.summed_frames: {self.summed_frames} is neither 0 nor from 2 to 100", "tracking.summed_frames"
            )
