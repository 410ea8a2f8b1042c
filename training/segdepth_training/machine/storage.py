"""Where a run keeps its things: a folder of this machine, or a prefix of a bucket that a whole cluster reaches.

Endpoint and credentials of a bucket come from the environment (SEGDEPTH_STORE_*) of whoever looks, and never travel.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from segdepth_artefacts import StoreSettings
from segdepth_artefacts.errors import ConditionFailed
from segdepth_artefacts.objects import ObjectStore
from segdepth_artefacts.open_objects import open_objects

PARTIAL = ".partial"
"""Ending of files that are still being written."""


@cache
def _objects(root: str) -> ObjectStore:
    return open_objects(root, StoreSettings())


@dataclass(frozen=True)
class Storage:
    """A folder `path` of things below a root: an absolute folder or s3://bucket/prefix.

    Whatever is written appears whole or not at all.
    """

    root: str
    path: str = ""

    @classmethod
    def at(cls, where: "str | Path | Storage") -> "Storage":
        """The storage at a folder or s3://bucket/prefix."""
        if isinstance(where, Storage):
            return where
        if isinstance(where, str) and "://" in where:
            return cls(where.rstrip("/"))
        return cls(str(Path(where).expanduser().resolve()))

    def __truediv__(self, name: str) -> "Storage":
        return Storage(self.root, f"{self.path}/{name}" if self.path else name)

    def __str__(self) -> str:
        return f"{self.root}/{self.path}" if self.path else self.root

    @property
    def name(self) -> str:
        """The last part."""
        return str(self).rstrip("/").rsplit("/", 1)[-1]

    @property
    def remote(self) -> bool:
        """Whether this is in a bucket."""
        return "://" in self.root

    @property
    def folder(self) -> Path:
        """The local folder. ValueError for a bucket."""
        if self.remote:
            raise ValueError(f"{self} is no folder of this machine")
        return Path(self.root) / self.path

    def read(self, name: str) -> str | None:
        """A small text, None if there is none."""
        stored = _objects(self.root).read((self / name).path)
        return stored.data.decode() if stored else None

    def write_once(self, name: str, text: str) -> None:
        """Keep a small text. ValueError where another text has that name."""
        if self.remote:
            try:
                _objects(self.root).write((self / name).path, text.encode(), replaces=None)
            except ConditionFailed as error:
                raise ValueError(f"{self / name} was meanwhile written by another; is its run id in use?") from error
        elif self.read(name) not in (None, text):
            raise ValueError(f"{self / name} says something else already")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = self.folder / (name + PARTIAL)
            partial.write_text(text)
            partial.replace(self.folder / name)

    def sizes(self) -> dict[str, int]:
        """Size [bytes] of everything below, by name."""
        entries = _objects(self.root).entries(self.path)
        start = f"{self.path}/" if self.path else ""
        return {entry.key.removeprefix(start): entry.size_bytes for entry in entries}

    @contextmanager
    def files(self) -> Iterator[Path]:
        """A local folder with the files in it; what the block changed in it is kept when it ends well.

        Files of a bucket are written in the order in which the block wrote them, the removed ones removed before; a
        file whose presence means that others are there has to be written last, as in a folder. ValueError where
        somebody else changed one meanwhile.
        """
        if not self.remote:
            yield self.folder
            return
        objects = _objects(self.root)
        with tempfile.TemporaryDirectory(prefix="segdepth-") as scratch:
            folder, tags = Path(scratch), {}
            for name in objects.children(self.path):
                key = (self / name).path
                tag = objects.etag(key)
                if tag is not None and objects.download(key, folder / name):
                    tags[name] = tag
            before = _times(folder)
            yield folder
            after = _times(folder)
            for name in before.keys() - after.keys():
                objects.remove((self / name).path)
            for name in sorted(after, key=lambda name: after[name]):
                if after[name] != before.get(name):
                    self._replace(name, folder / name, tags.get(name))

    def _replace(self, name: str, path: Path, tag: str | None) -> None:
        try:
            _objects(self.root).write((self / name).path, path, replaces=tag)
        except ConditionFailed as error:
            raise ValueError(f"{self / name} was meanwhile changed by another; let only one work at a run") from error

    def arrays(self) -> Any:
        """What zarr opens: a path, or a store of objects."""
        if not self.remote:
            return str(self.folder)
        from obstore.store import S3Store
        from zarr.storage import ObjectStore as Arrays

        settings, parts = StoreSettings(), urlsplit(str(self))
        authority = os.environ.get("SSL_CERT_FILE")
        client: Any = {
            "allow_http": not settings.secure,
            "timeout": f"{settings.timeout_s * settings.attempts:g}s",
            "connect_timeout": f"{settings.timeout_s:g}s",
            **({"root_certificate": Path(authority).read_bytes()} if authority else {}),
        }
        options: dict[str, Any] = {"region": settings.region, "skip_signature": settings.access_key is None}
        if endpoint := _endpoint(settings):
            options["endpoint"] = f"{'https' if settings.secure else 'http'}://{endpoint}"
        if settings.access_key and settings.secret_key:
            options |= {
                "access_key_id": settings.access_key,
                "secret_access_key": settings.secret_key.get_secret_value(),
            }
        return Arrays(S3Store(parts.netloc, prefix=parts.path.strip("/"), client_options=client, **options))

    def arrow(self) -> tuple[Any, str]:
        """What Ray Train keeps checkpoints in: a pyarrow file system (None: this machine's) and the path in it."""
        if not self.remote:
            return None, str(self.folder)
        from pyarrow import fs

        settings, parts = StoreSettings(), urlsplit(str(self))
        system = fs.S3FileSystem(
            access_key=settings.access_key,
            secret_key=settings.secret_key.get_secret_value() if settings.secret_key else None,
            anonymous=settings.access_key is None,
            region=settings.region,
            scheme="https" if settings.secure else "http",
            endpoint_override=_endpoint(settings),
            connect_timeout=settings.timeout_s,
            request_timeout=settings.timeout_s,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=settings.attempts),
            tls_ca_file_path=os.environ.get("SSL_CERT_FILE"),
        )
        return system, parts.netloc + parts.path


def _endpoint(settings: StoreSettings) -> str | None:
    """The endpoint, None for AWS itself, which these clients know better by its region."""
    return None if settings.endpoint.endswith("amazonaws.com") else settings.endpoint


def _times(folder: Path) -> dict[str, tuple[int, int, int]]:
    """When each finished file was written [ns], its size [bytes], and which file it is.

    A file system's clock ticks every few milliseconds: what is replaced within a tick has another inode alone.
    """
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.endswith(PARTIAL)]
    return {path.name: (stat.st_mtime_ns, stat.st_size, stat.st_ino) for path in files for stat in [path.stat()]}
