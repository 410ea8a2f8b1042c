"""What carries a client's calls: a server, or a model in this process."""

import asyncio
from typing import Any, Protocol

from segdepth.backend import Backend, load_backend
from segdepth.errors import NotSupported, from_contract
from segdepth.streaming.answers import Carrier
from segdepth.streaming.local_carrier import LocalCarrier
from segdepth_protos.v1 import account_pb2, estimator_pb2, models_pb2

TIMEOUT_S = 30.0
"""Deadline of a call unless another is given [s]."""


class Admin(Protocol):
    """The calls that change which model answers."""

    async def promote(self, request: models_pb2.PromoteRequest, timeout_s: float) -> models_pb2.PromoteResponse:
        """Point stable at a version."""

    async def rollback(self, request: models_pb2.RollbackRequest, timeout_s: float) -> models_pb2.RollbackResponse:
        """Point stable back."""

    async def history(self, request: models_pb2.HistoryRequest, timeout_s: float) -> models_pb2.HistoryResponse:
        """Every change of the channels."""


class Transport(Protocol):
    """The calls of the contract, in its messages. Raises SegDepthError."""

    async def estimate(
        self, request: estimator_pb2.EstimateRequest, timeout_s: float
    ) -> estimator_pb2.EstimateResponse:
        """One frame."""

    async def carrier(self) -> Carrier:
        """A carrier for one stream."""

    async def list_models(
        self, request: models_pb2.ListModelsRequest, timeout_s: float
    ) -> models_pb2.ListModelsResponse:
        """The models."""

    def admin(self) -> Admin:
        """The calls that change channels. Raises NotSupported where there are none."""

    async def whoami(self, timeout_s: float) -> account_pb2.WhoAmIResponse:
        """Whom the server takes the caller for. Raises NotSupported where there are no callers."""

    async def healthy(self, timeout_s: float) -> bool:
        """Whether a model answers."""

    async def close(self) -> None:
        """Give back what it holds."""


class LocalTransport:
    """A model in this process, loaded when it is first needed."""

    def __init__(self, **options: Any):
        self._options = options
        self._backend: Backend | None = None
        self._loading = asyncio.Lock()

    async def _loaded(self) -> Backend:
        async with self._loading:
            if self._backend is None:
                self._backend = await asyncio.to_thread(load_backend, "local", **self._options)
        return self._backend

    async def estimate(
        self, request: estimator_pb2.EstimateRequest, timeout_s: float
    ) -> estimator_pb2.EstimateResponse:
        """One frame."""
        backend = await self._loaded()
        try:
            return await asyncio.to_thread(backend.estimate, request, timeout_s)
        except Exception as error:
            raise from_contract(error) from error

    async def carrier(self) -> Carrier:
        """A carrier for one stream."""
        return LocalCarrier(await self._loaded())

    async def list_models(
        self, request: models_pb2.ListModelsRequest, timeout_s: float
    ) -> models_pb2.ListModelsResponse:
        """The models of the store."""
        backend = await self._loaded()
        try:
            return await asyncio.to_thread(backend.list_models, request, timeout_s)
        except Exception as error:
            raise from_contract(error) from error

    def admin(self) -> Admin:
        """NotSupported."""
        raise NotSupported("channels are changed on a server; connect to one")

    async def whoami(self, timeout_s: float) -> account_pb2.WhoAmIResponse:  # noqa: ARG002 - a transport's signature
        """NotSupported."""
        raise NotSupported("a model in this process asks nobody who they are; connect to a server")

    async def healthy(self, timeout_s: float) -> bool:  # noqa: ARG002 - loading a model cannot be cut short
        """A loaded model answers."""
        await self._loaded()
        return True

    async def close(self) -> None:
        """Give the model's memory back."""
        if self._backend is not None:
            await asyncio.to_thread(self._backend.close)
            self._backend = None
