"""From received frames to jobs: what makes a frame a frame, and which of them may travel together."""

from typing import cast

from google.protobuf.message import DecodeError

from segdepth_gateway.credit import check_answer
from segdepth_gateway.job import Job, Lane
from segdepth_gateway.wire import ReceivedFrame
from segdepth_protos import contract
from segdepth_protos.v1 import estimator_pb2, frame_pb2


class Intake:
    """Turns the frames of one stream, or of one call, into jobs."""

    def __init__(self, options: estimator_pb2.EstimateOptions, calibration: frame_pb2.Calibration | None):
        """`calibration`, checked already, is that of every frame that brings none of its own."""
        self._calibration = calibration.SerializeToString() if calibration is not None else None
        self._detail = options.detail
        self._options = _for_replica(options)
        self._shape: tuple[int, int] | None = None
        self._lane: Lane | None = None
        self._checked: bytes | None = None

    def prepare(self, job: Job, frame: ReceivedFrame) -> None:
        """Give the job its pixels, calibration and lane. InvalidFrame."""
        parsed = cast(frame_pb2.Frame, frame)  # it has the fields that the contract looks at
        contract.check_frame(parsed)
        job.calibration = self._calibration_of(frame)
        if self._lane is None or self._lane.shape != (frame.height, frame.width):
            check_answer(self._detail, frame.height, frame.width)
        job.pixels = contract.decode_pixels(parsed)
        job.lane = self._lane_of(job.pixels.shape, job.pixels.dtype.str)

    def _calibration_of(self, frame: ReceivedFrame) -> bytes:
        shape = (frame.height, frame.width)
        if frame.calibration is not None:
            self._check(frame.calibration)
            self._shape = self._shape or shape
            return frame.calibration
        if self._calibration is None:
            contract.check_calibration(frame_pb2.Calibration())
        assert self._calibration is not None
        if self._shape is None:
            self._shape = shape
        elif shape != self._shape:
            raise contract.InvalidFrame(
                "frame.height, frame.width",
                f"{shape[0]}x{shape[1]} px in a stream of {self._shape[0]}x{self._shape[1]} px: its sampling would be a"
                " guess; send it with a calibration of its own",
            )
        return self._calibration

    def _check(self, calibration: bytes) -> None:
        if calibration == self._checked:
            return
        try:
            contract.check_calibration(frame_pb2.Calibration.FromString(calibration))
        except DecodeError as error:
            raise contract.InvalidFrame("frame.calibration", "cannot be decoded") from error
        self._checked = calibration

    def _lane_of(self, shape: tuple[int, ...], dtype: str) -> Lane:
        lane = self._lane
        if lane is None or lane.shape != shape or lane.dtype != dtype:
            lane = self._lane = Lane(shape, dtype, self._options)
        return lane


def _for_replica(options: estimator_pb2.EstimateOptions) -> bytes:
    """What replicas need to know, so that frames of callers who differ in the rest share a micro-batch."""
    needed = estimator_pb2.EstimateOptions(family=options.family, version=options.version, detail=options.detail)
    return needed.SerializeToString(deterministic=True)
