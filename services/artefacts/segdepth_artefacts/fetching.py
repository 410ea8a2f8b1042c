"""Versions in a local folder, complete and verified or not there at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from segdepth_artefacts import names, versions
from segdepth_artefacts.errors import CacheUnavailable
from segdepth_artefacts.manifest import Manifest
from segdepth_artefacts.objects import ObjectStore

_OTHER_FETCH_S = 600.0


def fetch(objects: ObjectStore, family: str, version: str, into: Path) -> Path:
    """The folder into/family/version with manifest.json and every file it names.

    `into` is a cache: a copy that is there and still verifies is returned without downloading, one that does not is
    replaced. Several processes and threads may fetch at once; one downloads, the others wait for it.

    Raises:
        UnknownVersion: no such version.
        CorruptArtefact: a stored file is not what the manifest says; nothing of it is left in `into`.
        CacheUnavailable: `into` cannot be written, is full, or another process has been at it for ten minutes.
    """
    manifest, document = versions.manifest_document(objects, family, version)
    folder = into / family / version
    with _errors_named(into):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{version}.lock", timeout=_OTHER_FETCH_S, fallback_to_soft=False):
            if not _intact(folder, manifest, document):
                _remove_leftovers(folder)
                _download(objects, manifest, document, folder)
    return folder


def _download(objects: ObjectStore, manifest: Manifest, document: bytes, folder: Path) -> None:
    staging = folder.parent / f".{folder.name}.{uuid4().hex}"
    staging.mkdir()
    try:
        for name in manifest.files:
            versions.download(objects, manifest, name, staging / name)
        (staging / names.MANIFEST).write_bytes(document)
        for path in staging.iterdir():
            _sync(path)
        _sync(staging)
        if folder.exists():  # a copy that was damaged here; aside in one step, so that nobody sees half of it
            folder.rename(folder.parent / f".{folder.name}.{uuid4().hex}")
        staging.rename(folder)
        _sync(folder.parent)
    finally:
        _remove_leftovers(folder)


def _intact(folder: Path, manifest: Manifest, document: bytes) -> bool:
    try:
        return (folder / names.MANIFEST).read_bytes() == document and not any(
            versions.difference(folder / name, file) for name, file in manifest.files.items()
        )
    except FileNotFoundError:
        return False


def _remove_leftovers(folder: Path) -> None:
    """Folders of fetches that were killed, failed, or found a damaged copy. Only while the lock is held."""
    for leftover in folder.parent.glob(f".{folder.name}.{'[0-9a-f]' * 32}"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _errors_named(into: Path) -> Iterator[None]:
    try:
        yield
    except Timeout as exc:
        raise CacheUnavailable(f"another process has fetched to {into} for {_OTHER_FETCH_S:g} s", "stop it") from exc
    except OSError as exc:
        raise CacheUnavailable(f"cannot fetch to {into}: {exc}", "free space there or fetch to another folder") from exc
