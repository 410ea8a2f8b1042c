"""What makes a frame a frame, and which frames may travel together."""

from typing import Any

import numpy as np
import pytest

from segdepth_gateway import wire
from segdepth_gateway.intake import Intake
from segdepth_gateway.job import Job
from segdepth_protos import contract
from segdepth_protos.contract import InvalidFrame
from segdepth_protos.v1 import estimator_pb2, frame_pb2
from tests.integration.gateway.raw import CALIBRATION, frame, image

OTHER = frame_pb2.Calibration(sampling_angstrom_per_px=0.2)


def intake(calibration: frame_pb2.Calibration | None = CALIBRATION, **options: Any) -> Intake:
    return Intake(estimator_pb2.EstimateOptions(**options), calibration)


def prepared(tested: Intake, message: frame_pb2.Frame) -> Job:
    job = Job(message.sequence, message.sequence, len(message.data), 0.0)
    tested.prepare(job, wire.received(message))
    return job


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<i2", "<f4", "<f2"])
def test_a_job_has_the_frames_pixels_calibration_and_lane(dtype: str) -> None:
    pixels = image(7, (5, 9), dtype)
    job = prepared(intake(), frame(0, pixels))
    assert job.pixels is not None
    assert job.lane is not None
    np.testing.assert_array_equal(job.pixels, pixels, strict=True)
    assert job.calibration == CALIBRATION.SerializeToString()
    assert (job.lane.shape, job.lane.dtype) == ((5, 9), np.dtype(dtype).str)


@pytest.mark.parametrize(
    "fields, field",
    [
        ({"dtype": 99}, "frame.dtype"),
        ({"height": 1, "width": 64}, "frame.height, frame.width"),
        ({"height": 60_000, "width": 60_000}, "frame.height, frame.width"),
        ({"data": b"short"}, "frame.data"),
        ({"calibration": frame_pb2.Calibration()}, "calibration.sampling_angstrom_per_px"),
        ({"calibration": frame_pb2.Calibration(sampling_angstrom_per_px=1.0)}, "calibration.sampling_angstrom_per_px"),
    ],
)
def test_the_field_that_is_wrong_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFrame) as error:
        prepared(intake(), frame(0, **fields))
    assert error.value.field == field


def test_a_calibration_that_cannot_be_decoded() -> None:
    received = wire.received(frame(0))
    received.calibration = b"\xff"
    with pytest.raises(InvalidFrame, match=r"frame\.calibration: cannot be decoded"):
        intake().prepare(Job(0, 0, 64, 0.0), received)


def test_a_frames_own_calibration_goes_before_the_streams() -> None:
    tested = intake()
    assert prepared(tested, frame(0, calibration=OTHER)).calibration == OTHER.SerializeToString()
    assert prepared(tested, frame(1)).calibration == CALIBRATION.SerializeToString()


def test_a_calibration_is_checked_after_a_good_one_too() -> None:
    tested = intake()
    prepared(tested, frame(0, calibration=OTHER))
    for _ in range(2):
        with pytest.raises(InvalidFrame, match="missing"):
            prepared(tested, frame(1, calibration=frame_pb2.Calibration()))


def test_without_any_calibration_a_frame_is_refused() -> None:
    tested = intake(None)
    with pytest.raises(InvalidFrame, match="missing; state the pixel size"):
        prepared(tested, frame(0))
    prepared(tested, frame(1, calibration=OTHER))


@pytest.mark.parametrize("first", [{}, {"calibration": OTHER}])
def test_another_shape_needs_a_calibration_of_its_own(first: dict[str, Any]) -> None:
    tested, large = intake(), image(0, (16, 16))
    prepared(tested, frame(0, **first))
    with pytest.raises(InvalidFrame, match="16x16 px in a stream of 8x8 px"):
        prepared(tested, frame(1, large))
    assert prepared(tested, frame(2, large, calibration=OTHER)).calibration == OTHER.SerializeToString()
    prepared(tested, frame(3))


def test_frames_of_a_stream_share_a_lane_as_long_as_shape_and_dtype_stay() -> None:
    tested = intake()
    lanes = [
        prepared(tested, frame(0)).lane,
        prepared(tested, frame(1)).lane,
        prepared(tested, frame(2, image(2, (8, 8), "<u2"))).lane,
        prepared(tested, frame(3, image(3, (8, 6)), calibration=OTHER)).lane,
        prepared(tested, frame(4)).lane,
    ]
    assert lanes[0] == lanes[1] == lanes[4]
    assert len(set(lanes)) == 3


@pytest.mark.parametrize(
    "options, shared",
    [
        ({}, True),
        ({"strict": True, "priority": estimator_pb2.PRIORITY_BATCH}, True),
        ({"family": "gold"}, False),
        ({"version": "2"}, False),
        ({"detail": {"depth_map": True}}, False),
    ],
)
def test_streams_share_a_lane_if_replicas_need_not_tell_them_apart(options: dict[str, Any], shared: bool) -> None:
    ours, theirs = prepared(intake(), frame(0)).lane, prepared(intake(**options), frame(0)).lane
    assert (ours == theirs) is shared


def test_replicas_are_told_model_and_detail() -> None:
    options = {"family": "gold", "version": "2", "detail": {"confidence_map": True}}
    lane = prepared(intake(**options, strict=True), frame(0)).lane
    assert lane is not None
    assert estimator_pb2.EstimateOptions.FromString(lane.options) == estimator_pb2.EstimateOptions(**options)


def test_an_answer_that_fits_no_message_is_refused_before_the_work() -> None:
    tested = intake(detail={"probabilities": True})
    prepared(tested, frame(0))
    side = 1250
    large = frame(1, image(1, (side, side)), calibration=OTHER)
    assert 4 * contract.CLASSES * side * side > contract.MESSAGE_BYTES
    for _ in range(2):
        with pytest.raises(InvalidFrame, match="ask for less detail") as error:
            prepared(tested, large)
        assert error.value.field == "options.detail"
    prepared(intake(), large)
