"""Batch jobs over the HTTP api."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit
from uuid import uuid4

from segdepth.backoff import Backoff
from segdepth.errors import (
    Conflict,
    InvalidFrame,
    NotAuthenticated,
    NotInstalled,
    NotPermitted,
    NotSupported,
    Overloaded,
    SegDepthError,
    ServerFault,
    TimedOut,
    Unavailable,
    UnknownJob,
    UnreadableFile,
)
from segdepth.security import check_token, is_loopback

TIMEOUT_S = 30.0
UPLOAD_TIMEOUT_S = 600.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 4.0
"""Before a submission is tried again [s]."""
TRIES = 4
"""Of a submission whose answer was lost: it carries a key, so that none becomes two."""

ENDED = ("done", "failed", "cancelled")

_BY_STATUS: dict[int, type[SegDepthError]] = {
    401: NotAuthenticated,
    403: NotPermitted,
    404: UnknownJob,
    409: Conflict,
    413: InvalidFrame,
    415: InvalidFrame,
    422: InvalidFrame,
    429: Overloaded,
    501: NotSupported,
    503: Unavailable,
    504: TimedOut,
}


@dataclass(frozen=True)
class BatchJob:
    """A job as the api describes it."""

    job: str
    status: str
    """queued, running, done, failed or cancelled."""
    message: str
    model: str
    output: str
    created: str
    frames_done: int
    frames_total: int
    chunks_done: int
    chunks_total: int
    frames_per_s: float
    eta_s: float | None
    input: tuple[str, ...]
    principal: str

    @property
    def ended(self) -> bool:
        """Whether it will not go on."""
        return self.status in ENDED

    @classmethod
    def of(cls, answer: dict[str, Any]) -> "BatchJob":
        """From the api's JSON."""
        merged = {**answer, **answer["progress"], "input": tuple(answer["input"])}
        return cls(**{name: merged[name] for name in cls.__dataclass_fields__})


class BatchClient:
    """Submits jobs to the api at `url`, and follows them. Use it in a `with` block.

    token: sent only over https or within this machine (InsecureToken otherwise); ca: certificates to trust (PEM).
    """

    def __init__(self, url: str, *, token: str | None = None, ca: Path | None = None):
        try:
            import httpx
        except ImportError as error:
            raise NotInstalled("batch jobs need: pip install 'segdepth[cli]'") from error
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.username:
            raise InvalidFrame(f"--api {url}: give https://host[:port], or http://127.0.0.1:8080", "api")
        server = f"{parts.hostname}:{parts.port or 0}"
        check_token(server, token, encrypted=parts.scheme == "https")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            verify = ssl.create_default_context(cafile=str(ca)) if ca else True
        except (OSError, ssl.SSLError) as error:
            raise UnreadableFile(f"{ca}: {error}") from error
        # A proxy from the environment is another machine: nothing for this one goes there.
        self._http = httpx.Client(
            base_url=url, headers=headers, verify=verify, timeout=TIMEOUT_S, trust_env=not is_loopback(server)
        )
        self._errors = (httpx.HTTPError,)
        self._url = url

    def submit(
        self,
        inputs: list[str],
        *,
        sampling_A: float | None = None,
        model: str = "",
        priority: str = "normal",
        output: str = "",
        maps: bool = True,
        key: str | None = None,
    ) -> BatchJob:
        """Submit a job. With the same `key` again it is the same job; without one each call makes another.

        Raises InvalidFrame, NotPermitted, NotAuthenticated, UnknownModel, Overloaded, Unavailable.
        """
        body = {
            "input": inputs,
            "sampling_A": sampling_A,
            "model": model,
            "priority": priority,
            "output": output,
            "maps": maps,
        }
        headers = {"Idempotency-Key": key or uuid4().hex}
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S, tries=TRIES)
        while True:
            try:
                return BatchJob.of(self._ask("POST", "/v1/batch/jobs", json=body, headers=headers))
            except Unavailable as error:
                sleep(backoff.pause_s(error))

    def upload(self, path: Path) -> str:
        """Send a movie; what a job names as its input then."""
        try:
            with path.open("rb") as file:
                answer = self._ask(
                    "POST",
                    "/v1/batch/uploads",
                    params={"name": path.name},
                    content=_pieces(file),
                    headers={"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)},
                    timeout=UPLOAD_TIMEOUT_S,
                )
        except OSError as error:
            if isinstance(error, SegDepthError):
                raise
            raise UnreadableFile(f"{path}: {error.strerror}") from error
        return str(answer["upload"])

    def job(self, job: str) -> BatchJob:
        """How far a job is. Raises UnknownJob."""
        return BatchJob.of(self._ask("GET", f"/v1/batch/jobs/{quote(job, safe='')}"))

    def jobs(self, *, everyone: bool = False) -> list[BatchJob]:
        """The latest jobs, newest first."""
        answer = self._ask("GET", "/v1/batch/jobs", params={"everyone": str(everyone).lower()})
        return [BatchJob.of(job) for job in answer["jobs"]]

    def cancel(self, job: str) -> BatchJob:
        """Tell a job to end. Raises UnknownJob."""
        return BatchJob.of(self._ask("DELETE", f"/v1/batch/jobs/{quote(job, safe='')}"))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        try:
            response = self._http.request(method, path, **request)
        except self._errors as error:
            raise Unavailable(f"{self._url}: {str(error) or type(error).__name__}") from error
        if response.is_success:
            return response.json()
        raise _error(response)


def _pieces(file: Any) -> Iterator[bytes]:
    while piece := file.read(1024 * 1024):
        yield piece


def _error(response: Any) -> SegDepthError:
    detail, field = response.text[:500], ""
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        problem = response.json()
        detail, field = problem.get("detail", detail), problem.get("field", "")
    kind = _BY_STATUS.get(response.status_code, ServerFault)
    said = f"{field}: {detail}" if field else detail
    if kind is InvalidFrame:
        return InvalidFrame(said, field=field)
    if issubclass(kind, Overloaded | Unavailable):
        wait = response.headers.get("retry-after", "")
        return kind(said, retry_after_s=float(wait) if wait.isdigit() else None)
    return kind(said)
