"""The estimator that usually answers: replicas of a Ray Serve deployment."""

from collections.abc import Mapping
from typing import Any

import ray.exceptions
from numpy.typing import NDArray
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

from segdepth_gateway.estimator import EstimateFailed, ReplicaLost
from segdepth_protos.contract import UnknownModel


class ServeEstimator:
    """Sends micro-batches to the replicas behind a handle.

    Large ones go by reference: pixels are written once, into shared memory, where a replica on the same machine reads
    them. For small ones a round trip through the object store would take longer than the copy.
    """

    def __init__(self, handle: DeploymentHandle[Any], by_value_bytes: int):
        self._by_reference = handle.options(method_name="estimate", _by_reference=True)
        self._by_value = handle.options(method_name="estimate", _by_reference=False)
        self._handle = handle
        self._by_value_bytes = by_value_bytes

    async def estimate(
        self, pixels: list[NDArray[Any]], calibrations: list[bytes], options: bytes
    ) -> tuple[list[bytes], list[int]]:
        """See Estimator."""
        small = sum(frame.nbytes for frame in pixels) <= self._by_value_bytes
        handle = self._by_value if small else self._by_reference
        results, statuses = await _answer(handle, pixels, calibrations, options)
        return results, statuses

    async def statuses(self) -> list[Mapping[str, Any]]:
        """See Estimator."""
        # The handle knows its replicas; serve.status(), asked once a second, takes a twentieth of a core.
        try:
            answers = await self._handle.broadcast("status").results_async(return_exceptions=True)
        except DeploymentUnavailableError:
            return []
        except (ray.exceptions.RayError, RayServeException) as error:
            raise ReplicaLost(_first_line(error)) from error
        # One that died a moment ago is no replica any more.
        return [answer for answer in answers if isinstance(answer, Mapping)]


async def _answer(handle: DeploymentHandle[Any], *arguments: object) -> Any:
    try:
        return await handle.remote(*arguments)
    except UnknownModel as error:
        raise UnknownModel(_first_line(error)) from error
    except ray.exceptions.RayTaskError as error:
        raise EstimateFailed(_first_line(error.cause)) from error
    except (ray.exceptions.RayError, RayServeException) as error:
        raise ReplicaLost(_first_line(error)) from error
    except Exception as error:  # by value, Serve raises whatever the replica's own code raised, unwrapped
        raise EstimateFailed(_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
