"""Leases: at most one holder of a name at a time, by compare-and-swap on leases/<name>.json.

A holder renews its lease while it works; one that died is followed by another when its lease has expired. Who holds it
compares times of two machines, so their clocks must agree to well within the lease's time.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Literal, Self
from uuid import uuid4

import structlog
from pydantic import AwareDatetime, ValidationError

from segdepth_artefacts import names
from segdepth_artefacts.errors import (
    ArtefactError,
    ConditionFailed,
    CorruptArtefact,
    LeaseHeld,
    LeaseLost,
    StoreUnavailable,
)
from segdepth_artefacts.manifest import Strict
from segdepth_artefacts.objects import ObjectStore

log = structlog.get_logger(__name__)

RENEWALS = 4
"""Renewals within the time of a lease: three may fail before it is lost."""


class Holding(Strict):
    """leases/<name>.json: who holds the lease, or held it."""

    format: Literal[1] = 1
    id: str
    """Unique to this holding, so that a holder recognises its own renewal whose answer was lost."""
    holder: str
    acquired: AwareDatetime
    expires: AwareDatetime


def _now() -> datetime:
    return datetime.now(UTC)


class Lease:
    """One name, held from `with` to the end of its block.

    `on_lost` is called once, in a thread of the lease, when it is found to be lost: it should make the work end.
    """

    def __init__(
        self,
        objects: ObjectStore,
        name: str,
        holder: str,
        *,
        ttl_s: float,
        on_lost: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = _now,
    ):
        if not holder:
            raise ValueError("a lease needs a holder: who takes it")
        if ttl_s <= 0:
            raise ValueError(f"ttl_s = {ttl_s:g}: the time of a lease must be positive")
        self._objects, self._clock, self._on_lost = objects, clock, on_lost
        self._key = names.lease_key(name)
        self._ttl = timedelta(seconds=ttl_s)
        now = clock()
        self._holding = Holding(id=uuid4().hex, holder=holder, acquired=now, expires=now)
        self._etag: str | None = None
        self._sure_until = 0.0  # by this machine's monotonic clock
        self._writing, self._end, self._lost = threading.Lock(), threading.Event(), threading.Event()
        self._renewing: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold it by now."""
        return self._lost.is_set() or time.monotonic() > self._sure_until

    def acquire(self) -> None:
        """Take the lease, and keep it renewed from now on. LeaseHeld, with holder and expiry, if another has it."""
        stored = self._objects.read(self._key)
        if stored is not None:
            other = _parsed(stored.data, self._key, self._objects.url)
            if other.expires > self._clock():
                raise _held(self._key, self._objects.url, other)
            if other.expires > other.acquired:
                log.info("lease of a holder that is gone is taken over", key=self._key, holder=other.holder)
        now = self._clock()
        self._holding = self._holding.model_copy(update={"acquired": now})
        try:
            self._write(replaces=stored.etag if stored else None)
        except ConditionFailed as exc:
            winner = self._objects.read(self._key)
            if winner is None:
                raise StoreUnavailable(f"{self._key} in {self._objects.url} was removed", "try again") from exc
            raise _held(self._key, self._objects.url, _parsed(winner.data, self._key, self._objects.url)) from exc
        self._renewing = threading.Thread(target=self._keep, name=f"lease {self._key}", daemon=True)
        self._renewing.start()

    def confirm(self) -> None:
        """Renew now. LeaseLost if another has taken it, StoreUnavailable if the store cannot say."""
        with self._writing:
            if not self.lost:
                self._renew()
            if self.lost:
                raise LeaseLost(
                    f"the lease {self._key} in {self._objects.url} is lost: this process was too slow to renew it,"
                    " and another may work in its place",
                    "nothing more was written; let the other go on, or start again",
                )

    def release(self) -> None:
        """Give the lease back, if it is still ours; the next holder need not wait for its end."""
        self._end.set()
        if self._renewing is not None:
            self._renewing.join()
        if self._etag is None or self.lost:
            return
        now = self._clock()
        freed = self._holding.model_copy(update={"expires": now, "acquired": now})
        try:
            self._objects.write(self._key, _bytes(freed), replaces=self._etag)
        except ArtefactError as exc:  # it ends by itself
            log.warning("lease not given back", key=self._key, problem=str(exc))
        self._etag = None

    def _keep(self) -> None:
        """Renew until the end; a store that is away for a while is asked again until the lease is lost."""
        while not self._end.wait(self._ttl.total_seconds() / RENEWALS):
            with self._writing:
                try:
                    if not self.lost:
                        self._renew()
                except ArtefactError as exc:  # refused for a moment, say: it is lost only when its time is over
                    log.warning("lease not renewed", key=self._key, problem=str(exc))
                if not self.lost:
                    continue
                self._lost.set()
            log.error("lease lost", key=self._key, holder=self._holding.holder)
            self._on_lost()
            return

    def _renew(self) -> None:
        try:
            self._write(replaces=self._etag)
        except ConditionFailed:
            stored = self._objects.read(self._key)
            if stored is None or _parsed(stored.data, self._key, self._objects.url).id != self._holding.id:
                self._lost.set()
                return
            self._write(replaces=stored.etag)  # our own last renewal, whose answer was lost

    def _write(self, *, replaces: str | None) -> None:
        """A holding that ends a whole time from now."""
        started = time.monotonic()
        holding = self._holding.model_copy(update={"expires": self._clock() + self._ttl})
        self._etag = self._objects.write(self._key, _bytes(holding), replaces=replaces)
        self._holding, self._sure_until = holding, started + self._ttl.total_seconds()


def _bytes(holding: Holding) -> bytes:
    return holding.model_dump_json(indent=2).encode() + b"\n"


def _parsed(data: bytes, key: str, url: str) -> Holding:
    try:
        return Holding.model_validate_json(data)
    except ValidationError as exc:
        raise CorruptArtefact(f"{key} in {url} is no lease: {exc}", "remove it when nobody works under it") from exc


def _held(key: str, url: str, by: Holding) -> LeaseHeld:
    return LeaseHeld(
        f"the lease {key} in {url} is held by {by.holder} until {by.expires:%Y-%m-%d %H:%M:%S %Z}",
        "wait for its holder to end; if it died, the lease is free from then on",
        holder=by.holder,
        expires=by.expires,
    )
