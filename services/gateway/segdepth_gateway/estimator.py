"""What answers micro-batches: anything with these two methods, usually a Serve deployment (serve_estimator)."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from segdepth_protos.contract import UnknownModel


class ReplicaLost(ConnectionError):
    """The replica died, or cannot be reached. Another may answer: predicting twice is harmless."""


class EstimateFailed(RuntimeError):
    """The replica answered that it failed. The same frames would fail again."""


class Estimator(Protocol):
    """Answers of a model."""

    async def estimate(
        self, pixels: list[NDArray[Any]], calibrations: list[bytes], options: bytes
    ) -> tuple[list[bytes], list[int]]:
        """A serialized FrameResult, without sequence, and a DomainStatus for each frame of equal shape.

        UnknownModel, ReplicaLost, EstimateFailed.
        """

    async def statuses(self) -> list[Mapping[str, Any]]:
        """What each replica that runs now says of itself: ready, family, version, sha256, engine, best_batch, problem;
        and shadow, shadow_problem where a candidate runs in the shadow.

        ReplicaLost where it is not known which there are.
        """


__all__ = ["EstimateFailed", "Estimator", "ReplicaLost", "UnknownModel"]
