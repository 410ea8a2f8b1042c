"""Frames written by hand are what protobuf would have written."""

from datetime import UTC, datetime

import numpy as np
import pytest

from segdepth.streaming.wire import encode, pack, varint
from segdepth_protos import contract
from segdepth_protos.v1 import estimator_pb2, frame_pb2

DTYPES = ["u1", "<u2", "<i2", "<f4", "<f2", ">u2", ">f4"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(2, 2), (11, 12), (200, 300)])
def test_a_pack_parses_as_the_frames_that_it_holds(dtype, size):
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 100, size).astype(dtype) for _ in range(3)]
    message = pack(encode(image, 2**40 + i) for i, image in enumerate(images))
    frames = estimator_pb2.EstimateStreamRequest.FromString(message).frames.frames
    for i, (frame, image) in enumerate(zip(frames, images, strict=True)):
        assert frame.sequence == 2**40 + i
        contract.check_frame(frame)
        np.testing.assert_array_equal(contract.decode_pixels(frame), image)


def test_calibration_and_capture_time_travel():
    taken = datetime(2026, 5, 1, 12, 30, 15, tzinfo=UTC)
    calibration = frame_pb2.Calibration(sampling_angstrom_per_px=0.1)
    head, pixels = encode(np.zeros((4, 4), "u1"), 1, calibration, taken)
    frame = frame_pb2.Frame.FromString(head + pixels)
    assert frame.calibration == calibration
    assert frame.capture_time.ToDatetime(UTC) == taken


def test_the_pixels_are_copied_so_that_a_camera_may_reuse_its_buffer():
    image = np.ones((4, 4), "u1")
    _, pixels = encode(image, 0)
    image[:] = 9
    assert pixels == b"\x01" * 16


def test_views_are_sent_row_by_row():
    image = np.arange(64, dtype="u2").reshape(8, 8)[::2, ::-1].T
    head, pixels = encode(image, 0)
    np.testing.assert_array_equal(contract.decode_pixels(frame_pb2.Frame.FromString(head + pixels)), image)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), "c8"), np.zeros((4, 4), "f8"), np.zeros(4, "u1"), np.zeros((0, 0), "u1"), np.zeros((1, 9))],
)
def test_what_is_no_frame_is_refused(image):
    with pytest.raises(contract.InvalidFrame, match="frame"):
        encode(image, 0)


def test_a_frame_larger_than_a_message_is_refused_before_it_is_copied():
    huge = np.broadcast_to(np.zeros(1, "f4"), (20_000, 20_000))
    with pytest.raises(contract.InvalidFrame, match="binned"):
        encode(huge, 0)


@pytest.mark.parametrize("value, encoded", [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")])
def test_varint(value, encoded):
    assert varint(value) == encoded
