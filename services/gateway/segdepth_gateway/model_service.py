"""ModelService and ModelAdminService: which models there are, and which one answers."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import grpc

from segdepth_artefacts import ArtefactStore
from segdepth_gateway import catalogue
from segdepth_gateway.auth import Authenticator, Scope
from segdepth_gateway.calls import Calls, Context, Rejected, remaining_s
from segdepth_gateway.metrics import Metrics
from segdepth_gateway.replicas import Replicas
from segdepth_gateway.settings import GatewaySettings
from segdepth_protos.contract import InvalidFrame
from segdepth_protos.v1 import models_pb2, models_pb2_grpc

MODELS = models_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
ADMIN = models_pb2.DESCRIPTOR.services_by_name["ModelAdminService"].full_name

P = ParamSpec("P")
R = TypeVar("R")


class ModelService(models_pb2_grpc.ModelServiceServicer, models_pb2_grpc.ModelAdminServiceServicer):
    """Both services on one store. Without a store there is only the model that answers."""

    def __init__(
        self,
        settings: GatewaySettings,
        authenticator: Authenticator,
        store: ArtefactStore | None,
        replicas: Replicas,
        metrics: Metrics,
    ):
        self._settings = settings
        self._authenticator = authenticator
        self._store = store
        self._replicas = replicas
        self._calls = Calls(metrics)

    async def ListModels(
        self, request: models_pb2.ListModelsRequest, context: Context
    ) -> models_pb2.ListModelsResponse:
        """All complete versions, newest first."""
        async with self._calls.answering("ListModels", context):
            self._permit(context, Scope.ESTIMATE, Scope.BATCH, Scope.MODELS_WRITE)
            status = self._replicas.status
            if self._store is None:
                models = (
                    [models_pb2.Model(version=self._replicas.model(), serving=status.ready)] if status.ready else []
                )
            else:
                models = await self._in_store(context, catalogue.models, self._store, request.family, status)
            return models_pb2.ListModelsResponse(models=models)
        raise AssertionError("answering() ends a call that failed")

    async def Promote(self, request: models_pb2.PromoteRequest, context: Context) -> models_pb2.PromoteResponse:
        """Point `stable` at a version, if the gates permit it."""
        async with self._calls.answering("Promote", context):
            principal = self._permit(context, Scope.MODELS_WRITE)
            for field in ("family", "version", *(("reason",) if request.force else ())):
                if not getattr(request, field):
                    raise InvalidFrame(field, "missing")
            store, gates = self._writable(), self._settings.gates
            change = await self._in_store(context, catalogue.promote, store, request, principal, gates)
            return models_pb2.PromoteResponse(change=change)
        raise AssertionError("answering() ends a call that failed")

    async def Rollback(self, request: models_pb2.RollbackRequest, context: Context) -> models_pb2.RollbackResponse:
        """Point `stable` at the version before."""
        async with self._calls.answering("Rollback", context):
            principal = self._permit(context, Scope.MODELS_WRITE)
            change = await self._in_store(context, catalogue.roll_back, self._writable(), request, principal)
            return models_pb2.RollbackResponse(change=change)
        raise AssertionError("answering() ends a call that failed")

    async def History(self, request: models_pb2.HistoryRequest, context: Context) -> models_pb2.HistoryResponse:
        """Every change of the channels, newest first."""
        async with self._calls.answering("History", context):
            self._permit(context, Scope.MODELS_WRITE)
            changes = await self._in_store(context, catalogue.history, self._writable(), request.family)
            return models_pb2.HistoryResponse(changes=changes)
        raise AssertionError("answering() ends a call that failed")

    def _permit(self, context: Context, *scopes: Scope) -> str:
        principal = self._authenticator.principal(context.invocation_metadata())
        principal.require(*scopes)
        return principal.name

    def _writable(self) -> ArtefactStore:
        if self._store is None:
            raise Rejected(grpc.StatusCode.UNIMPLEMENTED, "this gateway has no artefact store")
        return self._store

    async def _in_store(self, context: Context, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            async with asyncio.timeout(remaining_s(context, self._settings.unary_deadline_s)):
                return await asyncio.to_thread(call, *args, **kwargs)
        except TimeoutError as error:
            raise TimeoutError("deadline: passed before the artefact store answered") from error
