"""The session of a stream: a signed token, so that any gateway with the key can go on with it."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

SIGNATURE_BYTES = hashlib.sha256().digest_size


class ForeignSession(PermissionError):
    """Not signed with a key of this facility, or of another principal."""


class ExpiredSession(ValueError):
    """Was ours, but it is too late to resume it."""


@dataclass(frozen=True)
class Session:
    """What a gateway must know to go on with a stream."""

    principal: str
    stream: str
    drop_policy: int
    expires: float
    """Seconds since the epoch."""


class Sessions:
    """Signs and checks sessions. The first key signs, all are accepted."""

    def __init__(self, keys: tuple[bytes, ...], lifetime_s: float, clock: Callable[[], float] = time.time):
        if not keys:
            raise ValueError("sessions need a key")
        self._keys = keys
        self._lifetime_s = lifetime_s
        self._clock = clock

    def issue(self, principal: str, stream: str, drop_policy: int) -> bytes:
        """A token for a stream that begins, or goes on, now."""
        session = Session(principal, stream, drop_policy, self._clock() + self._lifetime_s)
        payload = json.dumps(asdict(session), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(_sign(self._keys[0], payload) + payload)

    def check(self, token: bytes, principal: str) -> Session:
        """The session of a token. ForeignSession, ExpiredSession."""
        session = self._verified(token)
        if session.principal != principal:
            raise ForeignSession("session: belongs to another principal; open a new stream")
        if session.expires < self._clock():
            ago_s = self._clock() - session.expires
            raise ExpiredSession(f"session: expired {ago_s:.0f} s ago; open a new stream")
        return session

    def _verified(self, token: bytes) -> Session:
        try:
            signed = base64.b64decode(token, altchars=b"-_", validate=True)
        except ValueError:
            signed = b""
        if base64.urlsafe_b64encode(signed) != token:
            signed = b""  # Bits that the last character has to spare are no part of what is signed.
        signature, payload = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
        if not any(hmac.compare_digest(signature, _sign(key, payload)) for key in self._keys):
            raise ForeignSession("session: not signed by this facility; open a new stream")
        return Session(**json.loads(payload))


def _sign(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, b"segdepth session 1\0" + payload, "sha256")
