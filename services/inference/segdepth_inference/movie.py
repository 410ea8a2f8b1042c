"""A movie through a model in this process: in order, batched while busy, every sequence number accounted for once."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from segdepth_core.messages import frame_result
from segdepth_core.prediction import Prediction, Status
from segdepth_protos.contract import InvalidFrame, check_calibration, check_frame
from segdepth_protos.v1 import estimator_pb2 as es
from segdepth_protos.v1 import frame_pb2 as pb

Predict = Callable[[list[pb.Frame], list[pb.Calibration]], list[Prediction]]


@dataclass(frozen=True)
class Answering:
    """How a movie is answered: its opening, what predicts a batch of frames, and how many frames that likes best."""

    opening: es.Open
    predict: Predict
    best_batch: int


@dataclass(frozen=True)
class _Accepted:
    """A frame that may be predicted."""

    frame: pb.Frame
    calibration: pb.Calibration
    arrived: float


class _End:
    """The movie ended, by an error or well."""

    def __init__(self, error: Exception | None = None):
        self.error = error


_Item = _Accepted | es.Gap | _End


def answer_movie(how: Answering, frames: Iterator[pb.Frame]) -> Iterator[es.Answer]:
    """Answers in the order of the frames. What `frames` raises, and InvalidFrame for its order, come after them.

    Frames are read ahead by a thread, at most two batches: those that have come while one is predicted are the next.
    """
    waiting: queue.Queue[_Item] = queue.Queue(maxsize=2 * how.best_batch)
    left = threading.Event()
    reader = threading.Thread(target=_read, args=(how.opening, frames, waiting, left), name="movie", daemon=True)
    reader.start()
    try:
        while True:
            batch = _gather(waiting, how.best_batch)
            end = batch.pop() if isinstance(batch[-1], _End) else None
            yield from _answer(how, batch)
            if isinstance(end, _End):
                if end.error is not None:
                    raise end.error
                return
    finally:
        left.set()


def _gather(waiting: "queue.Queue[_Item]", most: int) -> list[_Item]:
    """The next item, and those that wait behind it; an end is the last."""
    batch = [waiting.get()]
    while len(batch) < most and not isinstance(batch[-1], _End):
        try:
            batch.append(waiting.get_nowait())
        except queue.Empty:
            break
    return batch


def _answer(how: Answering, batch: list[_Item]) -> Iterator[es.Answer]:
    begun = time.perf_counter()
    limit_s = _deadline_s(how.opening)
    items = [_expired(item, begun, limit_s) for item in batch]
    accepted = [item for item in items if isinstance(item, _Accepted)]
    stated = [item.calibration for item in accepted]
    predictions = iter(how.predict([item.frame for item in accepted], stated) if accepted else ())
    for item in items:
        if isinstance(item, es.Gap):
            yield es.Answer(gap=item)
        elif isinstance(item, _Accepted):
            yield _answered(item, next(predictions), begun, strict=how.opening.options.strict)


def _answered(item: _Accepted, prediction: Prediction, begun: float, *, strict: bool) -> es.Answer:
    if strict and prediction.verdict.status == Status.REFUSED:
        return es.Answer(gap=_gap(item.frame.sequence, es.GAP_REASON_REFUSED, prediction.verdict.reason))
    result = frame_result(prediction, item.calibration, item.frame.sequence)
    result.timings.queue_ms = (begun - item.arrived) * 1e3
    result.timings.total_ms = (time.perf_counter() - item.arrived) * 1e3
    return es.Answer(result=result)


def _deadline_s(opening: es.Open) -> float | None:
    return opening.frame_deadline.ToTimedelta().total_seconds() if opening.HasField("frame_deadline") else None


def _expired(item: _Item, now: float, limit_s: float | None) -> _Item:
    if limit_s is None or not isinstance(item, _Accepted) or now - item.arrived <= limit_s:
        return item
    return _gap(item.frame.sequence, es.GAP_REASON_DEADLINE, f"not answered within {limit_s:g} s")


def _gap(sequence: int, reason: es.GapReason.ValueType, detail: str) -> es.Gap:
    return es.Gap(first=sequence, last=sequence, reason=reason, detail=detail)


def _read(opening: es.Open, frames: Iterator[pb.Frame], waiting: "queue.Queue[_Item]", left: threading.Event) -> None:
    """Hand on every frame, or why it is none, until the movie ends or its caller has left."""
    try:
        for item in _checked(opening, frames):
            if not _put(waiting, item, left):
                return
    except Exception as error:  # noqa: BLE001 - the caller's own thread raises it, after what came before is answered
        _put(waiting, _End(error), left)
        return
    _put(waiting, _End(), left)


def _put(waiting: "queue.Queue[_Item]", item: _Item, left: threading.Event) -> bool:
    while not left.is_set():
        try:
            waiting.put(item, timeout=0.5)
        except queue.Full:
            continue
        return True
    return False


def _checked(opening: es.Open, frames: Iterator[pb.Frame]) -> Iterator[_Item]:
    """The rules of a stream, frame by frame. Raises InvalidFrame for a sequence number twice or backwards."""
    last: int | None = None
    shape: tuple[int, int] | None = None
    for frame in frames:
        if last is not None and frame.sequence <= last:
            raise InvalidFrame("frame.sequence", f"{frame.sequence} after {last}; numbers must increase")
        if last is not None and frame.sequence > last + 1:
            yield es.Gap(first=last + 1, last=frame.sequence - 1, reason=es.GAP_REASON_NOT_SENT)
        last = frame.sequence
        own = frame.HasField("calibration")
        calibration = frame.calibration if own else opening.calibration
        try:
            check_frame(frame)
            check_calibration(calibration)
            if shape is not None and (frame.height, frame.width) != shape and not own:
                raise InvalidFrame(
                    "frame.height, frame.width",
                    f"{frame.height}x{frame.width} px, but the stream began with {shape[0]}x{shape[1]}; a frame of"
                    " another shape must bring its own calibration",
                )
        except InvalidFrame as error:
            yield _gap(frame.sequence, es.GAP_REASON_INVALID, str(error))
            continue
        shape = shape or (frame.height, frame.width)
        yield _Accepted(frame, calibration, time.perf_counter())
