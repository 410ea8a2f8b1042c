"""Streams through real gRPC and real Serve replicas."""

import grpc
import numpy as np

from segdepth_protos.v1 import estimator_pb2, estimator_pb2_grpc, frame_pb2
from tests.integration.gateway.estimators import sum_of
from tests.integration.gateway.raw import CALIBRATION, frame, image, opening, stream


async def test_results_come_in_order_each_once(channel: grpc.aio.Channel) -> None:
    call = await stream(channel)
    for first in range(0, 300, 7):
        await call.send(*(frame(n) for n in range(first, min(first + 7, 300))))
    answers = await call.close()
    assert answers.order == list(range(300))
    assert [sum_of(answers.results[n]) for n in range(300)] == [float(image(n).sum()) for n in range(300)]
