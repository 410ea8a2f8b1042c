"""Which model answers: the one that the channel points at, changed between batches without a pause.

A model is fetched, verified, loaded and warmed up beside the one that answers. Whatever goes wrong on the way, the old
one goes on, and `problem` says why. The version before stays loaded: a rollback takes effect with the next poll.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import structlog

from segdepth_artefacts import ArtefactStore, Channel
from segdepth_artefacts.errors import ArtefactError, CorruptArtefact, InvalidName, StoreUnavailable, UnknownVersion
from segdepth_core.predictor import Predictor
from segdepth_inference.backoff import PollBackoff
from segdepth_protos.contract import UnknownModel

log = structlog.get_logger(__name__)

OTHER_MODELS = 2
"""Models besides the channel's and the one before that stay loaded: for callers who name one, and the shadow's."""

WARM_SHAPES = 4
"""Shapes of frames that a new model is warmed up for: the latest seen."""

BELIEVED_S = 2.0
"""What the channel of a family that a caller names points at is asked again after this long [s], not at every frame."""

LOAD_ERRORS = (ArtefactError, ValueError, OSError, RuntimeError)
"""What loading a model may raise. RuntimeError is torch's: no such device, out of memory."""


class Pointed(NamedTuple):
    """What a channel pointed at when it was last asked, and when that was [s]."""

    version: str
    asked_at: float


class ModelKeeper:
    """The models of a replica. Every method may be called from any thread; `resolve` and `refresh` block."""

    def __init__(
        self,
        store: ArtefactStore,
        cache: Path,
        *,
        family: str = "",
        channel: str = "stable",
        device: str = "auto",
        engine: str = "auto",
    ):
        self._store = store
        self._cache = cache
        self._family = family
        self._channel = channel
        self._device = device
        self._engine = engine
        self._current: Predictor | None = None
        self._standby: Predictor | None = None
        self._others: OrderedDict[tuple[str, str], Predictor] = OrderedDict()
        self._pointed: dict[str, Pointed] = {}
        self._table = threading.Lock()
        self._loading = threading.Lock()
        self._backoff = PollBackoff()
        self._way_back = PollBackoff()
        self._prepared = ""
        self._stopped = threading.Event()
        self._poller: threading.Thread | None = None
        self._shapes: OrderedDict[tuple[int, int, float], None] = OrderedDict({(256, 256, 0.1): None})
        self.problem = "no model has been loaded yet"

    @property
    def current(self) -> Predictor | None:
        """The channel's model, None before the first was loaded."""
        return self._current

    def start(self, poll_s: float) -> None:
        """Load the channel's model, then look for another one every `poll_s` [s] until `stop`."""
        self.refresh()
        self._poller = threading.Thread(target=self._poll, args=(poll_s,), name="model-keeper", daemon=True)
        self._poller.start()

    def stop(self) -> None:
        """Stop looking; the models stay."""
        self._stopped.set()
        if self._poller is not None:
            self._poller.join(timeout=5)

    def _poll(self, poll_s: float) -> None:
        while not self._stopped.wait(poll_s):
            channel = self.refresh()
            if channel is not None:
                self._prepare_rollback(channel)

    def refresh(self) -> Channel | None:
        """Read the channel and change to its model if it is another one. Never raises for what the store holds.

        Returns the channel if its model answers.
        """
        try:
            family = self.own_family()
            channel = self._store.channel(family, self._channel)
            if channel is None:
                raise UnknownVersion(f"channel {self._channel} of {family} points at no version", "promote one")
            # What is loaded answers at once, even while another model is being loaded.
            predictor = self.ready(family, channel.version) or self._load_patiently(channel)
            if predictor is None:
                return None
            self._swap(predictor)
        except LOAD_ERRORS as error:
            self._report(error)
            return None
        return channel

    def _load_patiently(self, channel: Channel) -> Predictor | None:
        """The channel's model, None if it failed a short while ago."""
        with self._loading:
            if not self._backoff.try_again(channel.etag):
                return None
            return self.ready(channel.family, channel.version) or self._load(channel.family, channel.version)

    def _swap(self, predictor: Predictor) -> None:
        self.problem = ""
        before = self._current
        if predictor is before:
            return
        with self._table:
            self._current, self._standby = predictor, before
            self._others.pop((predictor.version.family, predictor.version.version), None)
        log.info(
            "model.swapped",
            family=predictor.version.family,
            version=predictor.version.version,
            engine=predictor.version.engine,
            before=before.version.version if before else None,
        )

    def _prepare_rollback(self, channel: Channel) -> None:
        """Load the version before, if it is not: a replica that is younger than the promotion never had it."""
        if channel.previous is None or channel.etag == self._prepared or not self._way_back.try_again(channel.etag):
            return
        try:
            with self._loading:
                standby = self.ready(channel.family, channel.previous) or self._load(channel.family, channel.previous)
            with self._table:
                self._standby = standby
            self._prepared = channel.etag
        except LOAD_ERRORS as error:
            log.warning("model.no_way_back", family=channel.family, version=channel.previous, problem=str(error))

    def _report(self, error: Exception) -> None:
        problem = f"the model that {self._channel} points at is not answering: {error}"
        if problem != self.problem:
            log.error("model.problem", problem=str(error), kind=type(error).__name__)
        self.problem = problem

    def saw(self, shape: tuple[int, int], sampling_A: float) -> None:
        """Remember a shape of frames, so that the next model is warmed up for it."""
        key = (*shape, sampling_A)
        with self._table:
            self._shapes[key] = None
            self._shapes.move_to_end(key)
            while len(self._shapes) > WARM_SHAPES:
                self._shapes.popitem(last=False)

    def ready(self, family: str = "", version: str = "") -> Predictor | None:
        """The model that answers such a request if it is loaded already. Never blocks."""
        now = self._current
        if now is not None and family in ("", now.version.family) and version in ("", now.version.version):
            return now
        family = family or (now.version.family if now else "")
        pointed = self._pointed.get(family)
        if not version and pointed is not None and time.monotonic() - pointed.asked_at < BELIEVED_S:
            version = pointed.version
        key = (family, version)
        with self._table:
            standby = self._standby
            if standby is not None and key == (standby.version.family, standby.version.version):
                return standby
            if key in self._others:
                self._others.move_to_end(key)
            return self._others.get(key)

    def resolve(self, family: str = "", version: str = "") -> Predictor:
        """The model that answers such a request, loaded if need be. Empty = the channel's.

        Raises UnknownModel saying which there are, or why it may not answer; StoreUnavailable and other ArtefactErrors
        of a store that does not answer.
        """
        predictor = self.ready(family, version)
        if predictor is not None:
            return predictor
        try:
            family = family or self.own_family()
            version = version or self._pointed_at(family)
            with self._loading:
                return self.ready(family, version) or self._load_other(family, version)
        except (UnknownVersion, InvalidName) as error:
            raise UnknownModel(self._unknown(family, version)) from error
        except (CorruptArtefact, ValueError) as error:
            raise UnknownModel(f"model {family} {version} may not answer: {error}") from error

    def _pointed_at(self, family: str) -> str:
        """The version that the family's channel points at. A store that does not answer has not changed its mind."""
        known = self._pointed.get(family)
        try:
            channel = self._store.channel(family, self._channel)
        except StoreUnavailable as error:
            if known is None:
                raise
            log.warning("channel.unknown", family=family, version=known.version, problem=str(error))
            version = known.version
        else:
            if channel is None:
                raise UnknownModel(self._unknown(family, ""))
            version = channel.version
        self._pointed[family] = Pointed(version, time.monotonic())
        return version

    def own_family(self) -> str:
        """The family whose channel decides: as set, else the one that answers, else the store's default.

        Once a model answers this asks nobody: the default costs a look at every version in the store.
        """
        now = self._current
        return self._family or (now.version.family if now else self._store.default_family())

    def _unknown(self, family: str, version: str) -> str:
        there: Iterable[str] = (
            f"{known} ({', '.join(self._store.versions(known))})" for known in self._store.families()
        )
        wanted = f"{family} {version}".strip() or "any"
        why = "" if self._current else f"; {self.problem}"
        return f"unknown model {wanted!r}; there are: {', '.join(there) or 'none'}{why}"

    def _load_other(self, family: str, version: str) -> Predictor:
        predictor = self._load(family, version)
        with self._table:
            self._others[family, version] = predictor
            while len(self._others) > OTHER_MODELS:
                self._others.popitem(last=False)
        return predictor

    def _load(self, family: str, version: str) -> Predictor:
        # In a thread that ends: torch keeps a team of OpenMP threads for each thread that ever computed, and with more
        # of them than cores libgomp puts threads to sleep between operations, which costs a frame a third of its time.
        with ThreadPoolExecutor(1, thread_name_prefix="model-load") as passing:
            return passing.submit(self._load_and_warm_up, family, version).result()

    def _load_and_warm_up(self, family: str, version: str) -> Predictor:
        folder = self._store.fetch(family, version, self._cache)
        predictor = Predictor.load(folder, device=self._device, engine=self._engine)
        with self._table:
            shapes = list(self._shapes)
        for height, width, sampling_A in shapes:
            predictor.warm_up([(height, width)], sampling_A)
        return predictor
