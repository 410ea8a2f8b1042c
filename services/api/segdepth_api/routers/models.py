"""Which models there are."""

from fastapi import APIRouter, Request

from segdepth_api.answers import ModelAnswer, Models
from segdepth_api.callers import bearer
from segdepth_api.faults import as_problems
from segdepth_api.problems import responses
from segdepth_api.services import Shared

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", responses=responses(401, 403, 404, 503, 504), summary="List the models")
async def models(request: Request, services: Shared, family: str = "") -> Models:
    """Every version that the service has, the channels that point at it, and whether it answers now."""
    with as_problems():
        async with services.callers.client(bearer(request)) as client:
            found = await client.models(family, timeout_s=services.settings.lookup_timeout_s)
    return Models(models=[ModelAnswer.of(info) for info in found])
