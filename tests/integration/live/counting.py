"""The real gateway in a thread, before an estimator that finds one column in each frame. Nothing here needs Ray."""

import asyncio
import threading
from collections import deque
from contextlib import contextmanager

import numpy as np

from segdepth_protos import contract
from segdepth_protos.v1 import frame_pb2
from tests.integration.gateway.estimators import REFUSED_PIXEL, InProcess
from tests.integration.gateway.harness import running


class Counting(InProcess):
    """One column of five atoms at x = the frame's first pixel; `delay_s` is how long a batch takes."""

    def __init__(self, delay_s: float = 0.0):
        super().__init__()
        self.delay_s, self.calibrations = delay_s, deque(maxlen=10)

    async def estimate(self, pixels, calibrations, options):
        await asyncio.sleep(self.delay_s)
        self.calibrations += [frame_pb2.Calibration.FromString(one) for one in calibrations]
        results = [_result(frame, one) for frame, one in zip(pixels, calibrations, strict=True)]
        return [one.SerializeToString() for one in results], [int(one.domain.status) for one in results]


def _result(frame, calibration):
    result = frame_pb2.FrameResult(height=frame.shape[0], width=frame.shape[1])
    result.calibration.ParseFromString(calibration)
    result.model.family, result.model.version = "count", "1"
    if frame[0, 0] == REFUSED_PIXEL:
        result.domain.status = frame_pb2.DOMAIN_STATUS_REFUSED
        result.domain.checks.add(name="pixels", status=result.domain.status, value=255, message="first pixel is 255")
        return result
    result.domain.status = frame_pb2.DOMAIN_STATUS_OK
    table = result.columns
    table.size, table.species, table.count, table.lo90, table.hi90 = 1, b"\x01", b"\x05", b"\x05", b"\x06"
    table.abstained = b"\x00"
    table.x_px, table.y_px = np.array([frame[0, 0]], "<f4").tobytes(), np.array([1], "<f4").tobytes()
    probabilities = np.zeros((1, contract.CLASSES), "<f4")
    probabilities[0, 5:7] = 0.75, 0.25
    table.probabilities = probabilities.tobytes()
    return result


@contextmanager
def gateway(estimator, **settings):
    """The address of a gateway before this estimator."""
    loop, started, ended = asyncio.new_event_loop(), threading.Event(), None
    port = 0

    async def serve():
        nonlocal port, ended
        ended = asyncio.Event()
        async with running(estimator, **settings) as server:
            port = server.port
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)
        loop.close()
