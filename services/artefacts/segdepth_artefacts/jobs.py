"""Documents of a batch job, which the api and the job itself exchange through a store of objects.

    jobs/<id>/request.json    what is wanted; written once, by the api
    jobs/<id>/state.json      how far it is; changed by compare-and-swap, by the job
    jobs/<id>/cancel          there: the job shall end

Beside them the job keeps its plan, and its output where the request names no other place.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Literal, TypeVar

import stamina
from pydantic import AwareDatetime, Field, ValidationError

from segdepth_artefacts.errors import ArtefactError, ConditionFailed, CorruptArtefact, StoreUnavailable
from segdepth_artefacts.manifest import Strict
from segdepth_artefacts.objects import Document, ObjectStore

UPLOAD = "upload:"
"""What the name of an uploaded input begins with: upload:<digest>/<file name>."""

Priority = Literal["low", "normal", "high"]
Status = Literal["queued", "running", "done", "failed", "cancelled"]

ENDED: frozenset[Status] = frozenset({"done", "failed", "cancelled"})

T = TypeVar("T", bound=Strict)

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_CHANGE_TRIES = 10


class JobExists(ArtefactError):
    """There is a job of that id already, and it is another."""


class UnknownJob(ArtefactError, LookupError):
    """There is no such job."""


class JobRequest(Strict):
    """What a caller wants, and who that is."""

    format: Literal[1] = 1
    job: str
    principal: str
    created: AwareDatetime
    input: tuple[str, ...] = Field(min_length=1)
    sampling_A: float | None = Field(None, description="pixel size [Å/px], instead of the headers'")
    family: str = Field("", description="empty = the store's default")
    version: str = Field("", description="empty = what `stable` points at when the job starts")
    priority: Priority = "normal"
    output: str = Field("", description="empty = the job's own folder")
    maps: bool = Field(True, description="depth and confidence of each pixel, besides the columns")

    def same_as(self, other: "JobRequest") -> bool:
        """Whether it asks for the same; when it was asked does not matter."""
        return self.model_copy(update={"created": other.created}) == other


class JobState(Strict):
    """How far a job is. A job that has not begun has none."""

    format: Literal[1] = 1
    status: Status = "queued"
    attempt: int = Field(0, description="counts the drivers; an older one ends when it sees a newer")
    message: str = ""
    permanent: bool = Field(False, description="a failure that the same request would meet again")
    family: str = ""
    version: str = ""
    sha256: str = ""
    engine: str = ""
    chunks_done: int = 0
    chunks_total: int = 0
    frames_done: int = 0
    frames_total: int = 0
    frames_per_s: float = Field(0.0, description="of this attempt")
    eta_s: float | None = None
    started: AwareDatetime | None = None
    updated: AwareDatetime | None = None
    ended: AwareDatetime | None = None

    @property
    def over(self) -> bool:
        """Whether another attempt would change nothing."""
        return self.status in ("done", "cancelled") or (self.status == "failed" and self.permanent)


def check_id(job: str) -> str:
    """The id itself; UnknownJob for what can be none, such as a path."""
    if not _ID.fullmatch(job):
        raise UnknownJob(f"{job[:80]!r} is no job", "ask for the id that the submission answered")
    return job


def job_folder(objects: ObjectStore, job: str) -> "JobFolder":
    """The folder of a job in the store of batch jobs. UnknownJob for an id that can be none."""
    return JobFolder(objects, f"jobs/{check_id(job)}")


class JobFolder:
    """A job's documents below `prefix`. Every method may raise StoreUnavailable and StoreRefused."""

    def __init__(self, objects: ObjectStore, prefix: str):
        self.objects, self.prefix = objects, prefix

    def create(self, request: JobRequest) -> tuple[JobRequest, bool]:
        """Store the request; the stored one, and whether it is new. JobExists if another has this id."""
        document = request.model_dump_json(indent=2).encode() + b"\n"
        try:
            self.objects.write(self._key("request.json"), document, replaces=None)
        except ConditionFailed:
            stored = self.request()
            if not request.same_as(stored):
                raise JobExists(
                    f"job {request.job} exists and is another: {_difference(request, stored)}",
                    "choose another place or key for this one, or repeat the job's own request",
                ) from None
            return stored, False
        return request, True

    def request(self) -> JobRequest:
        """What is wanted. UnknownJob, CorruptArtefact."""
        stored = self.objects.read(self._key("request.json"))
        if stored is None:
            raise UnknownJob(
                f"{self._key('request.json')} is not in {self.objects.url}", "submit the job, or correct its id"
            )
        return _parsed(JobRequest, stored, self._key("request.json"))

    def state(self) -> JobState:
        """How far it is."""
        stored = self.objects.read(self._key("state.json"))
        return JobState() if stored is None else _parsed(JobState, stored, self._key("state.json"))

    def change(self, how: Callable[[JobState], JobState]) -> JobState:
        """Replace the state by what `how` makes of it; `how` may raise, and is asked again if others write too."""
        try:
            for attempt in stamina.retry_context(
                on=ConditionFailed,
                attempts=_CHANGE_TRIES,
                timeout=None,
                wait_initial=0.01,
                wait_max=0.2,
                wait_jitter=0.02,
            ):
                with attempt:
                    return self._change_once(how)
        except ConditionFailed as exc:
            where = f"{self._key('state.json')} in {self.objects.url}"
            raise StoreUnavailable(f"{where} changed {_CHANGE_TRIES} times at once", "try again") from exc
        raise AssertionError("stamina raises when tries run out")

    def _change_once(self, how: Callable[[JobState], JobState]) -> JobState:
        key = self._key("state.json")
        stored = self.objects.read(key)
        before = JobState() if stored is None else _parsed(JobState, stored, key)
        after = how(before)
        if after != before or stored is None:
            document = after.model_dump_json(indent=2).encode() + b"\n"
            self.objects.write(key, document, replaces=stored.etag if stored else None)
        return after

    def cancel(self) -> None:
        """Tell the job to end. Again: no effect."""
        self.objects.write(self._key("cancel"), b"cancel\n", replaces=None)

    def cancelled(self) -> bool:
        """Whether the job was told to end."""
        return self.objects.etag(self._key("cancel")) is not None

    def read(self, name: str) -> bytes | None:
        """Another document of the job, None if there is none."""
        stored = self.objects.read(self._key(name))
        return stored.data if stored else None

    def write_once(self, name: str, document: bytes) -> bytes:
        """Store another document unless it is there; what is there then."""
        try:
            self.objects.write(self._key(name), document, replaces=None)
        except ConditionFailed:
            return self.read(name) or document
        return document

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}"


def cancelled_before_start(now: datetime) -> Callable[[JobState], JobState]:
    """A change of state: a job that has not begun never will."""

    def change(state: JobState) -> JobState:
        if state.status != "queued":
            return state
        return state.model_copy(update={"status": "cancelled", "message": "cancelled before it began", "ended": now})

    return change


def given_up(status: Status, why: str, now: datetime) -> Callable[[JobState], JobState]:
    """A change of state: whatever carried the job out is gone. One that has ended stays as it is."""

    def change(state: JobState) -> JobState:
        if state.status in ENDED:
            return state
        return state.model_copy(update={"status": status, "message": why, "ended": now})

    return change


def _difference(requested: JobRequest, stored: JobRequest) -> str:
    fields = [name for name in JobRequest.model_fields if name != "created"]
    changed = [name for name in fields if getattr(requested, name) != getattr(stored, name)]
    return ", ".join(f"{name} was {str(getattr(stored, name))[:200]!r}" for name in changed)


def _parsed(kind: type[T], stored: Document, key: str) -> T:
    try:
        return kind.model_validate_json(stored.data)
    except ValidationError as exc:
        raise CorruptArtefact(f"{key} is no document of a batch job: {exc}", "submit the job again") from exc
