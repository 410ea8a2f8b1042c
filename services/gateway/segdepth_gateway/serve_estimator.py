"""The estimator that usually answers: replicas of a Ray Serve deployment."""

import asyncio
from collections.abc import Mapping
from typing import Any

import ray.exceptions
from numpy.typing import NDArray
from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ServeStatus

from segdepth_gateway.estimator import EstimateFailed, ReplicaLost
from segdepth_protos.contract import UnknownModel

RUNNING = "RUNNING"


class ServeEstimator:
    """Sends micro-batches to the replicas behind a handle.

    Large ones go by reference: pixels are written once, into shared memory, where a replica on the same machine reads
    them. For small ones a round trip through the object store would take longer than the copy.
    """

    def __init__(self, handle: DeploymentHandle[Any], by_value_bytes: int):
        self._name, self._app = handle.deployment_name, handle.app_name
        self._by_reference = handle.options(method_name="estimate", _by_reference=True)
        self._by_value = handle.options(method_name="estimate", _by_reference=False)
        self._status = handle.options(method_name="status")
        self._by_value_bytes = by_value_bytes

    async def estimate(
        self, pixels: list[NDArray[Any]], calibrations: list[bytes], options: bytes
    ) -> tuple[list[bytes], list[int]]:
        """See Estimator."""
        small = sum(frame.nbytes for frame in pixels) <= self._by_value_bytes
        handle = self._by_value if small else self._by_reference
        results, statuses = await _answer(handle, pixels, calibrations, options)
        return results, statuses

    async def status(self) -> Mapping[str, Any]:
        """See Estimator."""
        status: Mapping[str, Any] = await _answer(self._status)
        return status

    async def replicas(self) -> int:
        """See Estimator."""
        return await asyncio.to_thread(self._running)

    def _running(self) -> int:
        try:
            status: ServeStatus = serve.status()
        except (ray.exceptions.RayError, RayServeException) as error:
            raise ReplicaLost(f"Serve does not say which replicas run: {error}") from error
        app = status.applications.get(self._app)
        deployment = app.deployments.get(self._name) if app else None
        states = deployment.replica_states if deployment else {}
        return sum(number for state, number in states.items() if state == RUNNING)


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
