"""A server that runs in a thread of its own, so that clients with and without asyncio can talk to it.

And one whole stack on a small model, for what must be the same in process and over the wire.
"""

import asyncio
import threading

import pytest

import segdepth
from segdepth_stack.settings import StackSettings
from segdepth_stack.stack import Stack
from tests.integration.sdk.service import Plan, serve
from tests.models import tiny_store


class Running:
    """The server of a plan: start it, stop it hard, start it again at the same port."""

    def __init__(self, plan):
        self.plan, self.port, self._server = plan, 0, None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    def start(self, credentials=None):
        self._server, self.port = self._run(serve(self.plan, self.port, credentials))

    def kill(self):
        """No grace: every call is cut."""
        self._run(self._server.stop(None))

    def close(self):
        self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"


@pytest.fixture
def plan():
    return Plan()


@pytest.fixture
def server(plan):
    running = Running(plan)
    yield running
    running.close()


@pytest.fixture(scope="package")
def store(tmp_path_factory):
    """A store whose model knows only frames like `lattice_frame`."""
    return tiny_store(tmp_path_factory.mktemp("sdk") / "store", strict_domain=True)


@pytest.fixture(scope="package")
def address(store):
    """A stack that serves it."""
    with Stack(StackSettings(store=str(store), port=0, http_port=0, metrics_port=0)) as stack:
        yield stack.address


@pytest.fixture(scope="package")
def local(store):
    with segdepth.connect("local", store=str(store)) as client:
        yield client
