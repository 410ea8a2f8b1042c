"""`python -m segdepth_api`: the api with the settings of SEGDEPTH_API_* variables."""

import uvicorn

from segdepth_api.app import create_app
from segdepth_api.settings import ApiSettings


def main() -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way are answered."""
    settings = ApiSettings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=settings.drain_timeout_s,
        log_config=None,
        access_log=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
