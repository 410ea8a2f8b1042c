"""Messages of a stream as bytes.

Python's protobuf copies a frame's pixels twice on their way into a message and out of it, and would parse every result
only to write it again. So packs of frames are cut by hand, the pixels staying where gRPC put them, and answers are put
together around the replica's serialized results. What is not laid out as expected goes to protobuf itself.
"""

from google.protobuf.message import DecodeError

from segdepth_protos.v1 import estimator_pb2, frame_pb2

_FRAMES_TAG = estimator_pb2.EstimateStreamRequest.FRAMES_FIELD_NUMBER << 3 | 2
_FRAME_TAG = estimator_pb2.FramePack.FRAMES_FIELD_NUMBER << 3 | 2
_SEQUENCE_TAG = frame_pb2.Frame.SEQUENCE_FIELD_NUMBER << 3
_HEIGHT_TAG = frame_pb2.Frame.HEIGHT_FIELD_NUMBER << 3
_WIDTH_TAG = frame_pb2.Frame.WIDTH_FIELD_NUMBER << 3
_DTYPE_TAG = frame_pb2.Frame.DTYPE_FIELD_NUMBER << 3
_DATA_TAG = frame_pb2.Frame.DATA_FIELD_NUMBER << 3 | 2
_CAPTURE_TIME_TAG = frame_pb2.Frame.CAPTURE_TIME_FIELD_NUMBER << 3 | 2
_CALIBRATION_TAG = frame_pb2.Frame.CALIBRATION_FIELD_NUMBER << 3 | 2

_ANSWERS = bytes([estimator_pb2.EstimateStreamResponse.ANSWERS_FIELD_NUMBER << 3 | 2])
_ANSWER = bytes([estimator_pb2.AnswerPack.ANSWERS_FIELD_NUMBER << 3 | 2])
_RESULT = bytes([estimator_pb2.Answer.RESULT_FIELD_NUMBER << 3 | 2])
_UNARY_RESULT = bytes([estimator_pb2.EstimateResponse.RESULT_FIELD_NUMBER << 3 | 2])


class Malformed(ValueError):
    """Bytes that are no message."""


class _Unexpected(Exception):
    """A layout that only protobuf itself should judge."""


class ReceivedFrame:
    """A frame as it came: the fields of pb.Frame, with pixels that are still part of gRPC's buffer."""

    __slots__ = ("calibration", "data", "dtype", "height", "sequence", "width")

    def __init__(self) -> None:
        self.sequence = 0
        self.height = 0
        self.width = 0
        self.dtype = 0
        self.data: memoryview | bytes = b""
        self.calibration: bytes | None = None
        """Serialized; None = the stream's."""


def read_request(message: bytes) -> estimator_pb2.Open | list[ReceivedFrame]:
    """The frames of an EstimateStreamRequest, or its Open. Malformed."""
    try:
        return _read_pack(message)
    except (_Unexpected, IndexError):
        pass
    try:
        request = estimator_pb2.EstimateStreamRequest.FromString(message)
    except DecodeError as error:
        raise Malformed(f"message: not an EstimateStreamRequest ({error})") from error
    if request.WhichOneof("message") == "open":
        return request.open
    return [received(frame) for frame in request.frames.frames]


def received(frame: frame_pb2.Frame) -> ReceivedFrame:
    """A parsed frame."""
    copy = ReceivedFrame()
    copy.sequence, copy.height, copy.width, copy.dtype = frame.sequence, frame.height, frame.width, frame.dtype
    copy.data = frame.data
    copy.calibration = frame.calibration.SerializeToString() if frame.HasField("calibration") else None
    return copy


def _read_pack(message: bytes) -> list[ReceivedFrame]:
    view = memoryview(message)
    if not message or message[0] != _FRAMES_TAG:
        raise _Unexpected
    size, at = _varint(message, 1)
    if at + size != len(message):
        raise _Unexpected
    frames = []
    while at < len(message):
        if message[at] != _FRAME_TAG:
            raise _Unexpected
        size, at = _varint(message, at + 1)
        if at + size > len(message):
            raise _Unexpected
        frames.append(_read_frame(message, view, at, at + size))
        at += size
    return frames


def _read_frame(message: bytes, view: memoryview, at: int, end: int) -> ReceivedFrame:
    frame = ReceivedFrame()
    while at < end:
        tag = message[at]
        value, at = _varint(message, at + 1)
        if tag == _DATA_TAG:
            frame.data = view[at : at + value]
            at += value
        elif tag == _SEQUENCE_TAG:
            frame.sequence = value
        elif tag == _HEIGHT_TAG:
            frame.height = value
        elif tag == _WIDTH_TAG:
            frame.width = value
        elif tag == _DTYPE_TAG:
            frame.dtype = value
        elif tag == _CALIBRATION_TAG and frame.calibration is None:
            frame.calibration = message[at : at + value]
            at += value
        elif tag == _CAPTURE_TIME_TAG:
            at += value
        else:
            raise _Unexpected
    if at != end or frame.height >> 32 or frame.width >> 32 or frame.dtype >> 31 or frame.sequence >> 64:
        raise _Unexpected
    return frame


def _varint(message: bytes, at: int) -> tuple[int, int]:
    byte = message[at]
    if byte < 0x80:
        return byte, at + 1
    value = byte & 0x7F
    shift = 7
    while True:
        at += 1
        byte = message[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
        shift += 7
        if shift > 63:
            raise _Unexpected


def varint(value: int) -> bytes:
    """A number as protobuf writes it: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def result_answer(result: bytes, sequence: int, queue_ms: float, total_ms: float) -> list[bytes]:
    """Parts of an AnswerPack that hold the result.

    A message appended to another of its type is merged into it: so the sequence and our timings need no parsing.
    """
    ours = finish(sequence, queue_ms, total_ms)
    body = _RESULT + varint(len(result) + len(ours))
    return [_ANSWER, varint(len(body) + len(result) + len(ours)), body, result, ours]


def finish(sequence: int, queue_ms: float, total_ms: float) -> bytes:
    """What the gateway knows of a result, to be appended to it."""
    timings = frame_pb2.Timings(queue_ms=queue_ms, total_ms=total_ms)
    return frame_pb2.FrameResult(sequence=sequence, timings=timings).SerializeToString()


def gap_answer(first: int, last: int, reason: estimator_pb2.GapReason.ValueType, detail: str) -> list[bytes]:
    """Parts of an AnswerPack that hold the gap."""
    gap = estimator_pb2.Gap(first=first, last=last, reason=reason, detail=detail)
    answer = estimator_pb2.Answer(gap=gap).SerializeToString()
    return [_ANSWER, varint(len(answer)), answer]


def answers(parts: list[bytes]) -> bytes:
    """Parts of an AnswerPack as an EstimateStreamResponse."""
    return b"".join((_ANSWERS, varint(sum(map(len, parts))), *parts))


def estimate_response(result: bytes, sequence: int, queue_ms: float, total_ms: float) -> bytes:
    """A unary call's EstimateResponse."""
    ours = finish(sequence, queue_ms, total_ms)
    return b"".join((_UNARY_RESULT, varint(len(result) + len(ours)), result, ours))
