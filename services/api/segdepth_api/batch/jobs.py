"""The jobs in the store: submitted once however often it is tried, seen by their owners, cancelled."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

from segdepth import Account
from segdepth_api.batch.allowed import S3, Allowed
from segdepth_api.batch.answers import Job, Uploaded
from segdepth_api.batch.job_body import JobBody
from segdepth_api.batch.runners import Runner
from segdepth_api.problems import Problem
from segdepth_artefacts import errors, names
from segdepth_artefacts.jobs import (
    ENDED,
    UPLOAD,
    JobExists,
    JobRequest,
    JobState,
    UnknownJob,
    cancelled_before_start,
    given_up,
    job_folder,
)
from segdepth_artefacts.objects import ObjectStore

LISTED = 100
"""Jobs of a principal that are listed, and looked at for how many are unfinished."""

RETRY_S = 30.0

P = ParamSpec("P")
T = TypeVar("T")


class BatchJobs:
    """Jobs below jobs/, by owner below owners/, files below uploads/. What blocks runs in threads."""

    def __init__(self, objects: ObjectStore, store: str, allowed: Allowed, runner: Runner, most_unfinished: int):
        self._objects, self._store = objects, store.rstrip("/")
        self._allowed, self.runner, self._most = allowed, runner, most_unfinished

    async def submit(self, body: JobBody, account: Account, key: str | None) -> tuple[Job, bool]:
        """The job, and whether it is new. The same key of the same principal is the same job.

        Problem 403 or 422 for addresses, 409 for a key that stands for another job, 429 if too many are unfinished.
        """
        principal = owner(account)
        if body.output:
            _check_output(self._allowed.check(body.output, principal, "output"))
        await self._in_store(self._check_inputs, body.input, principal)
        request = _request(body, principal, key)
        await self._in_store(self._check_room, request)
        stored, new = await self._in_store(self._create, request)
        state = await self._in_store(self._state, stored.job)
        if not state.over:
            await self.runner.start(stored.job, principal, stored.priority)
        return self._job(stored, state), new

    async def one(self, job: str, account: Account) -> Job:
        """A job. Problem 404 if there is none, or it is another's."""
        request = await self._request_of(job, account)
        state = await self._in_store(self._state, job)
        if state.status not in ENDED and (why := await self.runner.problem(job)):
            # Nobody else will say so. The job may just have ended, and then its own word counts.
            state = await self._in_store(job_folder(self._objects, job).change, given_up("failed", why, _now()))
        return self._job(request, state)

    async def latest(self, account: Account, *, everyone: bool) -> list[Job]:
        """The latest jobs of the caller, or of everyone; newest first."""
        if everyone and not account.may("admin"):
            raise Problem(403, "not-permitted", "the jobs of others need the scope admin", field="everyone")
        principals = None if everyone else [owner(account)]
        return await self._in_store(self._latest, principals)

    async def cancel(self, job: str, account: Account) -> Job:
        """Tell a job to end. One that has ended stays as it is."""
        request = await self._request_of(job, account)
        await self._in_store(job_folder(self._objects, job).cancel)
        state = await self._in_store(job_folder(self._objects, job).change, cancelled_before_start(_now()))
        if state.status not in ENDED and (why := await self.runner.problem(job)):
            state = await self._in_store(job_folder(self._objects, job).change, given_up("cancelled", why, _now()))
        if state.status == "cancelled":
            await self.runner.remove(job)
        return self._job(request, state)

    async def upload(self, path: Path, name: str, account: Account, most: int) -> Uploaded:
        """Keep a file for the principal's jobs. The same file again is the same upload."""
        folder = f"uploads/{owner(account)}"

        def store() -> Uploaded:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
            there = self._objects.children(folder)
            if digest not in there and len(there) >= most:
                raise Problem(
                    429, "too-many-uploads", f"{most} files are kept for you; ask the operator to remove some"
                )
            self._objects.write(f"{folder}/{digest}/{name}", path, replaces=None)
            return Uploaded(upload=f"{UPLOAD}{digest}/{name}", size_bytes=path.stat().st_size)

        return await self._in_store(store)

    async def unfinished(self) -> list[str]:
        """Ids of the jobs that have not ended, oldest first."""
        jobs = await self._in_store(self._latest, None)
        return [job.job for job in reversed(jobs) if job.status not in ENDED]

    def _check_inputs(self, inputs: list[str], principal: str) -> None:
        for text in inputs:
            if text.startswith(UPLOAD):
                self._check_upload(text, principal)
            else:
                self._allowed.check(text, principal, "input")

    def _check_upload(self, text: str, principal: str) -> None:
        parts = text.removeprefix(UPLOAD).split("/")
        if len(parts) != 2 or not all(map(names.is_name, parts)):
            raise Problem(
                422, "invalid-address", f"{text[:200]!r} is no upload; name what POST answered", field="input"
            )
        if parts[1] not in self._objects.children(f"uploads/{principal}/{parts[0]}"):
            raise Problem(422, "unknown-upload", f"{text}: there is no such upload of yours", field="input")

    def _check_room(self, request: JobRequest) -> None:
        if self._objects.etag(f"jobs/{request.job}/request.json") is not None:
            return
        unfinished = [job for job in self._latest([request.principal]) if job.status not in ENDED]
        if len(unfinished) >= self._most:
            detail = f"{len(unfinished)} of your jobs are unfinished, as many as may be; wait for one, or cancel one"
            raise Problem(429, "too-many-jobs", detail, retry_after_s=RETRY_S)

    def _create(self, request: JobRequest) -> tuple[JobRequest, bool]:
        stored, new = job_folder(self._objects, request.job).create(request)
        entry = f"owners/{stored.principal}/{stored.created:%Y%m%dT%H%M%S}-{stored.job}"
        self._objects.write(entry, b"\n", replaces=None)
        return stored, new

    async def _request_of(self, job: str, account: Account) -> JobRequest:
        def request() -> JobRequest:
            found = job_folder(self._objects, job).request()
            if found.principal != account.principal and not account.may("admin"):
                raise UnknownJob(f"{job!r} is no job", "ask for the id that the submission answered")
            return found

        return await self._in_store(request)

    def _state(self, job: str) -> JobState:
        return job_folder(self._objects, job).state()

    def _latest(self, principals: list[str] | None) -> list[Job]:
        entries: list[str] = []
        for principal in self._objects.children("owners") if principals is None else principals:
            entries += self._objects.children(f"owners/{principal}")[-LISTED:]
        ids = [entry.partition("-")[2] for entry in sorted(entries, reverse=True)[:LISTED]]
        jobs = []
        for folder in (job_folder(self._objects, job) for job in ids):
            with suppress(UnknownJob):  # An operator has removed its folder.
                jobs.append(self._job(folder.request(), folder.state()))
        return jobs

    def _job(self, request: JobRequest, state: JobState) -> Job:
        return Job.of(request, state, request.output or f"{self._store}/jobs/{request.job}/output")

    async def _in_store(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with store_problems():
            return await asyncio.to_thread(call, *args, **kwargs)


def _now() -> datetime:
    return datetime.now(UTC)


def owner(account: Account) -> str:
    """The caller's name as part of addresses. Problem 403 without the scope, or for a name that can be no part."""
    if not account.may("batch"):
        raise Problem(403, "not-permitted", f"token of {account.principal}: scope batch is missing")
    if not names.is_name(account.principal):
        detail = f"{account.principal!r} cannot own jobs: its name is no plain word; ask the operator for another token"
        raise Problem(403, "not-permitted", detail)
    return account.principal


@contextmanager
def store_problems() -> Iterator[None]:
    """Turn errors of the store into problems."""
    try:
        yield
    except UnknownJob as error:
        raise Problem(404, "unknown-job", str(error)) from error
    except JobExists as error:
        raise Problem(409, "other-job", str(error), field="Idempotency-Key") from error
    except errors.StoreUnavailable as error:
        raise Problem(503, "store-unavailable", str(error), retry_after_s=5.0) from error
    except errors.ArtefactError as error:
        raise Problem(500, "store-fault", str(error)) from error


def _request(body: JobBody, principal: str, key: str | None) -> JobRequest:
    seed = f"{principal}\n{key}" if key else secrets.token_hex(16)
    family, _, version = body.model.partition("/")
    return JobRequest(
        # A RayJob of the same name: its services' names must begin with a letter.
        job=f"batch-{hashlib.sha256(seed.encode()).hexdigest()[:20]}",
        principal=principal,
        created=datetime.now(UTC),
        input=tuple(body.input),
        sampling_A=body.sampling_A,
        family=family,
        version=version,
        priority=body.priority,
        output=body.output.rstrip("/"),
        maps=body.maps,
    )


def _check_output(output: str) -> None:
    """Problem 422 unless objects can be written below it."""
    for part in output.removeprefix(S3).strip("/").split("/"):
        if not names.is_name(part):
            detail = f"{part[:100]!r} in {output[:200]}: use letters, digits, dots, hyphens and underscores"
            raise Problem(422, "invalid-address", detail, field="output")
