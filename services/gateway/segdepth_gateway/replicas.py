"""What answers now: the replicas' own word, asked for again and again, and what follows from it."""

import asyncio

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segdepth_artefacts import ArtefactStore
from segdepth_artefacts.errors import StoreUnavailable
from segdepth_gateway.estimator import Estimator, ReplicaLost
from segdepth_gateway.health import Health
from segdepth_gateway.metrics import Metrics
from segdepth_gateway.scheduler import Scheduler
from segdepth_gateway.settings import GatewaySettings
from segdepth_protos.contract import AUTO, UnknownModel
from segdepth_protos.v1 import frame_pb2

log = structlog.get_logger(__name__)

STATUS_TIMEOUT_S = 5.0
"""A replica that is busy may take a while to say how it is."""


class ReplicaStatus(BaseModel):
    """A replica's word."""

    model_config = ConfigDict(frozen=True)

    ready: bool = False
    family: str = ""
    version: str = ""
    sha256: str = ""
    engine: str = ""
    best_batch: int = Field(1, ge=1)
    problem: str = ""
    shadow: str = ""
    shadow_problem: str = ""


class Replicas:
    """Watches the replicas, and tells scheduler, health and metrics what it sees."""

    def __init__(
        self,
        estimator: Estimator,
        store: ArtefactStore | None,
        scheduler: Scheduler,
        health: Health,
        settings: GatewaySettings,
        metrics: Metrics,
    ):
        self._estimator = estimator
        self._store = store
        self._scheduler = scheduler
        self._health = health
        self._settings = settings
        self._metrics = metrics
        self.status = ReplicaStatus()
        """The last word."""
        self._heard_at: float | None = None

    def model(self, family: str = "", version: str = "") -> frame_pb2.ModelVersion:
        """The model that answers now; of another family or version only what the caller named."""
        status = self.status
        if family not in ("", status.family) or version not in ("", status.version):
            return frame_pb2.ModelVersion(family=family or status.family, version=version)
        return frame_pb2.ModelVersion(
            family=status.family, version=status.version, sha256=status.sha256, engine=status.engine
        )

    async def check_model(self, family: str, version: str) -> None:
        """UnknownModel if the caller names a model that is neither serving nor in the store.

        While the store does not answer, the replicas may: they know what they have loaded.
        """
        status = self.status
        if family == AUTO:
            if version:
                raise UnknownModel(f"options.version: {version!r} of which family? name it instead of {AUTO}")
            return
        if family in ("", status.family) and version in ("", status.version):
            return
        if self._store is not None:
            try:
                await asyncio.to_thread(self._check_store, self._store, family or status.family, version)
            except StoreUnavailable as error:
                log.warning("the store does not say whether a model is there", family=family, problem=str(error))

    @staticmethod
    def _check_store(store: ArtefactStore, family: str, version: str) -> None:
        known = store.versions(family)
        if not known:
            raise UnknownModel(f"options.family: {family!r} is unknown; there are {', '.join(store.families())}")
        if version and version not in known:
            raise UnknownModel(f"options.version: {family} has no {version!r}; there are {', '.join(known)}")

    async def watch(self) -> None:
        """Poll until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(self._settings.poll_s)

    async def poll(self) -> None:
        """Ask the replicas once how they are, and pass it on."""
        statuses = await self._statuses()
        now = asyncio.get_running_loop().time()
        if statuses:
            self._follow(next((status for status in statuses if status.ready), statuses[0]))
            self._heard_at = now
        heard_at = max(self._heard_at or 0.0, self._scheduler.answered_at or 0.0)
        alive = bool(heard_at) and now - heard_at < self._settings.unwell_after_s
        ready = alive and self.status.ready
        if statuses is not None:
            self._metrics.replicas.set(len(statuses))
            self._scheduler.adjust(replicas=len(statuses), best_batch=self.status.best_batch)
        self._metrics.ready.set(ready)
        await self._health.set_serving(ready)

    async def _statuses(self) -> list[ReplicaStatus] | None:
        """What the replicas say; None while that is not known."""
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                return [ReplicaStatus.model_validate(dict(status)) for status in await self._estimator.statuses()]
        except (ReplicaLost, TimeoutError, ValidationError) as error:
            log.warning("replicas do not say how they are", error=str(error) or "timed out")
            return None

    def _follow(self, status: ReplicaStatus) -> None:
        before, self.status = self.status, status
        if status == before:
            return
        log.info("replicas", **status.model_dump())
        self._metrics.model.info(status.model_dump(include={"family", "version", "sha256", "engine"}))
        self._metrics.problem.clear()
        if status.problem:
            self._metrics.problem.labels(status.problem).set(1)
