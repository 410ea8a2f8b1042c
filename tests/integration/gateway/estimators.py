"""An estimator whose answers a test can predict: it adds up pixels. `family` of the options says how it behaves."""

import asyncio
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth_protos.contract import UnknownModel
from segdepth_protos.v1 import estimator_pb2, frame_pb2

REFUSED_PIXEL = 255
"""A frame whose first pixel is this is outside the domain."""


class SumEstimator:
    """Its FrameResult has one column whose x_px is the frame's sum."""

    def __init__(self) -> None:
        self.ready = True
        self.problem = self.shadow_problem = ""

    async def estimate(
        self, pixels: list[NDArray[Any]], calibrations: list[bytes], options: bytes
    ) -> tuple[list[bytes], list[int]]:
        asked = estimator_pb2.EstimateOptions.FromString(options)
        behaviour, _, argument = asked.family.partition(":")
        if behaviour == "unknown":
            raise UnknownModel("options.family: there is only 'sum'")
        if behaviour == "sleep":
            await asyncio.sleep(float(argument))
        if behaviour == "die":
            os._exit(1)
        if behaviour == "fail" and any(int(frame[0, 0]) == int(argument) for frame in pixels):
            raise ZeroDivisionError("this frame is too much")
        statuses = [
            frame_pb2.DOMAIN_STATUS_REFUSED if frame[0, 0] == REFUSED_PIXEL else frame_pb2.DOMAIN_STATUS_OK
            for frame in pixels
        ]
        pairs = zip(pixels, calibrations, statuses, strict=True)
        return [_result(*pair).SerializeToString() for pair in pairs], [int(status) for status in statuses]

    async def set(self, ready: bool, problem: str) -> None:
        self.ready, self.problem = ready, problem

    async def pid(self) -> int:
        return os.getpid()

    async def status(self) -> dict[str, Any]:
        return {
            "ready": self.ready,
            "family": "sum",
            "version": "1",
            "sha256": "0" * 64,
            "engine": "numpy",
            "best_batch": 8,
            "problem": self.problem,
            "shadow_problem": self.shadow_problem,
        }


class InProcess(SumEstimator):
    """The same answers without Ray, for what concerns the gateway alone."""

    running = 1

    async def statuses(self) -> list[dict[str, Any]]:
        return [await self.status()] * self.running


class Held(InProcess):
    """Answers nothing before it may, and tells that it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def estimate(
        self, pixels: list[NDArray[Any]], calibrations: list[bytes], options: bytes
    ) -> tuple[list[bytes], list[int]]:
        self.asked.set()
        await self.may_answer.wait()
        return await super().estimate(pixels, calibrations, options)


def _result(frame: NDArray[Any], calibration: bytes, status: frame_pb2.DomainStatus.ValueType) -> frame_pb2.FrameResult:
    result = frame_pb2.FrameResult(height=frame.shape[0], width=frame.shape[1])
    result.calibration.ParseFromString(calibration)
    result.model.family, result.model.version = "sum", "1"
    result.domain.status = status
    result.domain.checks.add(name="first pixel", status=status, value=float(frame[0, 0]), message="is 255")
    result.columns.size = 1
    result.columns.x_px = np.float32(frame.sum(dtype=np.float64)).tobytes()
    result.timings.network_ms = 1.0
    return result


def sum_of(result: frame_pb2.FrameResult) -> float:
    """What the estimator added up."""
    return float(np.frombuffer(result.columns.x_px, np.float32)[0])
