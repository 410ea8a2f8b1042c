"""A server reached by gRPC."""

import asyncio
import json
from collections.abc import Awaitable
from functools import partial
from typing import Any, TypeVar

import grpc

from segdepth.backoff import Patience
from segdepth.errors import GateRefused, OutsideDomain, SegDepthError, Unavailable, from_status
from segdepth.security import TLS, check_token, is_loopback
from segdepth.streaming.answers import Carrier
from segdepth.streaming.outages import OnOutage, Outages
from segdepth.streaming.remote_carrier import RemoteCarrier
from segdepth.transport import Admin
from segdepth_protos import contract
from segdepth_protos.v1 import (
    account_pb2,
    account_pb2_grpc,
    estimator_pb2,
    estimator_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
)

T = TypeVar("T")

KEEPALIVE_MS = 30_000
KEEPALIVE_TIMEOUT_MS = 15_000

_SERVICE = estimator_pb2.DESCRIPTOR.services_by_name["EstimatorService"].full_name

_RETRIES = json.dumps(
    {
        "methodConfig": [
            {
                "name": [
                    {"service": _SERVICE, "method": "Estimate"},
                    {"service": "segdepth.v1.ModelService"},
                    {"service": "segdepth.v1.AccountService"},
                ],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)
"""Calls that may be repeated: a prediction is deterministic, a listing changes nothing."""

_WANTS_TLS = "; so does a server that speaks TLS answer plaintext: then ask with tls (--tls, or --ca authority.pem)"


class RemoteTransport:
    """A channel to one server, opened at the first call."""

    def __init__(
        self, server: str, *, token: str | None, tls: TLS | None, patience: Patience, on_outage: OnOutage | None = None
    ):
        check_token(server, token, encrypted=tls is not None)
        self._server, self._patience, self._encrypted = server, patience, tls is not None
        self._on_outage = on_outage
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        options = [*contract.CHANNEL_OPTIONS, *_options(server), *(tls.options() if tls else ())]
        self._channel = (
            grpc.aio.secure_channel(server, tls.credentials(), options)
            if tls
            else grpc.aio.insecure_channel(server, options)
        )
        self._estimator = estimator_pb2_grpc.EstimatorServiceStub(self._channel)
        self._models = models_pb2_grpc.ModelServiceStub(self._channel)
        self._admin = models_pb2_grpc.ModelAdminServiceStub(self._channel)
        self._accounts = account_pb2_grpc.AccountServiceStub(self._channel)
        # Requests are serialised by the window's own encoder.
        self._stream: Any = self._channel.stream_stream(
            f"/{_SERVICE}/EstimateStream",
            response_deserializer=estimator_pb2.EstimateStreamResponse.FromString,
        )

    async def estimate(
        self, request: estimator_pb2.EstimateRequest, timeout_s: float
    ) -> estimator_pb2.EstimateResponse:
        """One frame."""
        return await self._answer(self._estimator.Estimate(request, timeout=timeout_s, metadata=self._metadata))

    async def carrier(self) -> Carrier:
        """A carrier for one stream."""
        outages = Outages(self._on_outage)
        call = partial(self._stream, metadata=self._metadata)
        return RemoteCarrier(self._server, call, self._patience, outages=outages)

    async def list_models(
        self, request: models_pb2.ListModelsRequest, timeout_s: float
    ) -> models_pb2.ListModelsResponse:
        """The models."""
        return await self._answer(self._models.ListModels(request, timeout=timeout_s, metadata=self._metadata))

    def admin(self) -> Admin:
        """The calls that change channels: they are this server's."""
        return self

    async def promote(self, request: models_pb2.PromoteRequest, timeout_s: float) -> models_pb2.PromoteResponse:
        """Point stable at a version."""
        return await self._administer(self._admin.Promote(request, timeout=timeout_s, metadata=self._metadata))

    async def rollback(self, request: models_pb2.RollbackRequest, timeout_s: float) -> models_pb2.RollbackResponse:
        """Point stable back."""
        return await self._administer(self._admin.Rollback(request, timeout=timeout_s, metadata=self._metadata))

    async def history(self, request: models_pb2.HistoryRequest, timeout_s: float) -> models_pb2.HistoryResponse:
        """Every change of the channels."""
        return await self._administer(self._admin.History(request, timeout=timeout_s, metadata=self._metadata))

    async def whoami(self, timeout_s: float) -> account_pb2.WhoAmIResponse:
        """Whom the server takes the caller for."""
        request = account_pb2.WhoAmIRequest()
        return await self._answer(self._accounts.WhoAmI(request, timeout=timeout_s, metadata=self._metadata))

    async def healthy(self, timeout_s: float) -> bool:
        """What the server's health service says of it."""
        check: Any = self._channel.unary_unary("/grpc.health.v1.Health/Check")
        answer: bytes = await self._answer(check(b"", timeout=timeout_s, metadata=self._metadata))
        # HealthCheckResponse { ServingStatus status = 1; } with SERVING = 1.
        return answer == b"\x08\x01"

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def _administer(self, call: Awaitable[T]) -> T:
        try:
            return await self._answer(call)
        except OutsideDomain as error:
            raise GateRefused(str(error)) from error

    async def _answer(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error
        except asyncio.CancelledError:
            # grpc.aio raises it also for a status CANCELLED sent by a server that is going down.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise Unavailable(f"{self._server} cancelled the call") from None

    def _error(self, error: grpc.aio.AioRpcError) -> SegDepthError:
        found = from_status(error.code(), error.details(), error.trailing_metadata())
        if isinstance(found, Unavailable):
            closed = "Socket closed" in str(found) and not self._encrypted
            return Unavailable(f"{self._server}: {found}{_WANTS_TLS if closed else ''}")
        return found


def _options(server: str) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.service_config", _RETRIES),
    ]
    if is_loopback(server):
        # A proxy from the environment is another machine: neither frames nor a token go there.
        options.append(("grpc.enable_http_proxy", 0))
    return options
