"""Cutting and joining messages by hand gives what protobuf itself gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segdepth_gateway import wire
from segdepth_protos.v1 import estimator_pb2, frame_pb2

CALIBRATIONS = st.builds(frame_pb2.Calibration, sampling_angstrom_per_px=st.floats(0, 1))
FRAMES = st.builds(
    frame_pb2.Frame,
    sequence=st.integers(0, 2**64 - 1),
    height=st.integers(0, 2**32 - 1),
    width=st.integers(0, 2**32 - 1),
    dtype=st.integers(0, 6),
    data=st.binary(max_size=300),
    calibration=st.none() | CALIBRATIONS,
)


def fields(frame: wire.ReceivedFrame) -> tuple[object, ...]:
    return frame.sequence, frame.height, frame.width, frame.dtype, bytes(frame.data), frame.calibration


def request(*frames: frame_pb2.Frame) -> bytes:
    pack = estimator_pb2.FramePack(frames=frames)
    return estimator_pb2.EstimateStreamRequest(frames=pack).SerializeToString()


@given(st.lists(FRAMES, max_size=5))
def test_a_pack_reads_as_protobuf_reads_it(frames: list[frame_pb2.Frame]) -> None:
    read = wire.read_request(request(*frames))
    assert isinstance(read, list)
    assert [fields(frame) for frame in read] == [fields(wire.received(frame)) for frame in frames]


def test_pixels_are_not_copied() -> None:
    message = request(frame_pb2.Frame(data=b"abcdef"))
    read = wire.read_request(message)
    assert isinstance(read, list)
    assert isinstance(read[0].data, memoryview)
    assert read[0].data.obj is message


@given(FRAMES, st.binary(max_size=40))
def test_appended_fields_read_as_protobuf_reads_them(frame: frame_pb2.Frame, more: bytes) -> None:
    body = frame.SerializeToString() + more
    pack = b"\x0a" + wire.varint(len(body)) + body
    message = b"\x12" + wire.varint(len(pack)) + pack
    try:
        expected = estimator_pb2.EstimateStreamRequest.FromString(message)
    except wire.DecodeError:
        with pytest.raises(wire.Malformed):
            wire.read_request(message)
        return
    read = wire.read_request(message)
    assert isinstance(read, list)
    for got, want in zip(read, expected.frames.frames, strict=True):
        assert fields(got)[:5] == fields(wire.received(want))[:5]


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(message: bytes) -> None:
    try:
        wire.read_request(message)
    except wire.Malformed:
        with pytest.raises(wire.DecodeError):
            estimator_pb2.EstimateStreamRequest.FromString(message)


def test_an_open_is_an_open() -> None:
    message = estimator_pb2.EstimateStreamRequest(open=estimator_pb2.Open(stream="s")).SerializeToString()
    assert wire.read_request(message) == estimator_pb2.Open(stream="s")


@given(st.integers(0, 2**64 - 1), st.binary(max_size=200))
def test_answers_are_what_protobuf_would_write(sequence: int, depth: bytes) -> None:
    result = frame_pb2.FrameResult(depth_map=depth, timings=frame_pb2.Timings(network_ms=3))
    parts = wire.result_answer(result.SerializeToString(), sequence, 1.5, 2.5)
    parts += wire.gap_answer(7, 9, estimator_pb2.GAP_REASON_DROPPED, "late")
    pack = estimator_pb2.EstimateStreamResponse.FromString(wire.answers(parts)).answers.answers
    timings = frame_pb2.Timings(network_ms=3, queue_ms=1.5, total_ms=2.5)
    assert pack[0].result == frame_pb2.FrameResult(sequence=sequence, depth_map=depth, timings=timings)
    assert pack[1].gap == estimator_pb2.Gap(first=7, last=9, reason=2, detail="late")


def test_a_unary_answer() -> None:
    result = frame_pb2.FrameResult(height=4)
    response = estimator_pb2.EstimateResponse.FromString(
        wire.estimate_response(result.SerializeToString(), 5, queue_ms=1, total_ms=2)
    )
    assert (response.result.height, response.result.sequence, response.result.timings.total_ms) == (4, 5, 2)
