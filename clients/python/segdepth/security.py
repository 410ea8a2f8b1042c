"""TLS and tokens: a token never travels in plaintext to another machine."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from segdepth.errors import InsecureToken, UnreadableFile
from segdepth_protos import contract


@dataclass(frozen=True)
class TLS:
    """How to know the server, and how to be known by it.

    ca: certificates to trust (PEM), by default those that gRPC ships; certificate and key: this client's own (mTLS);
    server_name: the name in the server's certificate where it is not the host's.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """For a channel. UnreadableFile if a file cannot be read."""
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.certificate))

    def options(self) -> list[tuple[str, str]]:
        """For a channel."""
        return [("grpc.ssl_target_name_override", self.server_name)] if self.server_name else []


def _read(path: str | Path | None) -> bytes | None:
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}") from error


def check_token(server: str, token: str | None, *, encrypted: bool) -> None:
    """Raise InsecureToken if the token would travel in plaintext to another machine, or cannot be a token."""
    if token is None:
        return
    if not token or not token.isascii() or not token.isprintable():
        raise InsecureToken("the token is empty or has characters that no token has")
    if not encrypted and not is_loopback(server):
        raise InsecureToken(f"a token would travel in plaintext to {server}; connect with tls=True (--tls)")


def is_loopback(server: str) -> bool:
    """Whether "host:port" is this machine."""
    if server.startswith("unix:"):
        return True
    host = server.removeprefix("ipv4:").removeprefix("ipv6:").rpartition(":")[0].strip("[]")
    return contract.is_loopback(host)
