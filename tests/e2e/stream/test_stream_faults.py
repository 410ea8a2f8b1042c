"""Whatever breaks on the way, the SDK's caller sees every sequence number exactly once, in order, or in a Gap."""

import time
from collections.abc import Callable, Iterator
from itertools import cycle

import numpy as np
import pytest

import segdepth
from segdepth_stack.stack import Stack
from tests.e2e.stream.conftest import replicas
from tests.models import FAMILY, point

FRAMES = 600
SAMPLING_A = 0.1

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def played(movie: np.ndarray, at: dict[int, Callable[[], None]], number: int = FRAMES) -> Iterator[np.ndarray]:
    """`number` frames; before frame n the fault at[n] happens."""
    for sequence, frame in zip(range(number), cycle(movie), strict=False):
        if sequence in at:
            at[sequence]()
        yield frame


def accounted(answers: list[segdepth.Answer]) -> list[int]:
    """Every sequence number of the answers, in the order in which they came."""
    numbers: list[int] = []
    for answer in answers:
        if isinstance(answer, segdepth.FrameResult):
            numbers.append(answer.sequence)
        else:
            numbers += range(answer.first, answer.last + 1)
    return numbers


def results(answers: list[segdepth.Answer]) -> list[segdepth.FrameResult]:
    return [answer for answer in answers if isinstance(answer, segdepth.FrameResult)]


def kill(deployment: str) -> Callable[[], None]:
    """kill -9 every process of a deployment."""

    def now() -> None:
        processes = replicas(deployment)
        assert processes, f"no process runs {deployment}"
        for process in processes:
            process.kill()

    return now


def same_counts(answers: list[segdepth.Answer], movie: np.ndarray) -> None:
    """A frame that was played again has the same counts, whichever replica answered it."""
    first: dict[int, list[int]] = {}
    for result in results(answers):
        counts = result.columns.count.tolist()
        assert counts, f"frame {result.sequence} has no columns"
        assert first.setdefault(result.sequence % len(movie), counts) == counts


def await_version(stack: Stack, version: str, frame: np.ndarray) -> None:
    """Return when the replica answers with a version again."""
    deadline = time.monotonic() + 60
    with segdepth.connect(stack.address) as client:
        while client.estimate(frame, SAMPLING_A).model.version != version:
            assert time.monotonic() < deadline, f"version {version} does not answer"
            time.sleep(0.2)


def test_replica_killed_under_load(stack: Stack, movie: np.ndarray) -> None:
    with segdepth.connect(stack.address) as client:
        answers = list(client.stream(played(movie, {200: kill("estimator")}), SAMPLING_A))
    assert accounted(answers) == list(range(FRAMES))
    assert len(results(answers)) > FRAMES / 2
    same_counts(answers, movie)


def test_gateway_killed_and_restarted(stack: Stack, movie: np.ndarray) -> None:
    with segdepth.connect(stack.address) as client:
        answers = list(client.stream(played(movie, {200: kill("gateway")}), SAMPLING_A))
    assert accounted(answers) == list(range(FRAMES))
    assert len(results(answers)) == FRAMES
    same_counts(answers, movie)


def test_model_swapped_under_load(stack: Stack, store: object, movie: np.ndarray) -> None:
    """No frame is lost, and the versions change once, from the old to the new."""
    seen: list[str] = []

    def until_swapped() -> Iterator[np.ndarray]:
        deadline = time.monotonic() + 60
        for sequence, frame in enumerate(cycle(movie)):
            if sequence == 100:
                point(store, "2")  # type: ignore[arg-type]
            if (seen and seen[-1] == "2" and sequence > 300) or time.monotonic() > deadline:
                return
            yield frame

    answers: list[segdepth.Answer] = []
    try:
        with segdepth.connect(stack.address) as client:
            for answer in client.stream(until_swapped(), SAMPLING_A):
                answers.append(answer)
                if isinstance(answer, segdepth.FrameResult):
                    seen.append(answer.model.version)
    finally:
        point(store, "1")  # type: ignore[arg-type]
        await_version(stack, "1", movie[0])
    assert accounted(answers) == list(range(len(answers)))
    assert len(results(answers)) == len(answers)
    changes = [version for version, before in zip(seen, ["", *seen], strict=False) if version != before]
    assert changes == ["1", "2"]
    assert all(answer.model.family == FAMILY for answer in results(answers))


def test_two_stations_and_a_batch_at_once(stack: Stack, movie: np.ndarray) -> None:
    """Streams do not mix: each gets its own frames' answers."""
    with segdepth.connect(stack.address) as client:
        batch = segdepth.Options(priority="batch")
        streams = [
            client.stream(played(movie[first:], {}, 120), SAMPLING_A, options)
            for first, options in ((0, segdepth.Options()), (3, segdepth.Options()), (7, batch))
        ]
        alone = [client.estimate(frame, SAMPLING_A).columns.count.tolist() for frame in movie]
        for first, stream in zip((0, 3, 7), streams, strict=True):
            answers = list(stream)
            assert accounted(answers) == list(range(120))
            for result in results(answers):
                expected = alone[first + result.sequence % (len(movie) - first)]
                assert result.columns.count.tolist() == expected
