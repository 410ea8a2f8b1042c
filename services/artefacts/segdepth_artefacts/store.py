"""The store of artefacts as its callers see it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from segdepth_artefacts import channels, fetching, names, shadow, versions
from segdepth_artefacts.channels import Channel
from segdepth_artefacts.errors import UnknownVersion
from segdepth_artefacts.lease import Lease
from segdepth_artefacts.manifest import Manifest
from segdepth_artefacts.objects import ObjectStore
from segdepth_artefacts.open_objects import open_objects
from segdepth_artefacts.settings import StoreSettings
from segdepth_artefacts.shadow import ShadowLog, ShadowSummary

__all__ = ["ArtefactStore", "open_objects", "open_store"]


class ArtefactStore:
    """Immutable model versions and the channels that point at them, in a folder or a bucket.

    Every method may raise StoreUnavailable and StoreRefused, in bounded time, and InvalidName for names that are not
    plain names; methods that write also UnsafeEndpoint. All block: call them from a thread in asynchronous code.
    """

    def __init__(self, objects: ObjectStore, settings: StoreSettings):
        self._objects = objects
        self._settings = settings

    @property
    def url(self) -> str:
        """Where this is, for people."""
        return self._objects.url

    def register(self, manifest: Manifest, files: Mapping[str, Path]) -> None:
        """Adds a version: its files by name, exactly those of manifest.files. Again with the same content: no effect.

        InvalidRegistration if the files are not the manifest's, VersionExists if the version has other content.
        """
        versions.register(self._objects, manifest, files)

    def manifest(self, family: str, version: str) -> Manifest:
        """The version's manifest. UnknownVersion, CorruptArtefact."""
        return versions.manifest_document(self._objects, family, version)[0]

    def report(self, family: str, version: str) -> dict[str, Any] | None:
        """The version's report.json, None if it has none. UnknownVersion, CorruptArtefact."""
        return versions.report(self._objects, family, version)

    def fetch(self, family: str, version: str, into: Path) -> Path:
        """The folder into/family/version with manifest.json and all files, verified by sha256; `into` is a cache.

        UnknownVersion, CorruptArtefact, CacheUnavailable.
        """
        return fetching.fetch(self._objects, family, version, into)

    def families(self) -> list[str]:
        """Families with at least one complete version, sorted."""
        families = filter(names.is_family, self._objects.children("models"))
        return [family for family in families if versions.complete(self._objects, family)]

    def versions(self, family: str) -> list[str]:
        """Complete versions, newest first; empty for an unknown family."""
        return [manifest.version for manifest in versions.complete(self._objects, family)]

    def default_family(self) -> str:
        """Family of a request that names none: the only one, or the settings' where there are several.

        Those adapted to an instrument do not count beside one that is not. UnknownVersion if neither is there.
        """
        families = self.families()
        general = [family for family in families if names.base_family(family) == family] or families
        if len(general) == 1:
            return general[0]
        if self._settings.default_family in families:
            return self._settings.default_family
        raise UnknownVersion(
            f"no family was named, and {self._settings.default_family} is not in {self.url}",
            f"name one of: {', '.join(families)}" if families else "register a model first",
        )

    def channel(self, family: str, name: str) -> Channel | None:
        """What the channel (stable, candidate) points at, with its history; None if nothing yet. CorruptArtefact."""
        return channels.read(self._objects, family, name)

    def point(
        self,
        family: str,
        name: str,
        version: str,
        *,
        principal: str,
        reason: str,
        forced: bool = False,
        expected: Channel | None,
    ) -> Channel:
        """Points the channel at a version, if it is still as `expected` (None: points nowhere).

        ChannelConflict if somebody else changed it meanwhile, UnknownVersion.
        """
        return channels.point(
            self._objects,
            family,
            name,
            version,
            principal=principal,
            reason=reason,
            forced=forced,
            expected=expected,
        )

    def shadow(self, family: str, candidate: str, stable: str) -> ShadowSummary:
        """What all replicas saw of a candidate in the shadow of a stable version; without frames if they saw none."""
        return shadow.read(self._objects, family, candidate, stable)

    def shadow_log(self) -> ShadowLog:
        """Where a replica keeps what it sees. Writes below shadow/ alone."""
        return ShadowLog(open_objects(f"{self.url}/{shadow.FOLDER}", self._settings))

    def lease(self, name: str, holder: str, *, ttl_s: float, on_lost: Callable[[], None] = lambda: None) -> Lease:
        """A lease on a name, to be held in a `with` block: LeaseHeld if another holds it.

        It is renewed in the background; where that fails for `ttl_s`, it is lost and `on_lost` called from a thread.
        """
        return Lease(self._objects, name, holder, ttl_s=ttl_s, on_lost=on_lost)

    def check_writable(self) -> None:
        """Raises UnsafeEndpoint if writes would not be safe here. For the start of services that write."""
        self._objects.check_writable()


def open_store(
    url: str | Path | None = None, settings: StoreSettings | None = None, *, writable: bool = False
) -> ArtefactStore:
    """The store at a folder, file:///folder or s3://bucket/prefix; without a url, at settings.url.

    Endpoint and credentials come from the settings, these from the environment unless given. A folder that is not there
    yet is an empty store. `writable` checks at once, instead of at the first write, that writing is safe.

    Raises InvalidName for anything that is no such url, and with `writable` what `check_writable` raises.
    """
    settings = settings or StoreSettings()
    store = ArtefactStore(open_objects(str(url or settings.url), settings), settings)
    if writable:
        store.check_writable()
    return store
