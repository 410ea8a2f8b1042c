"""Objects as files below a local folder."""

import errno
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from uuid import uuid4

from filelock import FileLock, Timeout

from segdepth_artefacts.errors import ConditionFailed, CorruptArtefact, StoreRefused, StoreUnavailable, UnsafeEndpoint
from segdepth_artefacts.objects import DOCUMENT_BYTES, Document, Entry

UPLOADS = ".uploads"
"""Folder of files on their way in, beside the objects: on the same file system, so that a rename makes them visible."""

_STALE_S = 24 * 3600.0


class FolderStore:
    """Objects as files, for one machine or a shared file system with locks (see ObjectStore).

    A writer copies to a hidden file, syncs it, and renames it into place while it holds the folder's lock; the lock
    dies with its process. Readers take no lock and write nothing: the folder may be read-only for them.
    """

    def __init__(self, root: Path, *, timeout_s: float = 10.0):
        self.root = root
        self.url = str(root)
        self._timeout_s = timeout_s
        self._checked = False
        self._checking = Lock()

    def read(self, key: str) -> Document | None:
        """See ObjectStore."""
        with self._errors_named():
            try:
                with (self.root / key).open("rb") as file:
                    data = file.read(DOCUMENT_BYTES + 1)
            except (FileNotFoundError, NotADirectoryError):
                return None
        if len(data) > DOCUMENT_BYTES:
            raise CorruptArtefact(f"{key} in {self.url} is larger than any document", "restore it from a backup")
        return Document(data, _etag(data))

    def download(self, key: str, path: Path) -> bool:
        """See ObjectStore."""
        with self._errors_named():
            try:
                source = (self.root / key).open("rb")
            except (FileNotFoundError, NotADirectoryError):
                return False
        with source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
        return True

    def write(self, key: str, source: bytes | Path, *, replaces: str | None) -> str:
        """See ObjectStore."""
        self.check_writable()
        with self._errors_named():
            path, upload = self.root / key, self.root / UPLOADS / uuid4().hex
            try:
                etag = _write_synced(upload, source)
                path.parent.mkdir(parents=True, exist_ok=True)
                with self._locked():
                    present = _file_etag(path)
                    if present == etag:
                        return etag
                    if present != replaces:
                        raise ConditionFailed(f"{key} in {self.url} has changed or exists", "read it again")
                    upload.replace(path)
                    _sync_folders(path.parent, self.root)
            finally:
                upload.unlink(missing_ok=True)
        return etag

    def etag(self, key: str) -> str | None:
        """See ObjectStore."""
        with self._errors_named():
            return _file_etag(self.root / key)

    def remove(self, key: str) -> None:
        """See ObjectStore."""
        with self._errors_named(), self._locked():
            (self.root / key).unlink(missing_ok=True)

    def children(self, folder: str) -> list[str]:
        """See ObjectStore."""
        with self._errors_named():
            try:
                return sorted(entry.name for entry in (self.root / folder).iterdir() if entry.name[0] != ".")
            except (FileNotFoundError, NotADirectoryError):
                return []

    def entries(self, prefix: str) -> list[Entry]:
        """See ObjectStore. The tag is made of size and time: to read every file for its content would take long."""
        with self._errors_named():
            start = self.root / prefix
            paths = [start] if start.is_file() else sorted(start.rglob("*"))
            found = []
            for path in paths:
                key = path.relative_to(self.root)
                status = _status(path)
                if status is not None and not any(part[0] == "." for part in key.parts):
                    found.append(Entry(key.as_posix(), status.st_size, f"{status.st_size}-{status.st_mtime_ns}"))
        return sorted(found, key=lambda entry: entry.key)

    def check_writable(self) -> None:
        """See ObjectStore. Makes the folder if there is none, and removes what killed writers left a day ago."""
        with self._checking:
            if self._checked:
                return
            with self._errors_named():
                uploads = self.root / UPLOADS
                uploads.mkdir(parents=True, exist_ok=True)
                with self._locked():
                    for upload in uploads.iterdir():
                        status = _status(upload)
                        if status is not None and status.st_mtime < time.time() - _STALE_S:
                            upload.unlink(missing_ok=True)
            self._checked = True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self.root / ".lock", timeout=self._timeout_s, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout as exc:
            raise StoreUnavailable(
                f"another process has held {lock.lock_file} for {self._timeout_s:g} s", "stop it, or try again"
            ) from exc
        except OSError as exc:
            if exc.errno in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise UnsafeEndpoint(f"store {self.url}: {exc}", "put it on a file system with locks") from exc
            raise
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as exc:
            raise StoreRefused(f"store {self.url}: {exc}", "grant this user access to the folder") from exc
        except OSError as exc:
            raise StoreUnavailable(f"store {self.url}: {exc}", "see that the folder is mounted and has room") from exc


def _status(path: Path) -> os.stat_result | None:
    """Of a file; None for what is none, or has gone since it was listed: writers come and go without the lock."""
    try:
        status = path.stat()
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    return status if stat.S_ISREG(status.st_mode) else None


def _write_synced(path: Path, source: bytes | Path) -> str:
    digest = hashlib.sha256()
    with path.open("xb") as target:
        if isinstance(source, bytes):
            digest.update(source)
            target.write(source)
        else:
            with source.open("rb") as file:
                while piece := file.read(1024 * 1024):
                    digest.update(piece)
                    target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    return f'"{digest.hexdigest()}"'


def _sync_folders(folder: Path, root: Path) -> None:
    """Without this a crash of the machine may forget the rename, or the new folders above it."""
    while True:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if folder == root:
            return
        folder = folder.parent


def _etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()}"'


def _file_etag(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return f'"{hashlib.file_digest(file, "sha256").hexdigest()}"'
    except (FileNotFoundError, NotADirectoryError):
        return None
