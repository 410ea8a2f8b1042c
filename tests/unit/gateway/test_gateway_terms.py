"""The first message of a stream: what it must be, and the terms that follow from it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from segdepth_gateway.session import ExpiredSession, ForeignSession, Sessions
from segdepth_gateway.terms import parse_open, priority_of, read_open
from segdepth_protos.contract import InvalidFrame
from segdepth_protos.v1 import estimator_pb2, frame_pb2
from tests.integration.gateway.raw import CALIBRATION, frame, opening

INTERACTIVE, BATCH = estimator_pb2.PRIORITY_INTERACTIVE, estimator_pb2.PRIORITY_BATCH
BLOCK, DROP_OLDEST = estimator_pb2.DROP_POLICY_BLOCK, estimator_pb2.DROP_POLICY_DROP_OLDEST


def sessions(now: float = 0.0) -> Sessions:
    return Sessions((b"k" * 32,), 60, lambda: now)


async def messages(*sent: bytes) -> AsyncIterator[bytes]:
    for message in sent:
        yield message


async def test_the_first_message_is_the_open() -> None:
    first = estimator_pb2.EstimateStreamRequest(open=opening()).SerializeToString()
    assert await read_open(messages(first), 5) == opening()


@pytest.mark.parametrize(
    "sent, why",
    [
        ((), "missing; a stream begins with it"),
        ((b"\x12\xff\xff",), "not an EstimateStreamRequest"),
        (
            (
                estimator_pb2.EstimateStreamRequest(
                    frames=estimator_pb2.FramePack(frames=[frame(0)])
                ).SerializeToString(),
            ),
            "missing; a stream begins with it, then come frames",
        ),
    ],
    ids=["nothing", "nonsense", "frames"],
)
async def test_anything_else_is_refused(sent: tuple[bytes, ...], why: str) -> None:
    with pytest.raises(InvalidFrame, match=why) as error:
        await read_open(messages(*sent), 5)
    assert error.value.field == "open"


async def test_a_caller_that_says_nothing_is_not_waited_for() -> None:
    async def silent() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    with pytest.raises(TimeoutError, match=r"open: nothing came within 0\.01 s"):
        await read_open(silent(), 0.01)


def test_what_an_open_leaves_out() -> None:
    terms = parse_open(estimator_pb2.Open(), "me", sessions())
    assert (terms.priority, terms.live, terms.calibration) == (INTERACTIVE, False, None)
    assert (terms.frame_deadline_s, terms.resumed, terms.resume_after) == (None, False, None)


def test_what_an_open_says() -> None:
    token = sessions().issue("me", "test", DROP_OLDEST)
    asked = opening(
        options={"family": "sum", "priority": BATCH},
        drop_policy=DROP_OLDEST,
        deadline_s=0.25,
        session=token,
        resume_after=0,
    )
    terms = parse_open(asked, "me", sessions(59.0))
    assert (terms.stream, terms.options.family, terms.priority, terms.live) == ("test", "sum", BATCH, True)
    assert (terms.calibration, terms.frame_deadline_s) == (CALIBRATION, 0.25)
    assert (terms.resumed, terms.resume_after) == (True, 0)


def test_a_session_may_be_resumed_from_its_beginning() -> None:
    terms = parse_open(opening(session=sessions().issue("me", "test", 0)), "me", sessions())
    assert (terms.resumed, terms.resume_after) == (True, None)


@pytest.mark.parametrize(
    "fields, field",
    [
        ({"options": {"priority": 7}}, "options.priority"),
        ({"drop_policy": 9}, "open.drop_policy"),
        ({"deadline_s": 0.0}, "open.frame_deadline"),
        ({"deadline_s": -1e-3}, "open.frame_deadline"),
        ({"resume_after": 3}, "open.resume_after"),
        ({"calibration": frame_pb2.Calibration()}, "calibration.sampling_angstrom_per_px"),
        ({"session": sessions().issue("me", "test", BLOCK), "drop_policy": DROP_OLDEST}, "open.drop_policy"),
    ],
)
def test_the_field_that_is_wrong_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFrame) as error:
        parse_open(opening(**fields), "me", sessions())
    assert error.value.field == field


def test_a_session_is_its_principals_and_ends() -> None:
    resumed = opening(session=sessions().issue("me", "test", 0))
    with pytest.raises(ForeignSession):
        parse_open(resumed, "you", sessions())
    with pytest.raises(ExpiredSession):
        parse_open(resumed, "me", sessions(61.0))


def test_priorities() -> None:
    options = estimator_pb2.EstimateOptions
    assert [priority_of(options(priority=value)) for value in (0, 1, 2)] == [INTERACTIVE, INTERACTIVE, BATCH]
