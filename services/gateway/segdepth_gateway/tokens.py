"""The file of tokens. It holds their hashes alone, and is read again when it changes.

A token is 256 random bits, so a plain SHA-256 cannot be searched: a slow hash would only slow the gateway.
"""

import hashlib
import os
import secrets
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

log = structlog.get_logger(__name__)

PREFIX = "sd_"
"""So that scanners of repositories and logs recognise a leaked token."""

FILE_CHECK_S = 1.0
"""How old the knowledge of the file's state may be."""


class TokenRecord(BaseModel):
    """One token: its hash, whose it is, what it allows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    principal: str = Field(min_length=1)
    scopes: tuple[Literal["estimate", "batch", "models:write", "admin"], ...] = Field(min_length=1)
    created: AwareDatetime
    expires: AwareDatetime | None = None


class TokenList(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[TokenRecord, ...] = ()


class TokenFile:
    """Looks tokens up. ValueError if the file cannot be read at the start.

    A file that becomes unreadable later (half-written, say) is reported, and what was read last stays valid.
    """

    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()
        self._checked_at = time.monotonic()
        self._state = _state(path)
        self._records = _read(path)

    def find(self, token: str) -> TokenRecord | None:
        """The token's record, None if it is unknown or expired."""
        self._refresh()
        record = self._records.get(hash_token(token))
        if record is None or (record.expires is not None and record.expires < datetime.now(UTC)):
            return None
        return record

    def _refresh(self) -> None:
        with self._lock:
            if time.monotonic() - self._checked_at < FILE_CHECK_S:
                return
            self._checked_at = time.monotonic()
            try:
                state = _state(self._path)
                if state != self._state:
                    self._records = _read(self._path)
                    self._state = state
                    log.info("tokens read again", path=str(self._path), tokens=len(self._records))
            except ValueError as error:
                log.error("tokens cannot be read; the last ones stay valid", path=str(self._path), error=str(error))


def mint(path: Path, principal: str, scopes: tuple[str, ...], lifetime: timedelta | None = None) -> str:
    """Add a new token to the file, made if it is not there, and return it. It is nowhere else."""
    token = PREFIX + secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    record = TokenRecord.model_validate(
        {
            "sha256": hash_token(token),
            "principal": principal,
            "scopes": scopes,
            "created": now,
            "expires": now + lifetime if lifetime else None,
        }
    )
    known = tuple(_read(path).values()) if path.exists() else ()
    _write(path, TokenList(tokens=(*known, record)))
    return token


def revoke(path: Path, principal: str) -> int:
    """Remove all tokens of a principal; returns how many there were."""
    known = _read(path).values()
    kept = tuple(record for record in known if record.principal != principal)
    _write(path, TokenList(tokens=kept))
    return len(known) - len(kept)


def hash_token(token: str) -> str:
    """What the file holds of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _state(path: Path) -> tuple[int, int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _read(path: Path) -> dict[str, TokenRecord]:
    try:
        tokens = TokenList.model_validate_json(path.read_bytes()).tokens
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        # Not the message itself: it quotes what it found.
        where = sorted({".".join(map(str, fault["loc"])) or "the file" for fault in error.errors()})
        raise ValueError(f"{path} is no file of tokens; wrong: {', '.join(where)}") from None
    return {record.sha256: record for record in tokens}


def _write(path: Path, tokens: TokenList) -> None:
    # A gateway that reads meanwhile sees the old file or the new one.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(tokens.model_dump_json(indent=2) + "\n")
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
