"""What all calls have in common: who asks, and how an error ends a call."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn, cast

import grpc
from grpc.aio import ServicerContext

from segdepth_artefacts import errors
from segdepth_gateway.auth import Denied
from segdepth_gateway.credit import Full
from segdepth_gateway.estimator import EstimateFailed, ReplicaLost
from segdepth_gateway.metrics import Metrics
from segdepth_gateway.session import ExpiredSession, ForeignSession
from segdepth_protos.contract import InvalidFrame, OutsideDomain, UnknownModel

Context = ServicerContext[Any, Any]

CODES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (InvalidFrame, grpc.StatusCode.INVALID_ARGUMENT),
    (ExpiredSession, grpc.StatusCode.INVALID_ARGUMENT),
    (ForeignSession, grpc.StatusCode.PERMISSION_DENIED),
    (UnknownModel, grpc.StatusCode.NOT_FOUND),
    (OutsideDomain, grpc.StatusCode.FAILED_PRECONDITION),
    (Full, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (ReplicaLost, grpc.StatusCode.UNAVAILABLE),
    (EstimateFailed, grpc.StatusCode.INTERNAL),
    (TimeoutError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.UnknownVersion, grpc.StatusCode.NOT_FOUND),
    (errors.InvalidName, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.ChannelConflict, grpc.StatusCode.ABORTED),
    (errors.CorruptArtefact, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.UnsafeEndpoint, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.StoreUnavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.StoreRefused, grpc.StatusCode.UNAVAILABLE),
)
"""Errors that callers are told of, and as what. Any other is a fault of ours: gRPC says UNKNOWN, the log the rest."""

RETRY_AFTER_KEY = "retry-after-ms"
SHORTEST_RETRY_MS, LONGEST_RETRY_MS = 50, 10_000


def remaining_s(context: Context, otherwise_s: float) -> float:
    """Time until the call's deadline [s], `otherwise_s` if it brought none."""
    remaining = cast(float | None, context.time_remaining())
    return otherwise_s if remaining is None else remaining


class Rejected(Exception):
    """A call that ends with this status."""

    def __init__(self, code: grpc.StatusCode, detail: str):
        super().__init__(detail)
        self.code = code


class Calls:
    """Ends calls with the right status, and counts those that fail."""

    def __init__(self, metrics: Metrics):
        self._metrics = metrics

    @asynccontextmanager
    async def answering(self, method: str, context: Context, waiting_s: float = 0.0) -> AsyncIterator[None]:
        """Errors raised within end the call; a full gateway says to come again after about `waiting_s` [s]."""
        try:
            yield
        except (Rejected, Denied) as error:
            await self._abort(method, context, error.code, str(error), waiting_s)
        except tuple(kind for kind, _ in CODES) as error:
            code = next(code for kind, code in CODES if isinstance(error, kind))
            await self._abort(method, context, code, str(error), waiting_s)

    async def _abort(
        self, method: str, context: Context, code: grpc.StatusCode, detail: str, waiting_s: float
    ) -> NoReturn:
        self._metrics.rejected.labels(method, code.name).inc()
        trailing: tuple[tuple[str, str], ...] = ()
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            wait_ms = min(max(round(waiting_s * 1000), SHORTEST_RETRY_MS), LONGEST_RETRY_MS)
            trailing = ((RETRY_AFTER_KEY, str(wait_ms)),)
        await context.abort(code, detail, trailing)
