"""What a store of objects must do for artefacts to be safe in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

DOCUMENT_BYTES = 16 * 1024 * 1024
"""Largest manifest or channel pointer that is read into memory."""


@dataclass(frozen=True, slots=True)
class Document:
    """A small object, and the tag that changes with its content."""

    data: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in a listing. `tag` changes with its content."""

    key: str
    size_bytes: int
    tag: str


class ObjectStore(Protocol):
    """Objects under keys such as models/ceo2-110/1.0/card.md.

    An object is visible whole or not at all, and nothing is ever overwritten unconditionally: that alone keeps
    concurrent and dying writers from harming each other. All methods raise StoreUnavailable or StoreRefused, in bounded
    time, and may be called from several threads.
    """

    url: str

    def read(self, key: str) -> Document | None:
        """The object, None if there is none. CorruptArtefact if it is larger than DOCUMENT_BYTES."""

    def download(self, key: str, path: Path) -> bool:
        """Writes the object to `path`; False if there is none. OSError if `path` cannot be written."""

    def write(self, key: str, source: bytes | Path, *, replaces: str | None) -> str:
        """Writes the object and returns its etag.

        `replaces` is the etag of the object that this one replaces, None if there must be none: ConditionFailed
        otherwise, unless what is there is exactly these bytes (an earlier try whose answer was lost). UnsafeEndpoint if
        the store cannot promise this.
        """

    def etag(self, key: str) -> str | None:
        """The tag of the object, None if there is none."""

    def remove(self, key: str) -> None:
        """Removes the object, if there is one. Not for what others may have read: versions, channels, leases."""

    def children(self, folder: str) -> list[str]:
        """Names directly below `folder`, sorted; hidden ones (.name) left out."""

    def entries(self, prefix: str) -> list[Entry]:
        """The object of that key and all below that folder, sorted by key; hidden ones (.name) left out. "" = all."""

    def check_writable(self) -> None:
        """Raises UnsafeEndpoint unless `write` keeps its promise here. Done once, before the first write."""
