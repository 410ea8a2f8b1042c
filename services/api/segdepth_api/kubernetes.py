"""RayJobs from the chart's templates, made through the API server of the cluster that this runs in.

    python -m segdepth_api.kubernetes /template/rayjob.yaml id=segdepth-training-29483020 owner=0123-4567

Of a template only `{{name}}` are replaced, by what can be nothing but names: image, command and environment are the
chart's. A job that is there already is no fault, so making one may be repeated.
"""

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import structlog
import yaml

log = structlog.get_logger(__name__)

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the pod's own account has its token, renewed now and then, and the API server's authority."""

TIMEOUT_S = 10.0
LONGEST_NAME = 43
"""Characters of a RayJob's name that leave room for what KubeRay derives from it."""

NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


class ClusterRefused(Exception):
    """The API server answers no, or not at all. `retry` says whether the same request may succeed later."""

    def __init__(self, message: str, *, retry: bool):
        super().__init__(message)
        self.retry = retry


def filled(template: str, names: Mapping[str, str]) -> dict[str, Any]:
    """The template's object. ValueError for a name that is none, or a placeholder that no name is given for."""
    for placeholder, name in names.items():
        if len(name) > LONGEST_NAME or not NAME.fullmatch(name):
            raise ValueError(
                f"{placeholder}: {name[:100]!r} is not a name of 1-{LONGEST_NAME} characters of a-z, 0-9 and -"
            )
    if missing := set(PLACEHOLDER.findall(template)) - set(names):
        raise ValueError(f"the template has placeholders that nothing fills: {', '.join(sorted(missing))}")
    filled: dict[str, Any] = yaml.safe_load(PLACEHOLDER.sub(lambda found: names[found.group(1)], template))
    return filled


class RayJobs:
    """The RayJobs of this pod's namespace."""

    def __init__(self, account: Path = ACCOUNT, server: str | None = None):
        self._account = account
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        bracketed = f"[{host}]" if ":" in host else host
        self._server = server or f"https://{bracketed}:{port}"
        self._path = "/apis/ray.io/v1/namespaces/{}/rayjobs"

    async def create(self, job: dict[str, Any]) -> bool:
        """Make a job; False if one of that name is there already. ClusterRefused."""
        response = await self._send("POST", "", json=job)
        if response.status_code == 409:
            return False
        self._check(response)
        return True

    async def get(self, name: str) -> dict[str, Any] | None:
        """A job, None if there is none of that name. ClusterRefused."""
        response = await self._send("GET", f"/{name}")
        if response.status_code == 404:
            return None
        self._check(response)
        found: dict[str, Any] = response.json()
        return found

    async def delete(self, name: str) -> None:
        """Remove a job and its cluster; one that is not there is no fault. ClusterRefused."""
        response = await self._send("DELETE", f"/{name}")
        if response.status_code != 404:
            self._check(response)

    async def _send(self, method: str, rest: str, json: dict[str, Any] | None = None) -> httpx.Response:
        try:
            namespace = (self._account / "namespace").read_text().strip()
            headers = {"Authorization": f"Bearer {(self._account / 'token').read_text().strip()}"}
        except OSError as error:
            message = f"this pod has no account of the cluster ({error.filename}: {error.strerror})"
            raise ClusterRefused(message, retry=False) from error
        authority = self._account / "ca.crt"
        verify: Any = str(authority) if self._server.startswith("https") else True
        try:
            async with httpx.AsyncClient(verify=verify, timeout=TIMEOUT_S, trust_env=False) as client:
                url = self._server + self._path.format(namespace) + rest
                return await client.request(method, url, headers=headers, json=json)
        except httpx.HTTPError as error:
            message = f"{self._server} does not answer ({type(error).__name__}: {error})"
            raise ClusterRefused(message, retry=True) from error

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        said = response.text[:500]
        if response.headers.get("content-type", "").startswith("application/json"):
            said = response.json().get("message", said)
        retry = response.status_code == 429 or response.status_code >= 500
        raise ClusterRefused(f"the API server answers {response.status_code}: {said}", retry=retry)


def main(template: Path, names: Mapping[str, str]) -> None:
    """Make the job of a template, filled with these names."""
    made = asyncio.run(RayJobs().create(filled(template.read_text(), names)))
    log.info("job made" if made else "job is there already", **names)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), dict(pair.split("=", 1) for pair in sys.argv[2:]))
    except (ClusterRefused, ValueError, OSError) as error:
        sys.exit(f"no job was made: {error}")
