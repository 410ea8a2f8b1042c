"""Jobs as RayJobs of a Kubernetes cluster, made from the chart's template and from nothing else."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segdepth_api.kubernetes import ClusterRefused, RayJobs, filled
from segdepth_api.problems import Problem
from segdepth_artefacts.jobs import Priority

RETRY_S = 5.0

FAILED = ("Failed", "ValidationFailed")
OVER = (*FAILED, "Complete")
"""Deployment states of a RayJob that will not run again."""


class ClusterRunner:
    """Fills `{{id}}` and `{{priority}}` into the template: the job's id, and a priority class of the settings."""

    def __init__(self, template: Path, classes: Mapping[Priority, str], rayjobs: RayJobs):
        self._template, self._classes, self._rayjobs = template, classes, rayjobs

    async def open(self) -> None:
        """Nothing: the cluster sees to jobs by itself."""

    async def start(self, job: str, principal: str, priority: Priority) -> None:  # noqa: ARG002 - a runner's signature
        """Make the RayJob; one of that name is this very job. One that failed makes room for another attempt."""
        with _as_problems():
            if await self._rayjobs.create(await asyncio.to_thread(self._filled, job, priority)):
                return
            if _deployment(await self._rayjobs.get(job)) in OVER:
                await self._rayjobs.delete(job)
                detail = f"an earlier attempt of {job} is being cleared away; try again"
                raise Problem(503, "busy", detail, retry_after_s=RETRY_S)

    def _filled(self, job: str, priority: Priority) -> dict[str, Any]:
        return filled(self._template.read_text(), {"id": job, "priority": self._classes[priority]})

    async def problem(self, job: str) -> str:
        """What the cluster says of a RayJob that has ended."""
        with _as_problems():
            found = await self._rayjobs.get(job)
        if found is None:
            return "its RayJob is gone; submit it again with the same key to go on"
        if _deployment(found) not in FAILED:
            return ""
        status = found["status"]
        return f"its RayJob failed: {status.get('reason', '')} {status.get('message', '')}".strip()

    async def remove(self, job: str) -> None:
        """Delete the RayJob."""
        with _as_problems():
            await self._rayjobs.delete(job)

    async def close(self) -> None:
        """Nothing: the jobs go on."""


def _deployment(rayjob: dict[str, Any] | None) -> str:
    """What KubeRay says of the RayJob; empty if nothing yet."""
    return str(((rayjob or {}).get("status") or {}).get("jobDeploymentStatus", ""))


@contextmanager
def _as_problems() -> Iterator[None]:
    try:
        yield
    except ClusterRefused as error:
        retry_after_s = RETRY_S if error.retry else None
        raise Problem(503, "cluster-refused", str(error), retry_after_s=retry_after_s) from error
    except (ValueError, OSError) as error:
        raise Problem(500, "bad-template", f"the template of jobs cannot be used: {error}") from error
