"""Immutable versions: models/<family>/<version>/{manifest.json and the files it names}."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from segdepth_artefacts import names
from segdepth_artefacts.errors import (
    ArtefactError,
    ConditionFailed,
    CorruptArtefact,
    InvalidRegistration,
    UnknownVersion,
    VersionExists,
)
from segdepth_artefacts.manifest import File, Manifest
from segdepth_artefacts.objects import ObjectStore

log = structlog.get_logger(__name__)


def register(objects: ObjectStore, manifest: Manifest, files: Mapping[str, Path]) -> None:
    """Uploads the files, then manifest.json, whose appearance makes the version visible.

    Every object is written only where there is none, so a concurrent or later writer cannot touch a finished version.
    The same version with the same content may be registered again; a killed upload is finished that way.

    Raises:
        InvalidRegistration: the files are not those of the manifest.
        VersionExists: the version has other content.
    """
    folder = names.version_folder(manifest.family, manifest.version)
    document = _document(manifest)
    _check_files(manifest, files)
    if _exists(objects, manifest):
        return
    for name, path in files.items():
        _upload(objects, folder, name, path, manifest.files[name])
    try:
        objects.write(f"{folder}/{names.MANIFEST}", document, replaces=None)
    except ConditionFailed:
        if not _exists(objects, manifest):
            raise
    log.info("version registered", store=objects.url, family=manifest.family, version=manifest.version)


def manifest_document(objects: ObjectStore, family: str, version: str) -> tuple[Manifest, bytes]:
    """The manifest and its bytes. UnknownVersion, or CorruptArtefact if it is no manifest of this version."""
    stored = _stored_manifest(objects, family, version)
    if stored is None:
        raise UnknownVersion(f"there is no {family} {version} in {objects.url}", _known(objects, family))
    return stored


def complete(objects: ObjectStore, family: str) -> list[Manifest]:
    """Manifests of the family's complete versions, newest first. One that is corrupt is left out, and logged."""
    manifests = []
    for version in filter(names.is_name, objects.children(f"models/{names.check_family(family)}")):
        try:
            stored = _stored_manifest(objects, family, version)
        except CorruptArtefact as exc:
            log.warning("version left out", store=objects.url, family=family, version=version, problem=str(exc))
            continue
        if stored is not None:  # else an upload under way, or killed
            manifests.append(stored[0])
    return sorted(manifests, key=lambda manifest: (manifest.created, manifest.version), reverse=True)


def download(objects: ObjectStore, manifest: Manifest, name: str, path: Path) -> None:
    """Writes one file of the version to `path`. CorruptArtefact unless it is what the manifest says."""
    folder, file = names.version_folder(manifest.family, manifest.version), manifest.files[name]
    found = "missing"
    for key in (f"{folder}/{name}", _second_key(folder, name, file)):
        if objects.download(key, path):
            if differs := difference(path, file):
                found = differs
            else:
                return
    path.unlink(missing_ok=True)
    raise CorruptArtefact(f"{folder}/{name} in {objects.url} is {found}", _RESTORE)


def report(objects: ObjectStore, family: str, version: str) -> dict[str, Any] | None:
    """The version's report.json, None if it has none. UnknownVersion, or CorruptArtefact if it is no JSON object."""
    manifest, _ = manifest_document(objects, family, version)
    if names.REPORT not in manifest.files:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / names.REPORT
        download(objects, manifest, names.REPORT, path)
        text = path.read_bytes()
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise CorruptArtefact(f"{names.REPORT} of {family} {version} in {objects.url}: {exc}", _RESTORE) from exc
    if not isinstance(found, dict):
        raise CorruptArtefact(f"{names.REPORT} of {family} {version} in {objects.url} is no JSON object", _RESTORE)
    return found


def difference(path: Path, file: File) -> str:
    """How the file at `path` differs from what the manifest says of it; empty if it does not."""
    size_bytes = path.stat().st_size
    if size_bytes != file.size_bytes:
        return f"{size_bytes} bytes long instead of {file.size_bytes}"
    with path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    return "" if sha256 == file.sha256 else f"changed (sha256 {sha256[:12]}… instead of {file.sha256[:12]}…)"


_RESTORE = "restore it from a backup, or register and promote another version"


def _document(manifest: Manifest) -> bytes:
    """The manifest as it is stored. InvalidRegistration if it would not come back the same."""
    document = manifest.model_dump_json(indent=2).encode() + b"\n"
    try:
        again = Manifest.model_validate_json(document).model_dump_json(indent=2).encode() + b"\n"
    except ValidationError as exc:
        raise InvalidRegistration(f"the manifest cannot be written as JSON: {exc}", "correct these fields") from exc
    assert again == document, "a manifest reads back as it was written"
    return document


def _check_files(manifest: Manifest, files: Mapping[str, Path]) -> None:
    if files.keys() != manifest.files.keys():
        missing, extra = sorted(manifest.files.keys() - files.keys()), sorted(files.keys() - manifest.files.keys())
        raise InvalidRegistration(
            f"the files are not the manifest's: missing {missing or 'none'}, not in it {extra or 'none'}",
            "give exactly the files that manifest.files names",
        )
    for name, path in files.items():
        if names.check("file", name) == names.MANIFEST:
            raise InvalidRegistration(f"a manifest cannot describe {name} itself", "leave it out of manifest.files")
        if not path.is_file():
            raise InvalidRegistration(f"{path} for {name} is not a file", "give the path of a file")
        if differs := difference(path, manifest.files[name]):
            raise InvalidRegistration(f"{path} is {differs}", "make the manifest from the files as they are now")


def _stored_manifest(objects: ObjectStore, family: str, version: str) -> tuple[Manifest, bytes] | None:
    key = f"{names.version_folder(family, version)}/{names.MANIFEST}"
    stored = objects.read(key)
    if stored is None:
        return None
    try:
        manifest = Manifest.model_validate_json(stored.data)
    except ValidationError as exc:
        raise CorruptArtefact(f"{key} in {objects.url} is no manifest: {exc}", _RESTORE) from exc
    if (manifest.family, manifest.version) != (family, version):
        raise CorruptArtefact(
            f"{key} in {objects.url} is the manifest of {manifest.family} {manifest.version}", _RESTORE
        )
    if bad := [name for name in manifest.files if not names.is_name(name) or name == names.MANIFEST]:
        raise CorruptArtefact(f"{key} in {objects.url} names files that no version can have: {bad}", _RESTORE)
    return manifest, stored.data


def _exists(objects: ObjectStore, manifest: Manifest) -> bool:
    """Whether the version is there with this content; VersionExists if it is there with another."""
    stored = _stored_manifest(objects, manifest.family, manifest.version)
    if stored is None:
        return False
    if _document(stored[0]) != _document(manifest):
        raise VersionExists(
            f"{manifest.family} {manifest.version} in {objects.url} exists with other content",
            "register under another version",
        )
    return True


def _upload(objects: ObjectStore, folder: str, name: str, path: Path, file: File) -> None:
    try:
        objects.write(f"{folder}/{name}", path, replaces=None)
    except ConditionFailed:
        # What an upload of other content left, killed before its manifest, or still under way. To overwrite it could
        # ruin that version in the moment it becomes complete, so this file goes to a place that depends on its content.
        try:
            objects.write(_second_key(folder, name, file), path, replaces=None)
        except ConditionFailed as exc:
            raise CorruptArtefact(f"{exc.cause}, though only this very file belongs there", _RESTORE) from exc


def _second_key(folder: str, name: str, file: File) -> str:
    return f"{folder}/.{file.sha256}/{name}"


def _known(objects: ObjectStore, family: str) -> str:
    try:
        versions = [manifest.version for manifest in complete(objects, family)]
        families = objects.children("models")
    except ArtefactError:
        return "ask for a version that is registered"
    if versions:
        return f"registered of {family}: {', '.join(versions[:10])}"
    return f"registered families: {', '.join(families[:10]) or 'none'}"
