"""How a movie's frames were taken, in a line."""

import numpy as np

from segdepth_protos.conditions import Conditions, Measured


class Told:
    """Collects what frames tell of it; of any number of frames in a few numbers."""

    def __init__(self) -> None:
        self._sums, self._frames = np.zeros(6), 0

    def add(self, conditions: Conditions | None) -> None:
        """Of the next frame; None where it tells nothing."""
        if conditions is not None:
            self._sums += conditions.numbers()
            self._frames += 1

    def line(self) -> str | None:
        """The mean of all, with one frame's error: frames of a movie err together. None where no frame tells."""
        if not self._frames:
            return None
        means = (self._sums / self._frames).reshape(3, 2)
        told = Conditions(*(Measured(float(value), float(error)) for value, error in means))
        return f"taken with {told} (as {self._frames} frames tell)"
