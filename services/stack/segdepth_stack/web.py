"""The api in a thread of this process: it needs neither Ray nor torch, and ends with us whatever happens."""

import socket
import threading
import time

import uvicorn

from segdepth_api.app import create_app
from segdepth_api.settings import ApiSettings
from segdepth_stack.node_process import StackFailed


class Web:
    """The api's server, running from the construction to `stop`."""

    def __init__(self, settings: ApiSettings, listener: socket.socket):
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(settings),
                log_config=None,
                access_log=False,
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
                timeout_graceful_shutdown=settings.drain_timeout_s,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="segdepth-api", daemon=True
        )
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> None:
        """Return when requests are answered. StackFailed otherwise."""
        end = time.monotonic() + timeout_s
        while not self._server.started:
            self.check()
            if time.monotonic() > end:
                raise StackFailed(f"the api is not ready after {timeout_s:g} s")
            time.sleep(0.05)

    def check(self) -> None:
        """StackFailed if the server has ended."""
        if not self._thread.is_alive():
            raise StackFailed("the api ended; its log says why")

    def stop(self) -> None:
        """Take no more requests, answer those under way, stop."""
        self._server.should_exit = True
        self._thread.join()
