"""A job from its request to its manifest."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from segdepth.errors import UnreadableFile
from segdepth_artefacts.errors import (
    ArtefactError,
    CorruptArtefact,
    InvalidName,
    StoreRefused,
    StoreUnavailable,
    UnknownVersion,
    UnsafeEndpoint,
)
from segdepth_artefacts.jobs import JobFolder, JobRequest, JobState
from segdepth_batch.addresses import Addresses
from segdepth_batch.errors import JobRefused, Superseded
from segdepth_batch.manifest import write_manifest
from segdepth_batch.output import Done, Output, Owner
from segdepth_batch.plan import Plan
from segdepth_batch.planning import plan_of
from segdepth_batch.settings import BatchSettings
from segdepth_batch.sources import Sources

log = structlog.get_logger(__name__)

REFUSALS = (JobRefused, UnreadableFile, UnknownVersion, InvalidName, StoreRefused, UnsafeEndpoint, CorruptArtefact)
"""What the same request would meet again."""

Show = Callable[[JobState], None]


def run_job(addresses: Addresses, settings: BatchSettings, show: Show = lambda _: None) -> JobState:
    """Do what is left of the job; its state at the end. `show` is told of every progress.

    Within `cluster.ray_for`. A job that is over is not begun again. Raises UnknownJob, StoreUnavailable; whatever else
    goes wrong is in the state.
    """
    folder = addresses.folder()
    request = folder.request()
    state = folder.change(_begun)
    if state.over:
        return state
    attempt = Attempt(folder, state, settings.progress_s, show)
    try:
        return _run(attempt, request, addresses, settings)
    except Superseded as error:
        log.warning("job.superseded", job=request.job, detail=str(error))
        return folder.state()
    except REFUSALS as error:
        return attempt.end("failed", str(error), permanent=True)
    except (ArtefactError, OSError) as error:
        return attempt.end("failed", str(error))
    except _ray_errors() as error:
        cause = _cause(error)
        return attempt.end("failed", str(cause), permanent=isinstance(cause, (*REFUSALS, ValueError)))


def _run(attempt: "Attempt", request: JobRequest, addresses: Addresses, settings: BatchSettings) -> JobState:
    # Ray reads its environment when it is imported.
    from segdepth_batch import pipeline

    if attempt.folder.cancelled():
        return attempt.end("cancelled", "cancelled before it began")
    output = addresses.results()
    output.claim(Owner(job=request.job, principal=request.principal))
    try:
        plan = plan_of(
            attempt.folder,
            request,
            settings,
            Sources(settings, request.principal, local=addresses.local),
            addresses.output,
            lambda family, version: pipeline.choose_engine(settings, family, version, attempt.folder.cancelled),
        )
        if plan.maps:
            for movie in plan.inputs:
                output.describe(movie)
        finished = output.all_done()
        pending = [chunk for chunk in plan.chunks() if chunk.name not in finished]
        if pending:
            pipeline.await_place(settings, attempt.folder.cancelled)
        attempt.planned(plan, pending_frames=sum(chunk.frames for chunk in pending), pending_chunks=len(pending))
    except pipeline.CancelledWaiting:
        return attempt.end("cancelled", "cancelled while it waited for a place on a worker; what was done stays")
    if pending:
        for done in pipeline.answered(pending, addresses, request, plan.model, settings):
            if done is not None:
                attempt.advanced(done)
    if attempt.state.chunks_done < attempt.state.chunks_total:
        return attempt.end("cancelled", "cancelled; the chunks that were done stay")
    return _finish(attempt, request, plan, output)


def _finish(attempt: "Attempt", request: JobRequest, plan: Plan, output: Output) -> JobState:
    ended = datetime.now(UTC)
    totals = write_manifest(attempt.folder, output, request, plan, attempt.state.started or ended, ended)
    words = ", ".join(f"{number} {name}" for name, number in totals.items() if number)
    return attempt.end("done", words)


class Attempt:
    """The state that this driver writes. Superseded as soon as another driver has begun."""

    def __init__(self, folder: JobFolder, state: JobState, progress_s: float, show: Show):
        self.folder, self.state = folder, state
        self._number, self._progress_s, self._show = state.attempt, progress_s, show
        self._began = self._written = time.monotonic()
        self._frames = 0

    def planned(self, plan: Plan, *, pending_frames: int, pending_chunks: int) -> None:
        """What there is to do is known."""
        chunks = sum(1 for _ in plan.chunks())
        self._began = time.monotonic()
        self._write(
            **plan.model.model_dump(),
            chunks_total=chunks,
            chunks_done=chunks - pending_chunks,
            frames_total=plan.frames,
            frames_done=plan.frames - pending_frames,
        )

    def advanced(self, done: Done) -> None:
        """Another chunk is done."""
        self._frames += done.frames
        state = self.state
        rate = self._frames / max(1e-3, time.monotonic() - self._began)
        frames = state.frames_done + done.frames
        changes = {
            "chunks_done": state.chunks_done + 1,
            "frames_done": frames,
            "frames_per_s": round(rate, 2),
            "eta_s": round((state.frames_total - frames) / rate, 1),
        }
        self.state = state.model_copy(update=changes)
        self._show(self.state)
        if time.monotonic() - self._written >= self._progress_s:
            try:
                self._write()
            except StoreUnavailable as error:  # The chunks themselves are what counts.
                log.warning("job.progress_not_written", detail=str(error))

    def end(self, status: str, message: str, *, permanent: bool = False) -> JobState:
        """The last word of this attempt."""
        try:
            self._write(status=status, message=message[:2000], permanent=permanent, eta_s=None, ended=datetime.now(UTC))
        except Superseded:
            return self.folder.state()
        return self.state

    def _write(self, **changes: object) -> None:
        self.state = self.state.model_copy(update={**changes, "updated": datetime.now(UTC)})

        def ours(stored: JobState) -> JobState:
            if stored.attempt != self._number:
                raise Superseded(f"attempt {stored.attempt} has begun, this is {self._number}")
            return self.state

        self.folder.change(ours)
        self._written = time.monotonic()
        self._show(self.state)


def _begun(state: JobState) -> JobState:
    if state.over:
        return state
    now = datetime.now(UTC)
    changes = {
        "status": "running",
        "attempt": state.attempt + 1,
        "message": "",
        "started": state.started or now,
        "updated": now,
        "ended": None,
    }
    return state.model_copy(update=changes)


def _ray_errors() -> tuple[type[Exception], ...]:
    from ray.exceptions import RayError, UserCodeException

    return (RayError, UserCodeException)


def _cause(error: BaseException) -> BaseException:
    """What a stage of the job raised, below what Ray wraps around it."""
    inner = getattr(error, "cause", None) or error.__cause__
    return _cause(inner) if isinstance(inner, BaseException) else error
