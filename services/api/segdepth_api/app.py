"""The application: settings in, ASGI out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from segdepth_api import problems
from segdepth_api.batch.open_jobs import open_jobs
from segdepth_api.batch.receiving import Receiving
from segdepth_api.callers import Callers
from segdepth_api.gateway import Gateway
from segdepth_api.limits import Admission, BodyLimit
from segdepth_api.metrics import Metrics
from segdepth_api.observe import Observe
from segdepth_api.routers import batch, estimate, health, models
from segdepth_api.services import Services
from segdepth_api.settings import ApiSettings

DESCRIPTION = """
Atom counts per column from noisy high-resolution TEM frames.

Everything needs the frame's pixel size: `sampling_A` [Å/px], or a file whose header states it. A bearer token is passed
on to the gateway, which decides what it permits. Errors are problem details (RFC 9457).
"""


def create_app(settings: ApiSettings) -> FastAPI:
    """An application of its own metrics and connections. It asks nothing of the gateway before the first request."""
    metrics = Metrics()
    gateway = Gateway(settings)
    services = Services(
        settings=settings,
        metrics=metrics,
        admission=Admission(settings.max_running, settings.max_waiting, settings.request_timeout_s, metrics),
        callers=Callers(gateway.connect, settings.max_callers),
        gateway=gateway,
        receiving=Receiving(settings.batch_arriving, settings.batch_upload_bytes, settings.batch_upload_timeout_s),
        batch=open_jobs(settings),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if services.batch is not None:
            await services.batch.runner.open()
        yield
        if services.batch is not None:
            await services.batch.runner.close()
        await services.callers.close()
        await gateway.close()

    app = FastAPI(
        title="SegDepth", description=DESCRIPTION, version=version("segdepth-api"), lifespan=lifespan, redoc_url=None
    )
    app.state.services = services
    problems.install(app)
    for router in (estimate.router, models.router, batch.router, health.router):
        app.include_router(router)
    problems.describe(app)
    app.add_middleware(
        BodyLimit, limit=settings.max_body_bytes, larger={f"{batch.router.prefix}/uploads": settings.batch_upload_bytes}
    )
    app.add_middleware(Observe, metrics=metrics)
    return app
