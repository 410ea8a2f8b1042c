"""Conditional writes over S3: create if absent, replace if unchanged.

minio-py sends no conditional headers with put_object, but a presigned PUT may carry any header that its signature does
not cover, and If-None-Match and If-Match are such.
"""

import base64
import hashlib
import re
from datetime import timedelta
from pathlib import Path

import urllib3
from minio import Minio

from segdepth_artefacts.errors import ConditionFailed, StoreRefused, StoreUnavailable, UnsafeEndpoint

_EXPIRES = timedelta(minutes=10)  # S3 judges this when the request arrives, not when its body ends
_USE_ANOTHER = "use an endpoint that honours If-None-Match and If-Match (MinIO, SeaweedFS 4, AWS), or a local folder"


class ConditionalPut:
    """PUT that the endpoint carries out only if the object is as the caller believes."""

    def __init__(self, client: Minio, http: urllib3.PoolManager, bucket: str, url: str):
        self._client = client
        self._http = http
        self._bucket = bucket
        self.url = url

    def __call__(self, key: str, source: bytes | Path, *, replaces: str | None) -> str:
        """One try; returns the etag.

        ConditionFailed if the object is another, StoreUnavailable if the outcome is unknown.
        """
        signed = self._client.get_presigned_url("PUT", self._bucket, key, expires=_EXPIRES)
        headers = {"If-None-Match": "*"} if replaces is None else {"If-Match": replaces}
        headers |= _integrity(source)
        try:
            if isinstance(source, bytes):
                response = self._http.request("PUT", signed, body=source, headers=headers, redirect=False)
            else:
                with source.open("rb") as file:
                    response = self._http.request("PUT", signed, body=file, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as exc:
            raise unavailable(self.url, exc) from exc
        if response.status in (200, 201, 204) and "ETag" in response.headers:
            return response.headers["ETag"]
        raise self._error(key, response, replaces)

    def _error(self, key: str, response: urllib3.BaseHTTPResponse, replaces: str | None) -> Exception:
        found = re.search(rb"<Code>(\w+)</Code>", response.data)
        code = found.group(1).decode() if found else ""
        said = f"{self.url} answered {response.status} {code} to a write of {key}".replace("  ", " ")
        if response.status == 412 or (response.status == 404 and code == "NoSuchKey" and replaces is not None):
            return ConditionFailed(f"{key} in {self.url} has changed or exists", "read it again")
        if response.status == 501:
            return UnsafeEndpoint(said, _USE_ANOTHER)
        if response.status < 300:
            return UnsafeEndpoint(f"{said}, without an ETag", _USE_ANOTHER)
        # 409: two conditional writes met; the loser is told to try again.
        if response.status in (408, 409, 429) or response.status >= 500:
            return StoreUnavailable(said, "try again later, and see the endpoint's log")
        return refused(said, code)


def probe(put: ConditionalPut, key: str) -> None:
    """Raises UnsafeEndpoint unless conditional writes of `key`, which is new, end as they must.

    Each step has a body of its own, so that an endpoint cannot pass by chance.
    """
    etag = put(key, b"created", replaces=None)
    _must_fail(put, key, b"created twice", replaces=None)
    _must_fail(put, key, b"swapped for another", replaces=f'"{hashlib.sha256(b"another").hexdigest()[:32]}"')
    try:
        swapped = put(key, b"swapped", replaces=etag)
    except ConditionFailed as exc:
        raise UnsafeEndpoint(f"{put.url} refuses a write with the right If-Match", _USE_ANOTHER) from exc
    if swapped == etag:
        raise UnsafeEndpoint(f"{put.url} gives different objects the same ETag", _USE_ANOTHER)
    _must_fail(put, key, b"swapped twice", replaces=etag)


def _must_fail(put: ConditionalPut, key: str, body: bytes, *, replaces: str | None) -> None:
    try:
        put(key, body, replaces=replaces)
    except ConditionFailed:
        return
    header = "If-None-Match: *" if replaces is None else "If-Match"
    raise UnsafeEndpoint(
        f"{put.url} ignores {header}: concurrent writers would lose each other's changes", _USE_ANOTHER
    )


def _integrity(source: bytes | Path) -> dict[str, str]:
    """Length and MD5, by which the server finds a body that was cut short or altered on the way."""
    if isinstance(source, bytes):
        size, digest = len(source), hashlib.md5(source, usedforsecurity=False)
    else:
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        size = source.stat().st_size
    return {"Content-Length": str(size), "Content-MD5": base64.b64encode(digest.digest()).decode()}


def unavailable(url: str, exc: Exception) -> StoreUnavailable:
    """What a failed connection to the endpoint means to the caller."""
    return StoreUnavailable(
        f"{url} does not answer ({type(exc).__name__}: {exc})",
        "check that the endpoint is right and runs, then try again",
    )


def refused(said: str, code: str) -> StoreRefused:
    """What a 4xx of the endpoint means to the caller. `code` is S3's."""
    ways = {
        "NoSuchBucket": "create the bucket, or correct the store's url",
        "AccessDenied": "grant these credentials access to the bucket and prefix",
        "InvalidAccessKeyId": "correct the access key",
        "SignatureDoesNotMatch": "correct the secret key",
        "RequestTimeTooSkewed": "set this machine's clock",
    }
    return StoreRefused(said, ways.get(code, "see the S3 documentation of this code"))
