"""Batch jobs: whole movies, in the background, to tables and maps in object storage."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from segdepth import Account
from segdepth_api.batch.answers import Job, Jobs, Uploaded
from segdepth_api.batch.job_body import JobBody
from segdepth_api.batch.jobs import BatchJobs
from segdepth_api.batch.receiving import check_name
from segdepth_api.callers import bearer
from segdepth_api.faults import as_problems
from segdepth_api.problems import Problem, responses
from segdepth_api.services import Services, Shared

router = APIRouter(prefix="/v1/batch", tags=["batch"])

Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200, description="Repeat it with the request")]

AGAIN: dict[int | str, dict[str, object]] = {200: {"model": Job}}

STATUSES = (401, 403, 404, 409, 413, 415, 422, 429, 501, 503, 504)


@router.post("/jobs", status_code=201, summary="Submit a job", responses=AGAIN | responses(*STATUSES))
async def submit(
    body: JobBody, request: Request, response: Response, services: Shared, idempotency_key: Key = None
) -> Job:
    """Input, model, priority and output; the rest is the operator's. 200 instead of 201 for a repeated request."""
    jobs = _jobs(services)
    account = await _account(request, services)
    if body.model:
        await _check_model(body.model, request, services)
    job, new = await jobs.submit(body, account, idempotency_key)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"{router.prefix}/jobs/{job.job}"
    return job


@router.get("/jobs", summary="List the latest jobs", responses=responses(*STATUSES))
async def latest(
    request: Request,
    services: Shared,
    everyone: Annotated[bool, Query(description="The jobs of all principals; scope admin")] = False,
) -> Jobs:
    """The caller's own, newest first."""
    jobs = _jobs(services)
    return Jobs(jobs=await jobs.latest(await _account(request, services), everyone=everyone))


@router.get("/jobs/{job}", summary="How far a job is", responses=responses(*STATUSES))
async def one(job: str, request: Request, services: Shared) -> Job:
    """Only its owner is told, and an admin."""
    jobs = _jobs(services)
    return await jobs.one(job, await _account(request, services))


@router.delete("/jobs/{job}", status_code=202, summary="Cancel a job", responses=responses(*STATUSES))
async def cancel(job: str, request: Request, services: Shared) -> Job:
    """It ends after the chunks under way; what was done stays."""
    jobs = _jobs(services)
    return await jobs.cancel(job, await _account(request, services))


@router.post(
    "/uploads",
    status_code=201,
    summary="Upload a movie for a job",
    responses=responses(*STATUSES),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload(
    name: Annotated[str, Query(description="The file's name; its end says the format")],
    request: Request,
    services: Shared,
) -> Uploaded:
    """The file itself as the body. The answer's `upload` is an input for a job of the same principal."""
    jobs = _jobs(services)
    account = await _account(request, services)
    check_name(name)
    async with services.receiving.file(request) as path:
        return await jobs.upload(path, name, account, services.settings.batch_max_uploads)


def _jobs(services: Services) -> BatchJobs:
    if services.batch is None:
        detail = (
            "this api has no store for jobs: start it with one (segdepth serve --batch FOLDER, or"
            " SEGDEPTH_API_BATCH_STORE), or count without it: segdepth batch run"
        )
        raise Problem(501, "not-supported", detail)
    return services.batch


async def _account(request: Request, services: Services) -> Account:
    """Who asks, by the gateway's word. Problem 401, or 403 without the scope `batch`."""
    with as_problems():
        async with services.callers.client(bearer(request)) as client:
            account = await client.whoami(timeout_s=services.settings.lookup_timeout_s)
    if not account.may("batch"):
        raise Problem(403, "not-permitted", f"token of {account.principal}: scope batch is missing")
    return account


async def _check_model(model: str, request: Request, services: Services) -> None:
    """Problem 404 for a model that the service does not have."""
    family, _, version = model.partition("/")
    with as_problems():
        async with services.callers.client(bearer(request)) as client:
            there = await client.models(timeout_s=services.settings.lookup_timeout_s)
    if not any(info.version.family == family and version in ("", info.version.version) for info in there):
        known = ", ".join(f"{info.version.family}/{info.version.version}" for info in there[:10])
        raise Problem(404, "unknown-model", f"{model}: there is {known or 'none'}", field="model")
