"""Objects in a bucket of any S3 endpoint that honours conditional writes."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TypeVar
from uuid import uuid4
from xml.etree.ElementTree import ParseError

import certifi
import stamina
import structlog
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError
from minio.helpers import check_bucket_name

from segdepth_artefacts.conditional import ConditionalPut, probe, refused, unavailable
from segdepth_artefacts.errors import (
    ArtefactError,
    ConditionFailed,
    CorruptArtefact,
    InvalidName,
    StoreUnavailable,
    UnsafeEndpoint,
)
from segdepth_artefacts.objects import DOCUMENT_BYTES, Document, Entry
from segdepth_artefacts.settings import StoreSettings

log = structlog.get_logger(__name__)

T = TypeVar("T")

_ABSENT = ("NoSuchKey", "NoSuchObject")


class S3Store:
    """Objects in s3://bucket/prefix (see ObjectStore).

    Every call has a time-out and is tried again a few times: all are idempotent, the conditional writes because an
    earlier try that did arrive is recognised by its content.
    """

    def __init__(self, bucket: str, prefix: str, settings: StoreSettings):
        try:
            check_bucket_name(bucket)
        except ValueError as exc:
            raise InvalidName(str(exc), "use the name of an S3 bucket") from exc
        self.url = "/".join(part for part in (f"s3://{bucket}", prefix) if part)
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._settings = settings
        http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=settings.timeout_s, read=settings.timeout_s),
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        self._client = Minio(
            settings.endpoint,
            access_key=settings.access_key,
            secret_key=settings.secret_key.get_secret_value() if settings.secret_key else None,
            secure=settings.secure,
            region=settings.region,
            http_client=http,
        )
        self._named = f"{self.url} at {settings.endpoint}"
        self._put = ConditionalPut(self._client, http, bucket, self._named)
        self._unsafe: UnsafeEndpoint | None = None
        self._checked = False
        self._checking = Lock()

    def read(self, key: str) -> Document | None:
        """See ObjectStore."""

        def once() -> Document | None:
            with self._object(key) as response:
                if response is None:
                    return None
                return Document(response.read(DOCUMENT_BYTES + 1), response.headers.get("ETag", ""))

        document = self._tried(once)
        if document is not None and len(document.data) > DOCUMENT_BYTES:
            raise CorruptArtefact(f"{key} in {self.url} is larger than any document", "restore it from a backup")
        return document

    def download(self, key: str, path: Path) -> bool:
        """See ObjectStore."""

        def once() -> bool:
            with self._object(key) as response:
                if response is None:
                    return False
                with path.open("wb") as target:
                    shutil.copyfileobj(response, target, 1024 * 1024)
                return True

        return self._tried(once)

    def write(self, key: str, source: bytes | Path, *, replaces: str | None) -> str:
        """See ObjectStore."""
        self.check_writable()
        try:
            return self._tried(lambda: self._put(self._prefix + key, source, replaces=replaces))
        except ConditionFailed:
            etag = self._tried(lambda: self._etag_if_same(key, source))
            if etag is None:
                raise
            return etag

    def etag(self, key: str) -> str | None:
        """See ObjectStore."""

        def once() -> str | None:
            with self._errors_named():
                try:
                    found = self._client.stat_object(self._bucket, self._prefix + key)
                except S3Error as exc:
                    if exc.code in _ABSENT:
                        return None
                    raise
            return f'"{found.etag}"'  # minio-py takes the quotes off

        return self._tried(once)

    def remove(self, key: str) -> None:
        """See ObjectStore."""

        def once() -> None:
            with self._errors_named():
                self._client.remove_object(self._bucket, self._prefix + key)

        self._tried(once)

    def children(self, folder: str) -> list[str]:
        """See ObjectStore."""
        prefix = f"{self._prefix}{folder}/"

        def once() -> list[str]:
            with self._errors_named():
                keys = [entry.object_name or "" for entry in self._client.list_objects(self._bucket, prefix)]
            return sorted({key.removeprefix(prefix).rstrip("/") for key in keys} - {""})

        return [name for name in self._tried(once) if name[0] != "."]

    def entries(self, prefix: str) -> list[Entry]:
        """See ObjectStore."""
        start = self._prefix + prefix.strip("/")
        below = start if start.endswith("/") or not start else f"{start}/"

        def once() -> list[Entry]:
            with self._errors_named():
                listed = [
                    Entry((each.object_name or "").removeprefix(self._prefix), each.size or 0, each.etag or "")
                    for each in self._client.list_objects(self._bucket, start, recursive=True)
                    if not each.is_dir and (each.object_name == start or (each.object_name or "").startswith(below))
                ]
            return [entry for entry in listed if not any(part[:1] == "." for part in entry.key.split("/"))]

        return sorted(self._tried(once), key=lambda entry: entry.key)

    def check_writable(self) -> None:
        """See ObjectStore. Writes, swaps and removes a small object below .probe."""
        with self._checking:
            if self._unsafe is not None:
                raise self._unsafe
            if self._checked:
                return
            try:
                self._tried(self._probe)
            except UnsafeEndpoint as exc:
                self._unsafe = exc
                raise
            self._checked = True

    def _probe(self) -> None:
        key = f"{self._prefix}.probe/{uuid4().hex}"
        try:
            probe(self._put, key)
        except UnsafeEndpoint:
            self._remove_probe(key)
            raise
        self._remove_probe(key)

    def _remove_probe(self, key: str) -> None:
        try:
            with self._errors_named():
                self._client.remove_object(self._bucket, key)
        except ArtefactError as exc:  # credentials that may write but not delete are fine
            log.warning("probe object left in store", store=self.url, key=key, problem=str(exc))

    def _etag_if_same(self, key: str, source: bytes | Path) -> str | None:
        """The object's etag if its content is exactly `source`, else None."""
        with self._object(key) as response:
            if response is None:
                return None
            if isinstance(source, bytes):
                same = response.read(len(source) + 1) == source
            else:
                with source.open("rb") as file:
                    same = all(response.read(len(piece)) == piece for piece in iter(lambda: file.read(65536), b""))
                same = same and not response.read(1)
            return response.headers.get("ETag", "") if same else None

    @contextmanager
    def _object(self, key: str) -> Iterator[urllib3.BaseHTTPResponse | None]:
        """The open answer to a GET, None if there is no such object."""
        with self._errors_named():
            try:
                response = self._client.get_object(self._bucket, self._prefix + key)
            except S3Error as exc:
                if exc.code not in _ABSENT:
                    raise
                yield None
                return
            try:
                yield response
            finally:
                response.close()
                response.release_conn()

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except S3Error as exc:
            if exc.response.status >= 500 or exc.response.status in (408, 429):
                raise unavailable(self._named, exc) from exc
            raise refused(f"{self._named} answered {exc.response.status} {exc.code}", exc.code or "") from exc
        except (urllib3.exceptions.HTTPError, InvalidResponseError, ServerError) as exc:
            raise unavailable(self._named, exc) from exc
        except (ValueError, ParseError) as exc:  # what minio-py makes of an answer that is not S3's XML
            raise unavailable(self._named, exc) from exc

    def _tried(self, call: Callable[[], T]) -> T:
        for attempt in stamina.retry_context(
            on=StoreUnavailable,
            attempts=self._settings.attempts,
            timeout=self._settings.timeout_s * self._settings.attempts,
            wait_max=1.0,
            wait_jitter=0.2,
        ):
            with attempt:
                return call()
        raise AssertionError("stamina raises when tries run out")
