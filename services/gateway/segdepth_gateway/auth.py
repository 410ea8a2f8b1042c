"""Who asks, and what they may ask for."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import grpc

from segdepth_gateway.settings import GatewaySettings
from segdepth_gateway.tokens import TokenFile

SCHEME = "bearer"


class Scope(StrEnum):
    """What a token allows. `admin` allows everything."""

    ESTIMATE = "estimate"
    BATCH = "batch"
    MODELS_WRITE = "models:write"
    ADMIN = "admin"


class Denied(Exception):
    """The caller may not. `code` is UNAUTHENTICATED or PERMISSION_DENIED."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Principal:
    """Somebody who was recognised."""

    name: str
    scopes: frozenset[Scope]

    def require(self, *scopes: Scope) -> None:
        """Denied unless one of the scopes is there."""
        if not self.scopes.intersection((*scopes, Scope.ADMIN)):
            wanted = " or ".join(scopes)
            raise Denied(grpc.StatusCode.PERMISSION_DENIED, f"token of {self.name}: scope {wanted} is missing")


class Authenticator:
    """Recognises callers by their token.

    Without a file of tokens everybody is `anonymous`, with all scopes on loopback and without those that change
    something where the gateway was made to listen further (`insecure`).
    """

    def __init__(self, settings: GatewaySettings):
        self._tokens = TokenFile(settings.tokens) if settings.tokens else None
        harmless = frozenset({Scope.ESTIMATE, Scope.BATCH})
        self._anonymous = Principal("anonymous", harmless if settings.exposed else frozenset(Scope))

    def principal(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> Principal:
        """Who sent a call's metadata. Denied without a token that is known and not expired."""
        if self._tokens is None:
            return self._anonymous
        token = _bearer(metadata or ())
        if not token:
            raise Denied(grpc.StatusCode.UNAUTHENTICATED, "authorization: missing; send 'Bearer TOKEN'")
        known = self._tokens.find(token)
        if known is None:
            raise Denied(grpc.StatusCode.UNAUTHENTICATED, "authorization: unknown or expired token")
        return Principal(known.principal, frozenset(Scope(scope) for scope in known.scopes))


def _bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    for key, value in metadata:
        if key.lower() == "authorization" and isinstance(value, str):
            scheme, _, token = value.partition(" ")
            if scheme.lower() == SCHEME:
                return token.strip()
    return ""
