"""Probes: a few pixels of a few frames, kept with the benchmark's digest, to tell whether it came out right again."""

from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from segdepth_training.benchmark.definition import digest
from segdepth_training.frames.exit_waves import ExitWaves, Plan
from segdepth_training.frames.observation import observe

SPECIMENS = (0, 1, 2)
PIXELS = 24
TOLERANCE = 2e-3
"""Largest difference of a pixel's intensity, in units of the vacuum's."""


class NotThisBenchmark(ValueError):
    """What was regenerated is not the benchmark whose probes are kept."""


class Probes(BaseModel):
    """The benchmark's digest and noise-free intensities (vacuum = 1) at PIXELS positions of each specimen probed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    intensities: dict[int, tuple[float, ...]]

    @classmethod
    def of(cls, waves: ExitWaves, plan: Plan) -> Self:
        """Of exit waves that begin with those probed."""
        found = {}
        for index in SPECIMENS:
            frame = observe(waves, plan, index, float("inf")).frame
            at = np.random.default_rng(index).integers(frame.size, size=PIXELS)
            found[index] = tuple(round(float(value), 5) for value in frame.ravel()[at])
        return cls(digest=digest(plan.recipe), intensities=found)

    def check_digest(self, digest: str) -> None:
        """NotThisBenchmark where another benchmark is about to be regenerated."""
        if digest != self.digest:
            raise NotThisBenchmark(
                f"the recipe makes benchmark {digest[:12]}, the probes are of {self.digest[:12]}: specimens,"
                " conditions or doses were changed; figures of the two cannot be compared; leave --probes out to go on"
            )

    def check(self, found: Self) -> None:
        """NotThisBenchmark where other pixels came out."""
        for index, kept in self.intensities.items():
            difference = float(torch.tensor(found.intensities[index]).sub(torch.tensor(kept)).abs().max())
            if difference > TOLERANCE:
                raise NotThisBenchmark(
                    f"specimen {index}: pixels differ by {difference:.2g} of the vacuum's intensity from the probes"
                    f" (at most {TOLERANCE:g}): another version of ASE? constraints.txt has the right one"
                )


def kept_probes(path: Path) -> Probes | None:
    """The probes in a file; None if there is none."""
    return Probes.model_validate_json(path.read_text()) if path.exists() else None
