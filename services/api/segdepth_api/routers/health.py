"""Whether the api lives, whether it can answer, and its metrics: for machines, without a token."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from segdepth_api.problems import Problem, responses
from segdepth_api.services import Shared

router = APIRouter(tags=["health"])

RETRY_S = 5
"""When to ask again."""


class Health(BaseModel):
    """All is well; otherwise the answer is a problem."""

    status: str = "ok"


@router.get("/healthz", summary="Does this process answer?")
async def healthz() -> Health:
    """It does. It says nothing of the gateway: restarting the api would not mend that."""
    return Health()


@router.get("/readyz", responses=responses(503), summary="Would a frame be answered?")
async def readyz(services: Shared) -> Health:
    """The gateway can be reached and says that a model answers."""
    why = await services.gateway.problem()
    if why:
        raise Problem(503, "unavailable", why, retry_after_s=RETRY_S)
    return Health()


@router.get("/metrics", response_class=Response, summary="Metrics for Prometheus")
async def metrics(services: Shared) -> Response:
    """In Prometheus' text format."""
    return Response(services.metrics.text(), media_type=CONTENT_TYPE_LATEST)
