"""Channels: named pointers at versions (stable, candidate), changed by compare-and-swap, with their whole history."""

from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

import structlog
from pydantic import AwareDatetime, Field, ValidationError

from segdepth_artefacts import names, versions
from segdepth_artefacts.errors import ChannelConflict, ConditionFailed, CorruptArtefact
from segdepth_artefacts.manifest import Strict
from segdepth_artefacts.objects import ObjectStore

log = structlog.get_logger(__name__)

STABLE, CANDIDATE = "stable", "candidate"
"""The channel whose model answers, and that of the model which may be the next."""


class ChannelChange(Strict):
    """One change of a channel: who, when, why."""

    id: str = Field(description="unique, so that a writer whose answer was lost recognises its own change")
    from_version: str | None = Field(description="None for the channel's first version")
    to_version: str
    time: AwareDatetime
    principal: str
    reason: str
    forced: bool = Field(description="against a gate's refusal")


class Channel(Strict):
    """A channel as it was read."""

    family: str
    name: str
    version: str
    history: tuple[ChannelChange, ...] = Field(description="every change, newest first; the first made `version`")
    etag: str = Field(description="changes with every change of the channel")

    @property
    def previous(self) -> str | None:
        """The version to roll back to, None if there is none before.

        Versions lie below each other, so that rolling back twice goes back by two instead of to and fro.
        """
        below, _ = self._promotions()
        return below[-2].to_version if len(below) > 1 else None

    @property
    def forced(self) -> ChannelChange | None:
        """How `version` became the channel's, if that was against the gates and they have not been passed since."""
        below, _ = self._promotions()
        return below[-1] if below[-1].forced else None

    @property
    def passed(self) -> frozenset[str]:
        """Versions that became the channel's by the gates, and not against them since."""
        _, last = self._promotions()
        return frozenset(version for version, change in last.items() if not change.forced)

    def _promotions(self) -> tuple[list[ChannelChange], dict[str, ChannelChange]]:
        """The promotions that the channel can go back through, the present one last; and the last one of each version.
        Going back is none, and promoting anew what is there takes the place of the promotion before."""
        below: list[ChannelChange] = []
        last: dict[str, ChannelChange] = {}
        for change in reversed(self.history):
            if len(below) > 1 and below[-2].to_version == change.to_version:
                below.pop()
                continue
            if below and below[-1].to_version == change.to_version:
                below.pop()
            below.append(change)
            last[change.to_version] = change
        return below, last


class _Pointer(Strict):
    """channels/<family>/<name>.json"""

    format: Literal[1] = 1
    version: str
    history: tuple[ChannelChange, ...] = Field(min_length=1)


def read(objects: ObjectStore, family: str, name: str) -> Channel | None:
    """The channel, None if it points nowhere yet. CorruptArtefact if its file is no pointer."""
    key = names.channel_key(family, name)
    stored = objects.read(key)
    if stored is None:
        return None
    try:
        pointer = _Pointer.model_validate_json(stored.data)
    except ValidationError as exc:
        raise CorruptArtefact(f"{key} in {objects.url} is no channel: {exc}", _RESTORE) from exc
    if pointer.version != pointer.history[0].to_version:
        raise CorruptArtefact(f"{key} in {objects.url} points at a version that its history does not know", _RESTORE)
    return Channel(family=family, name=name, version=pointer.version, history=pointer.history, etag=stored.etag)


def point(
    objects: ObjectStore,
    family: str,
    name: str,
    version: str,
    *,
    principal: str,
    reason: str,
    forced: bool = False,
    expected: Channel | None,
) -> Channel:
    """Points the channel at a complete version, if it is still the one that was `expected` (None: points nowhere).

    Raises:
        ChannelConflict: somebody else changed it meanwhile.
        UnknownVersion: no such version, or not complete.
        ValueError: no principal, or `expected` is another channel.
    """
    key = names.channel_key(family, name)
    if not principal:
        raise ValueError("a change of a channel needs a principal: who makes it")
    if expected is not None and (expected.family, expected.name) != (family, name):
        raise ValueError(f"expected is {expected.family}/{expected.name}, not {family}/{name}")
    versions.manifest_document(objects, family, version)
    change = ChannelChange(
        id=uuid4().hex,
        from_version=expected.version if expected else None,
        to_version=version,
        time=datetime.now(UTC),
        principal=principal,
        reason=reason,
        forced=forced,
    )
    history = (change, *(expected.history if expected else ()))
    document = _Pointer(version=version, history=history).model_dump_json(indent=2).encode() + b"\n"
    try:
        etag = objects.write(key, document, replaces=expected.etag if expected else None)
    except ConditionFailed as exc:
        raise ChannelConflict(*_conflict(objects, family, name)) from exc
    log.info("channel changed", store=objects.url, family=family, channel=name, **change.model_dump(mode="json"))
    return Channel(family=family, name=name, version=version, history=history, etag=etag)


_RESTORE = "restore it from a backup; the versions themselves are not affected"


def _conflict(objects: ObjectStore, family: str, name: str) -> tuple[str, str]:
    now = read(objects, family, name)
    if now is None:
        return f"channel {family}/{name} is gone", "read the channel again and decide anew"
    last = now.history[0]
    return (
        f"channel {family}/{name} was meanwhile pointed at {now.version} by {last.principal} ({last.reason!r})",
        "read the channel again and decide anew",
    )
