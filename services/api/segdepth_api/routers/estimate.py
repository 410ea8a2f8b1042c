"""A file or a raw frame in, atom counts out."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from segdepth import AsyncClient
from segdepth.files import SINGLE
from segdepth.results import Answer, FrameResult
from segdepth_api.accept import preferred
from segdepth_api.answers import EXAMPLE, Estimate
from segdepth_api.callers import bearer
from segdepth_api.disconnect import unless_disconnected
from segdepth_api.faults import as_problems
from segdepth_api.formats import CSV, OFFERED, PNG, rendered
from segdepth_api.problems import Problem, responses
from segdepth_api.query import EstimateQuery
from segdepth_api.services import Services, Shared
from segdepth_api.uploads import FORM, RAW, Upload, received

router = APIRouter(prefix="/v1", tags=["estimate"])

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": f"{', '.join(SINGLE)}, by the end of its name",
                        }
                    },
                }
            },
            RAW: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "height x width pixels of `dtype`, row by row, little endian",
                }
            },
        },
    }
}
"""The body is read by hand, so that its size is known before it is taken in."""

CSV_EXAMPLE = (
    "frame,x_px,y_px,x_A,y_A,species,count,p_count,lo90,hi90,abstained,status\n"
    "0,31.207,18.943,3.121,1.894,Ce,6,0.8713,5,6,0,ok\n"
)

ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answers to all frames. A frame outside the model's domain is answered: it is `refused`.",
        "model": Estimate,
        "content": {
            "application/json": {"example": EXAMPLE},
            CSV: {"schema": {"type": "string"}, "example": CSV_EXAMPLE},
            PNG: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.post(
    "/estimate",
    summary="Count the atoms in every column of a frame or a movie",
    responses=ANSWER | responses(401, 403, 404, 406, 408, 413, 415, 422, 429, 503, 504),
    response_class=Response,
    openapi_extra=BODY,
)
async def estimate(request: Request, query: Annotated[EstimateQuery, Query()], services: Shared) -> Response:
    """Upload a file (`curl -F file=@movie.dm4`), or one raw frame with its height, width, dtype and sampling_A.

    Of a file with several movies `dataset` names one.

    The answer is JSON, a table (`Accept: text/csv`), or a picture of one frame (`Accept: image/png`).
    """
    media_type, token = preferred(request, OFFERED), bearer(request)
    async with services.admission.slot(), received(request, query, services.settings) as upload:
        if media_type == PNG and upload.length > 1:
            detail = f"a picture shows one frame, the movie has {upload.length}: say which, from 0"
            raise Problem(422, "invalid-parameter", detail, field="frame")
        with as_problems():
            async with services.callers.client(token) as client:
                answers = await unless_disconnected(
                    request, _answers(client, upload, query, services, maps=media_type == PNG)
                )
        _count(services, answers)
        return await asyncio.to_thread(rendered, media_type, answers, upload)


async def _answers(
    client: AsyncClient, upload: Upload, query: EstimateQuery, services: Services, *, maps: bool
) -> list[Answer]:
    """All answers, numbered as in the caller's movie. SegDepthError, or Problem 504 if they take too long."""
    options, limit_s = query.options(maps=maps), services.settings.request_timeout_s
    if upload.length == 1:
        image = await asyncio.to_thread(upload.frame, 0)
        result = await client.estimate(image, upload.calibration, options, timeout_s=limit_s)
        result.message.sequence = upload.first
        return [result]
    try:
        async with asyncio.timeout(limit_s), client.stream(upload.frames(), upload.calibration, options) as stream:
            return [answer async for answer in stream]
    except TimeoutError:
        raise Problem(504, "timed-out", f"not all frames were answered within {limit_s:g} s") from None


def _count(services: Services, answers: list[Answer]) -> None:
    for answer in answers:
        if isinstance(answer, FrameResult):
            services.metrics.frames.labels(answer.domain.status.value).inc()
        else:
            services.metrics.frames.labels(answer.reason.value.replace(" ", "_")).inc(len(answer))
