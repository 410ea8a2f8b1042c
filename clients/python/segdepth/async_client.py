"""The client for asyncio. Its twin without, client.py, is generated from this file: `make client`."""

from collections.abc import AsyncIterator
from dataclasses import replace
from types import TracebackType
from typing import Any, NoReturn, Self

from numpy.typing import NDArray

from segdepth.account import Account
from segdepth.arguments import checked, flag, text, wait_s, whole
from segdepth.calibration import Calibration, Options, Policy, as_options, estimate_request, stream_request
from segdepth.errors import InvalidFrame, InvalidType, OutsideDomain
from segdepth.models import numbers_of
from segdepth.results import Answer, ChannelChange, FrameResult, Gap, ModelInfo
from segdepth.streaming.answers import AnswerStream
from segdepth.streaming.source import Frames, check_source
from segdepth.streaming.window import WAITING_FRAMES, Window
from segdepth.tracks.asked import AskedSums
from segdepth.tracks.kept import KEPT_BYTES, KeptFrames, OnAnswer
from segdepth.tracks.results import TrackedFrame
from segdepth.tracks.settings import Tracking
from segdepth.tracks.sums import Sum
from segdepth.tracks.tracker import Tracker, in_parts
from segdepth.transport import TIMEOUT_S, Transport
from segdepth_protos.v1 import estimator_pb2, models_pb2


class AsyncStream(AsyncIterator[Answer]):
    """Answers in order, each sequence number exactly once: a FrameResult, or part of a Gap.

    Raises a SegDepthError when the stream cannot go on, after everything that was answered. Close it (or use
    `async with`) to leave before its end.
    """

    def __init__(self, transport: Transport, opening: estimator_pb2.Open, window: Window, frames: Frames):
        self._transport, self._opening, self._window, self._frames = transport, opening, window, frames
        self._stream: AnswerStream | None = None
        self._answers: list[Answer] = []
        self._closed = False

    async def __anext__(self) -> Answer:
        if not self._answers:
            answers = await self.next_answers()
            self._answers = answers[::-1]
        if not self._answers:
            raise StopAsyncIteration
        return self._answers.pop()

    async def next_answers(self) -> list[Answer]:
        """All answers that are there, at least one; an empty list at the end. Faster than one by one."""
        if self._closed:
            return []
        if self._stream is None:
            self._stream = AnswerStream(await self._transport.carrier(), self._opening, self._window)
            await self._stream.start(self._frames)
        return await self._stream.next_answers()

    async def close(self) -> None:
        """End the stream now. Frames under way are not answered."""
        self._closed = True
        self._answers = []
        if self._stream is not None:
            await self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncClient:
    """Estimates atom counts, on a server or in this process. Made by `segdepth.connect_async`."""

    def __init__(self, transport: Transport):
        self._transport = transport

    async def estimate(
        self,
        image: NDArray[Any],
        calibration: Calibration | float,
        options: Options | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> FrameResult:
        """Atom counts of one frame.

        image: array [height, width] of u8, u16, i16, f16 or f32; calibration: the pixel size [Å/px], or a Calibration
        that says more. A frame outside the model's domain gives a result that is `refused`.

        Raises InvalidFrame (InvalidType for what is no array, number, Options), UnknownModel, OutsideDomain (with
        `options.strict`), Overloaded, TimedOut, Unavailable.
        """
        options, timeout_s = as_options(options), wait_s(timeout_s)
        request = estimate_request(image, calibration, options)
        response = await self._transport.estimate(request, timeout_s)
        result = FrameResult(response.result)
        if options.strict and result.refused:
            raise OutsideDomain(result.domain.why())
        return result

    def stream(
        self,
        frames: Frames,
        calibration: Calibration | float | None = None,
        options: Options | None = None,
        *,
        policy: Policy = "block",
        frame_deadline_s: float | None = None,
        name: str = "",
        waiting_frames: int = WAITING_FRAMES,
    ) -> AsyncStream:
        """Atom counts of a movie or a live camera: answers in the order of the frames.

        frames: arrays, or `Frame`s with a number or calibration of their own, from an iterable (read in a thread of its
        own) or an async iterable; calibration: for every frame that brings none; policy: what happens when the way is
        full: `block` waits (files), `drop_oldest` turns the oldest of `waiting_frames` into a Gap (live view);
        frame_deadline_s: a frame not answered after this long becomes a Gap; name: for the server's log.

        The stream reconnects, sends again and resumes by itself. A frame that is none becomes a Gap that says why;
        InvalidType is raised where `frames` as a whole cannot be a movie: one image, a file's name.
        """
        check_source(frames)
        waiting_frames = whole(waiting_frames, "waiting_frames")
        if waiting_frames < 1:
            raise InvalidFrame(f"waiting_frames: {waiting_frames} is less than one", "waiting_frames")
        opening = stream_request(name, calibration, options, policy, frame_deadline_s)
        return AsyncStream(self._transport, opening, Window(policy, waiting_frames), frames)

    def track(
        self,
        frames: Frames,
        calibration: Calibration | float | None = None,
        options: Options | None = None,
        *,
        tracking: Tracking | None = None,
        policy: Policy = "block",
        frame_deadline_s: float | None = None,
        name: str = "",
        timeout_s: float = TIMEOUT_S,
        answered: OnAnswer | None = None,
    ) -> AsyncIterator[TrackedFrame]:
        """Columns of a movie or a live camera through time: drift, each column's count, and when it changed.

        frames, calibration, options, policy, frame_deadline_s, name: as of `stream`; tracking: how, see `Tracking`:
        `Tracking(lag_frames=0)` is live. What comes back are the frames in order, each once, also those without an
        answer. Sums of frames are asked about beside the stream, each within `timeout_s`, again and again where the
        service is away for a while; under drop_oldest a sum that is not answered, or complete before the one before it
        is answered, is left out. `answered` is told of each answer of the stream as it comes.

        Raises NotSupported for a model that was released without the numbers that tracking needs, and what `stream` and
        `estimate` do.
        """
        tracking = checked(tracking or Tracking(), Tracking, "tracking", "a Tracking, such as Tracking()")
        check_source(frames)
        kept = KeptFrames(frames, most_bytes=None if policy == "block" else KEPT_BYTES)
        # Maps would be sent for nothing.
        options = as_options(options).with_detail(depth_map=False, confidence_map=False, probabilities=False)
        stream = self.stream(
            kept.frames(), calibration, options, policy=policy, frame_deadline_s=frame_deadline_s, name=name
        )
        sums = AskedSums(self._transport, policy, tracking, wait_s(timeout_s))
        return self._tracked(stream, kept, Tracker(tracking), sums, options, answered)

    async def _tracked(
        self,
        stream: AsyncStream,
        kept: KeptFrames,
        tracker: Tracker,
        sums: AskedSums,
        options: Options,
        answered: OnAnswer | None,
    ) -> AsyncIterator[TrackedFrame]:
        ended: Exception | None = None
        async with stream:
            try:
                async for answer in stream:
                    if answered is not None:
                        answered(answer)
                    if isinstance(answer, FrameResult) and not answer.refused and not tracker.knows(answer.model):
                        tracker.learn(answer.model, numbers_of(await self.models(answer.model.family), answer.model))
                    sequence = answer.last if isinstance(answer, Gap) else answer.sequence
                    if said := await self._said(sums, sequence):
                        tracker.add_sum(*said)
                    image = kept.take(sequence)
                    for part in in_parts(answer):
                        for frame in tracker.add(part, image):
                            yield frame
                    if sums.free and (total := tracker.take_sum()):
                        model = tracker.model
                        asked = replace(options, model=model.family, version=model.version, strict=False)
                        await sums.ask(total, estimate_request(total.image, total.calibration, asked), sequence)
                if said := await self._said(sums, None):
                    tracker.add_sum(*said)
            except Exception as error:  # noqa: BLE001 - raised below, after the frames that waited for others
                ended = error
            finally:
                sums.close()
            for frame in tracker.finish():
                yield frame
        if ended is not None:
            raise ended

    async def _said(self, sums: AskedSums, sequence: int | None) -> tuple[Sum, FrameResult] | None:
        """A sum with its answer, if it is there before that frame, or has to be."""
        if sums.due(sequence):
            await sums.wait()
        return sums.take(sequence)

    async def models(self, family: str = "", *, timeout_s: float = TIMEOUT_S) -> list[ModelInfo]:
        """The models that the server has, of one family or all."""
        request = models_pb2.ListModelsRequest(family=text(family, "family"))
        response = await self._transport.list_models(request, wait_s(timeout_s))
        return [ModelInfo.from_message(model) for model in response.models]

    async def promote(
        self, family: str, version: str, reason: str, *, force: bool = False, timeout_s: float = TIMEOUT_S
    ) -> ChannelChange:
        """Point `stable` at a version. Raises GateRefused (unless `force`), Conflict, NotPermitted."""
        request = models_pb2.PromoteRequest(
            family=text(family, "family"),
            version=text(version, "version"),
            reason=text(reason, "reason"),
            force=flag(force, "force"),
        )
        response = await self._transport.admin().promote(request, wait_s(timeout_s))
        return ChannelChange.from_message(response.change)

    async def rollback(self, family: str, reason: str, *, timeout_s: float = TIMEOUT_S) -> ChannelChange:
        """Point `stable` back at the version before. Raises GateRefused if there is none, Conflict, NotPermitted."""
        request = models_pb2.RollbackRequest(family=text(family, "family"), reason=text(reason, "reason"))
        response = await self._transport.admin().rollback(request, wait_s(timeout_s))
        return ChannelChange.from_message(response.change)

    async def history(self, family: str, *, timeout_s: float = TIMEOUT_S) -> list[ChannelChange]:
        """Every change of the family's channels, newest first. Raises NotPermitted."""
        request = models_pb2.HistoryRequest(family=text(family, "family"))
        response = await self._transport.admin().history(request, wait_s(timeout_s))
        return [ChannelChange.from_message(change) for change in response.changes]

    async def whoami(self, *, timeout_s: float = TIMEOUT_S) -> Account:
        """Whom the server takes the caller for. Raises NotAuthenticated, NotSupported in local mode."""
        return Account.from_message(await self._transport.whoami(wait_s(timeout_s)))

    async def healthy(self, *, timeout_s: float = TIMEOUT_S) -> bool:
        """Whether a model answers. Raises Unavailable if nobody does."""
        return await self._transport.healthy(wait_s(timeout_s))

    def __reduce__(self) -> NoReturn:
        raise InvalidType("a client cannot go to another process: its connection stays here; connect there")

    async def close(self) -> None:
        """Close the connection."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
