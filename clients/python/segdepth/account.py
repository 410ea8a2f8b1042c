"""Whom a server takes a caller for."""

from dataclasses import dataclass

from segdepth_protos.v1 import account_pb2


@dataclass(frozen=True)
class Account:
    """The owner of a token, and what the token allows: estimate, batch, models:write, admin."""

    principal: str
    scopes: tuple[str, ...]

    @classmethod
    def from_message(cls, message: account_pb2.WhoAmIResponse) -> "Account":
        """From the wire."""
        return cls(message.principal, tuple(message.scopes))

    def may(self, scope: str) -> bool:
        """Whether the token allows it; `admin` allows everything."""
        return scope in self.scopes or "admin" in self.scopes
