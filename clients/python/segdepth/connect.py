"""The way in: a client of a server, or of a model in this process."""

from collections.abc import Callable
from typing import Any

from segdepth import background
from segdepth.arguments import checked, text, wrong_type
from segdepth.async_client import AsyncClient
from segdepth.backend import check_installed
from segdepth.backoff import Patience
from segdepth.client import Client
from segdepth.errors import InvalidType
from segdepth.remote_transport import RemoteTransport
from segdepth.security import TLS, check_token
from segdepth.streaming.outages import OnOutage
from segdepth.transport import LocalTransport, Transport

LOCAL = "local"


def connect(
    server: str = LOCAL,
    *,
    token: str | None = None,
    tls: TLS | bool = False,
    patience: Patience | None = None,
    on_outage: OnOutage | None = None,
    **local: Any,
) -> Client:
    """A client of the server at "host:port", or of a model in this process ("local").

    token: who asks, sent only over TLS or within this machine (InsecureToken otherwise); tls: True, or a TLS with
    certificates of your own; patience: how long a stream tries to reconnect; on_outage: called with an Outage when a
    stream has lost the server, and again when it has it back, from the thread that carries the streams: return soon;
    local: options of local mode, such as `store="/folder"` and `model="ceo2-110"`.

    Returns at once: whether the server answers shows at the first call, or ask `healthy()`. Raises NotInstalled if
    local mode is not there, InvalidType.
    """
    return Client(background.call(_transport(server, token, tls, patience, on_outage, local)))


def connect_async(
    server: str = LOCAL,
    *,
    token: str | None = None,
    tls: TLS | bool = False,
    patience: Patience | None = None,
    on_outage: OnOutage | None = None,
    **local: Any,
) -> AsyncClient:
    """The twin of `connect` for asyncio: call it within the event loop that will use it."""
    return AsyncClient(_transport(server, token, tls, patience, on_outage, local)())


def _transport(
    server: str,
    token: str | None,
    tls: TLS | bool,
    patience: Patience | None,
    on_outage: OnOutage | None,
    local: dict[str, Any],
) -> Callable[[], Transport]:
    checked(server, str, "server", 'an address "host:port", or "local"')
    if token is not None:
        text(token, "token")
    checked(tls, (TLS, bool), "tls", "True, False or a TLS with certificates of your own")
    if patience is not None:
        checked(patience, Patience, "patience", "a Patience")
    if on_outage is not None and not callable(on_outage):
        raise wrong_type(on_outage, "on_outage", "a function that takes an Outage")
    if server == LOCAL:
        check_installed(LOCAL)
        return lambda: LocalTransport(**local)
    if local:
        raise InvalidType(f"{', '.join(local)}: only local mode has these options")
    secure = tls if isinstance(tls, TLS) else TLS() if tls else None
    check_token(server, token, encrypted=secure is not None)
    return lambda: RemoteTransport(
        server, token=token, tls=secure, patience=patience or Patience(), on_outage=on_outage
    )
