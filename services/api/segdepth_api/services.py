"""What the routes share, made once for each application."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from segdepth_api.batch.jobs import BatchJobs
from segdepth_api.batch.receiving import Receiving
from segdepth_api.callers import Callers
from segdepth_api.gateway import Gateway
from segdepth_api.limits import Admission
from segdepth_api.metrics import Metrics
from segdepth_api.settings import ApiSettings


@dataclass(frozen=True)
class Services:
    """Settings, metrics, the places at work, the ways to the gateway, and the batch jobs if there are any."""

    settings: ApiSettings
    metrics: Metrics
    admission: Admission
    callers: Callers
    gateway: Gateway
    receiving: Receiving
    batch: BatchJobs | None


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Shared = Annotated[Services, Depends(_services)]
"""Parameter of a route that needs them."""
