"""A client without any comfort: it speaks the wire's messages, and sees everything that goes over it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from segdepth_protos import contract
from segdepth_protos.v1 import estimator_pb2, estimator_pb2_grpc, frame_pb2

CALIBRATION = frame_pb2.Calibration(sampling_angstrom_per_px=0.1)


def image(number: int, shape: tuple[int, int] = (8, 8), dtype: str = "u1") -> NDArray[Any]:
    """A picture whose sum tells which it is; its first pixel is 0."""
    pixels = np.zeros(shape, dtype)
    pixels.flat[1] = number % 256
    pixels.flat[2] = number // 256
    return pixels


def frame(sequence: int, pixels: NDArray[Any] | None = None, **fields: Any) -> frame_pb2.Frame:
    message = contract.encode_frame(image(sequence) if pixels is None else pixels, sequence)
    for name, value in fields.items():
        if name == "calibration":
            message.calibration.CopyFrom(value)
        else:
            setattr(message, name, value)
    return message


def opening(**fields: Any) -> estimator_pb2.Open:
    """Open with a calibration; `deadline_s` for frame_deadline."""
    fields.setdefault("calibration", CALIBRATION)
    deadline_s = fields.pop("deadline_s", None)
    message = estimator_pb2.Open(stream="test", **fields)
    if deadline_s is not None:
        message.frame_deadline.CopyFrom(Duration(nanos=round(deadline_s * 1e9)))
    return message


@dataclass
class Answers:
    """What came back."""

    results: dict[int, frame_pb2.FrameResult] = field(default_factory=dict)
    gaps: list[estimator_pb2.Gap] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    """Every sequence number in the order of its answer."""
    reopen: str | None = None

    def take(self, response: estimator_pb2.EstimateStreamResponse) -> None:
        kind = response.WhichOneof("message")
        if kind == "reopen":
            self.reopen = response.reopen.reason
        for answer in response.answers.answers:
            if answer.WhichOneof("answer") == "result":
                self.results[answer.result.sequence] = answer.result
                self.order.append(answer.result.sequence)
            else:
                self.gaps.append(answer.gap)
                self.order.extend(range(answer.gap.first, answer.gap.last + 1))

    def reasons(self) -> dict[int, str]:
        names = estimator_pb2.GapReason
        return {n: names.Name(gap.reason)[11:] for gap in self.gaps for n in range(gap.first, gap.last + 1)}


class RawStream:
    """One EstimateStream call."""

    def __init__(self, channel: grpc.aio.Channel, message: estimator_pb2.Open):
        self.call = estimator_pb2_grpc.EstimatorServiceStub(channel).EstimateStream()
        self._open = message
        self.opened = estimator_pb2.Opened()
        self.answers = Answers()

    async def open(self) -> "RawStream":
        await self.call.write(estimator_pb2.EstimateStreamRequest(open=self._open))
        response = await self.call.read()
        if response is grpc.aio.EOF:
            await self.finish()
        assert response.WhichOneof("message") == "opened", response
        self.opened = response.opened
        return self

    async def send(self, *frames: frame_pb2.Frame) -> None:
        pack = estimator_pb2.FramePack(frames=frames)
        await self.call.write(estimator_pb2.EstimateStreamRequest(frames=pack))

    async def send_all(self, frames: Iterable[frame_pb2.Frame]) -> None:
        """One message each."""
        for one in frames:
            await self.send(one)

    async def until(self, sequence: int) -> Answers:
        """Read until this number was answered."""
        while sequence not in self.answers.order:
            response = await self.call.read()
            if response is grpc.aio.EOF:
                await self.finish()
                raise AssertionError(f"the stream ended before {sequence} was answered")
            self.answers.take(response)
        return self.answers

    async def close(self) -> Answers:
        """Send no more, and read to the end. AioRpcError unless it ended well."""
        await self.call.done_writing()
        return await self.rest()

    async def rest(self) -> Answers:
        while (response := await self.call.read()) is not grpc.aio.EOF:
            self.answers.take(response)
        await self.finish()
        return self.answers

    async def finish(self) -> None:
        code = await self.call.code()
        if code is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(
                code, await self.call.initial_metadata(), await self.call.trailing_metadata(), await self.call.details()
            )


async def stream(channel: grpc.aio.Channel, message: estimator_pb2.Open | None = None) -> RawStream:
    return await RawStream(channel, message or opening()).open()
