"""The way to the gateway, as the settings describe it."""

import segdepth
from segdepth import errors
from segdepth_api.settings import ApiSettings

HEALTH_TIMEOUT_S = 3.0
"""A probe wants to know now."""

PATIENCE = segdepth.Patience(first_connection_s=5.0, reconnection_s=30.0)
"""How long a caller's stream waits for a gateway that is being replaced."""


class Gateway:
    """Connects callers, and asks after the gateway's health with a connection of its own."""

    def __init__(self, settings: ApiSettings):
        self._server = settings.gateway
        self._tls: segdepth.TLS | bool = settings.gateway_tls
        if settings.gateway_ca or settings.gateway_cert or settings.gateway_name:
            self._tls = segdepth.TLS(
                ca=settings.gateway_ca,
                certificate=settings.gateway_cert,
                key=settings.gateway_key,
                server_name=settings.gateway_name,
            )
        self._probe: segdepth.AsyncClient | None = None

    def connect(self, token: str | None) -> segdepth.AsyncClient:
        """A connection that carries `token`. InsecureToken rather than in plaintext to another machine."""
        return segdepth.connect_async(self._server, token=token, tls=self._tls, patience=PATIENCE)

    async def problem(self) -> str:
        """Why a frame would not be answered now, empty if it would."""
        if self._probe is None:
            self._probe = self.connect(None)
        try:
            serving = await self._probe.healthy(timeout_s=HEALTH_TIMEOUT_S)
        except errors.SegDepthError as error:
            return f"the gateway does not answer: {error}"
        return "" if serving else "the gateway answers, but no model does yet"

    async def close(self) -> None:
        """Close the connection for probes."""
        if self._probe is not None:
            await self._probe.close()
