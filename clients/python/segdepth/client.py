"""The client without asyncio: the same calls as `segdepth.async_client`, which does the work in a background thread."""

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from segdepth import background
from segdepth.account import Account
from segdepth.async_client import TIMEOUT_S, AsyncClient, AsyncStream
from segdepth.calibration import Calibration, Frame, Options, Policy
from segdepth.pooling import Group, Images, Pool, PooledFrames, groups, numbers_of
from segdepth.results import Answer, ChannelChange, FrameResult, ModelInfo
from segdepth.streaming.window import WAITING_FRAMES
from segdepth.transport import Transport


class Stream(Iterator[Answer]):
    """Answers in order, each sequence number exactly once: a FrameResult, or part of a Gap.

    Raises a SegDepthError when the stream cannot go on, after everything that was answered. Close it (or use `with`)
    to leave before its end.
    """

    def __init__(self, stream: AsyncStream):
        self._stream = stream
        self._answers: list[Answer] = []

    def __next__(self) -> Answer:
        if not self._answers:
            self._answers = self.next_answers()[::-1]
        if not self._answers:
            raise StopIteration
        return self._answers.pop()

    def next_answers(self) -> list[Answer]:
        """All answers that are there, at least one; an empty list at the end. Faster than one by one."""
        return background.run(self._stream.next_answers())

    def close(self) -> None:
        """End the stream now. Frames under way are not answered."""
        self._answers = []
        background.run(self._stream.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Client:
    """Estimates atom counts, on a server or in this process. Made by `segdepth.connect`."""

    def __init__(self, transport: Callable[[], Transport]):
        async def client() -> AsyncClient:
            return AsyncClient(transport())

        self._client = background.run(client())

    def estimate(
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

        Raises InvalidFrame, UnknownModel, OutsideDomain (with `options.strict`), Overloaded, TimedOut, Unavailable.
        """
        return background.run(self._client.estimate(image, calibration, options, timeout_s=timeout_s))

    def stream(
        self,
        frames: Iterable[Frame | NDArray[Any]],
        calibration: Calibration | float | None = None,
        options: Options | None = None,
        *,
        policy: Policy = "block",
        frame_deadline_s: float | None = None,
        name: str = "",
        waiting_frames: int = WAITING_FRAMES,
    ) -> Stream:
        """Atom counts of a movie or a live camera: answers in the order of the frames.

        frames: arrays, or `Frame`s with a number or calibration of their own, read in a thread of their own;
        calibration: for every frame that brings none; policy: what happens when the way is full: `block` waits (files),
        `drop_oldest` turns the oldest of `waiting_frames` into a Gap (live view); frame_deadline_s: a frame not
        answered after this long becomes a Gap; name: for the server's log.

        The stream reconnects, sends again and resumes by itself. A frame that is none becomes a Gap that says why.
        """
        return Stream(
            self._client.stream(
                frames,
                calibration,
                options,
                policy=policy,
                frame_deadline_s=frame_deadline_s,
                name=name,
                waiting_frames=waiting_frames,
            )
        )

    def pool(
        self,
        answers: Iterable[Answer],
        frames: int,
        images: Images | None = None,
        options: Options | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Iterator[PooledFrames]:
        """Pool every `frames` answered frames of a stream of a movie that stands still, by the model's own numbers.

        answers: a `stream`, or results of `estimate`, in order; refused frames and gaps are left out and counted.
        images: the movie's frames by their sequence numbers; with them the model is asked about each group's sum, too,
        within `timeout_s`, which counts better than the single frames' posteriors do together. `options` are the
        stream's own: a sum is asked with their priority.
        Drift is not tracked: frames that have moved are left out and counted too.
        Raises ValueError for fewer than two frames, NotSupported for a model that was released without the numbers,
        and for a sum what `estimate` does.
        """
        collected = Pool(lambda version: numbers_of(self.models(version.family), version), frames)
        return (self._pooled(group, images, options or Options(), timeout_s) for group in groups(answers, collected))

    def _pooled(self, group: Group, images: Images | None, options: Options, timeout_s: float) -> PooledFrames:
        asked = None if images is None else group.summed(images, options)
        return group.pooled(self.estimate(*asked, timeout_s=timeout_s) if asked else None)

    def models(self, family: str = "", *, timeout_s: float = TIMEOUT_S) -> list[ModelInfo]:
        """The models that the server has, of one family or all."""
        return background.run(self._client.models(family, timeout_s=timeout_s))

    def promote(
        self, family: str, version: str, reason: str, *, force: bool = False, timeout_s: float = TIMEOUT_S
    ) -> ChannelChange:
        """Point `stable` at a version. Raises GateRefused (unless `force`), Conflict, NotPermitted."""
        return background.run(self._client.promote(family, version, reason, force=force, timeout_s=timeout_s))

    def rollback(self, family: str, reason: str, *, timeout_s: float = TIMEOUT_S) -> ChannelChange:
        """Point `stable` back at the version before. Raises GateRefused if there is none, Conflict, NotPermitted."""
        return background.run(self._client.rollback(family, reason, timeout_s=timeout_s))

    def history(self, family: str, *, timeout_s: float = TIMEOUT_S) -> list[ChannelChange]:
        """Every change of the family's channels, newest first. Raises NotPermitted."""
        return background.run(self._client.history(family, timeout_s=timeout_s))

    def whoami(self, *, timeout_s: float = TIMEOUT_S) -> Account:
        """Whom the server takes the caller for. Raises NotAuthenticated, NotSupported in local mode."""
        return background.run(self._client.whoami(timeout_s=timeout_s))

    def healthy(self, *, timeout_s: float = TIMEOUT_S) -> bool:
        """Whether a model answers. Raises Unavailable if nobody does."""
        return background.run(self._client.healthy(timeout_s=timeout_s))

    def close(self) -> None:
        """Close the connection."""
        background.run(self._client.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
