"""TLS of the server, with certificates that may be renewed while it runs."""

from pathlib import Path

import grpc
import structlog

from segdepth_gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)


def server_credentials(settings: GatewaySettings) -> grpc.ServerCredentials | None:
    """Credentials of the files named in the settings, None without TLS. ValueError if they cannot be read or used."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    files = Certificates(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    return grpc.dynamic_ssl_server_credentials(
        files.read(),
        files.renewed,  # type: ignore[arg-type]  # None = unchanged, says gRPC
        require_client_authentication=settings.tls_client_ca is not None,
    )


class Certificates:
    """The files, read again at a handshake if they have changed."""

    def __init__(self, cert: Path, key: Path, client_ca: Path | None):
        self._files = (cert, key, *((client_ca,) if client_ca else ()))
        self._state: tuple[tuple[int, int], ...] = ()

    def read(self) -> grpc.ServerCertificateConfiguration:
        """The files' contents. ValueError."""
        try:
            self._state = self._file_states()
            cert, key, *client_ca = (path.read_bytes() for path in self._files)
        except OSError as error:
            raise ValueError(f"{error.filename}: {error.strerror}") from error
        for path, content in zip(self._files, (cert, key, *client_ca), strict=True):
            if b"-----BEGIN " not in content:
                raise ValueError(f"{path} is not a PEM file")
        return grpc.ssl_server_certificate_configuration([(key, cert)], client_ca[0] if client_ca else None)

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """For gRPC, at each handshake: the new configuration, None if nothing changed or the new files are no good."""
        try:
            return self.read() if self._file_states() != self._state else None
        except (ValueError, OSError) as error:
            log.error("certificates cannot be read; the last ones stay in use", error=str(error))
            return None

    def _file_states(self) -> tuple[tuple[int, int], ...]:
        return tuple((stat.st_mtime_ns, stat.st_ino) for stat in (path.stat() for path in self._files))
