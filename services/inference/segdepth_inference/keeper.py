"""Which model answers: the one that the channel points at, changed between batches without a pause.

A model is fetched, verified, loaded and warmed up beside the one that answers. Whatever goes wrong on the way, the old
one goes on, and `problem` says why.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from segdepth_artefacts import ArtefactStore
from segdepth_artefacts.errors import ArtefactError, CorruptArtefact, InvalidName, UnknownVersion
from segdepth_inference.predictor import Predictor
from segdepth_protos.contract import UnknownModel

log = structlog.get_logger(__name__)

OTHER_MODELS = 2
"""Models besides the channel's that stay loaded, for callers who name a version."""

WARM_SHAPES = 4
"""Shapes of frames that a new model is warmed up for: the latest seen."""


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
        self._others: OrderedDict[tuple[str, str], Predictor] = OrderedDict()
        self._table = threading.Lock()
        self._loading = threading.Lock()
        self._patience = _Patience()
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
            self.refresh()

    def refresh(self) -> None:
        """Read the channel and change to its model if it is another one. Never raises for what the store holds."""
        try:
            family = self._family or self._store.default_family()
            channel = self._store.channel(family, self._channel)
            if channel is None:
                raise UnknownVersion(f"channel {self._channel} of {family} points at no version", "promote one")
            with self._loading:
                if self._is_current(family, channel.version):
                    self.problem = ""
                    return
                if not self._patience.try_again(channel.etag):
                    return
                predictor = self._load(family, channel.version)
                before, self._current = self._current, predictor
                self.problem = ""
            log.info(
                "model.swapped",
                family=family,
                version=channel.version,
                engine=predictor.version.engine,
                before=before.version.version if before else None,
            )
        except (ArtefactError, ValueError, OSError, RuntimeError) as error:
            # RuntimeError is torch's: no such device, out of memory. All of them leave the old model in place.
            self._report(error)

    def _is_current(self, family: str, version: str) -> bool:
        now = self._current
        return now is not None and (now.version.family, now.version.version) == (family, version)

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
        key = (family or (now.version.family if now else ""), version)
        with self._table:
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
            family = family or self._own_family()
            if not version:
                channel = self._store.channel(family, self._channel)
                if channel is None:
                    raise UnknownModel(self._unknown(family, version))
                version = channel.version
            with self._loading:
                return self.ready(family, version) or self._load_other(family, version)
        except (UnknownVersion, InvalidName) as error:
            raise UnknownModel(self._unknown(family, version)) from error
        except (CorruptArtefact, ValueError) as error:
            raise UnknownModel(f"model {family} {version} may not answer: {error}") from error

    def _own_family(self) -> str:
        now = self._current
        return now.version.family if now else self._family or self._store.default_family()

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


class _Patience:
    """When a model that failed to load is tried again: after 1, 2, 4 ... 32 polls, at once if the channel moves."""

    def __init__(self) -> None:
        self._etag = ""
        self._tries = 0
        self._polls = 0

    def try_again(self, etag: str) -> bool:
        if etag != self._etag:
            self._etag, self._tries, self._polls = etag, 0, 0
        self._polls += 1
        if self._polls < 2 ** min(self._tries, 5):
            return False
        self._tries, self._polls = self._tries + 1, 0
        return True
