"""A camera on p4p's own server, on free ports of loopback: nothing of it is on the network."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from segdepth import Calibration, Frame
from segdepth.live.frame_attributes import attributes_of
from segdepth.live.pva import PvaSource
from segdepth.live.pva_server import FrameChannel, PvaServer

NAME = "TEST:CAM:Image"
ATTRIBUTES = attributes_of(Calibration(0.1, dose_per_A2=200.0))


def picture(value=3, shape=(6, 8), dtype="u2"):
    return np.full(shape, value, dtype)


class Camera:
    """Serves frames at the command of a test, which reads them frame by frame."""

    def __init__(self):
        self.channel = FrameChannel(NAME)
        self.server = PvaServer(self.channel, port=0, search_port=0)
        self.conf = self.server.client_conf()
        self.states, self.notes = [], []

    def post(self, number, value=3, *, time=None, attributes=ATTRIBUTES, **shape):
        self.channel.post(picture(value, **shape), number, time, attributes)

    @contextmanager
    def source(self, calibration=None, **more) -> Iterator["Reader"]:
        more = {"patience_s": 20.0, "conf": self.conf} | more
        with PvaSource(
            NAME,
            calibration,
            on_state=lambda state, detail: self.states.append((state.value, detail)),
            on_note=self.notes.append,
            **more,
        ) as source:
            reader = Reader(source)
            yield reader
            source.close()
            reader.rest()

    def close(self):
        self.server.close()

    @property
    def state_names(self):
        return [name for name, _ in self.states]


class Reader:
    """Reads a source in a thread of its own, as a stream does."""

    def __init__(self, source):
        self.source, self.frames, self.error = source, [], None
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        try:
            for frame in self.source.frames():
                with self._arrived:
                    self.frames.append(frame)
                    self._arrived.notify()
        except BaseException as error:  # noqa: BLE001 - for the test to see
            self.error = error
        with self._arrived:
            self._arrived.notify()

    def until(self, condition, timeout_s=20.0):
        """Wait for what the thread brings about."""
        with self._arrived:
            for _ in range(int(timeout_s / 0.02)):
                if condition():
                    return self
                self._arrived.wait(0.02)
        raise TimeoutError(f"{len(self.frames)} frames, {self.source.account.as_dict()}, {self.error!r}")

    def take(self, total) -> list[Frame]:
        """All frames, once there are so many."""
        return self.until(lambda: len(self.frames) >= total).frames

    def seen(self, total):
        """The account, once it has so many frames."""
        self.until(lambda: self.source.account.seen >= total)
        return self.source.account.as_dict()

    def rest(self):
        """Once it has ended: the error, or None."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.error
