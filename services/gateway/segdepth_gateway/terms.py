"""The terms of a stream: its first message, Open, read and checked once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from segdepth_gateway import wire
from segdepth_gateway.session import Sessions
from segdepth_protos import contract
from segdepth_protos.contract import InvalidFrame
from segdepth_protos.v1 import estimator_pb2, frame_pb2


@dataclass(frozen=True)
class Terms:
    """What a stream was opened with. Everything is valid; whether the model exists is not looked at here."""

    stream: str
    """The caller's name for it."""
    options: estimator_pb2.EstimateOptions
    priority: estimator_pb2.Priority.ValueType
    drop_policy: estimator_pb2.DropPolicy.ValueType
    calibration: frame_pb2.Calibration | None = None
    """Of every frame that brings none of its own."""
    frame_deadline_s: float | None = None
    """Longest time to an answer [s]; None = no limit."""
    resumed: bool = False
    resume_after: int | None = None
    """Last sequence number whose answer the caller has."""

    @property
    def live(self) -> bool:
        """Whether the oldest waiting frames are dropped for newer ones."""
        return self.drop_policy == estimator_pb2.DROP_POLICY_DROP_OLDEST


async def read_open(requests: AsyncIterator[bytes], timeout_s: float) -> estimator_pb2.Open:
    """The first message of a stream. InvalidFrame if it is no Open, TimeoutError after `timeout_s` [s]."""
    try:
        async with asyncio.timeout(timeout_s):
            first = wire.read_request(await anext(requests))
    except TimeoutError as error:
        raise TimeoutError(f"open: nothing came within {timeout_s:g} s") from error
    except (StopAsyncIteration, wire.Malformed) as error:
        raise InvalidFrame("open", f"missing; a stream begins with it ({error})") from error
    if not isinstance(first, estimator_pb2.Open):
        raise InvalidFrame("open", "missing; a stream begins with it, then come frames")
    return first


def parse_open(opening: estimator_pb2.Open, principal: str, sessions: Sessions) -> Terms:
    """The terms that an Open of this principal asks for. InvalidFrame, ForeignSession, ExpiredSession."""
    priority = priority_of(opening.options)
    _check_session(opening, principal, sessions)
    if opening.drop_policy not in estimator_pb2.DropPolicy.values():
        raise InvalidFrame("open.drop_policy", f"{opening.drop_policy} is unknown; send BLOCK or DROP_OLDEST")
    calibration = opening.calibration if opening.HasField("calibration") else None
    frame_deadline_s = _frame_deadline_s(opening)
    if calibration is not None:
        contract.check_calibration(calibration)
    return Terms(
        stream=opening.stream,
        options=opening.options,
        priority=priority,
        drop_policy=opening.drop_policy,
        calibration=calibration,
        frame_deadline_s=frame_deadline_s,
        resumed=bool(opening.session),
        resume_after=opening.resume_after if opening.HasField("resume_after") else None,
    )


def _check_session(opening: estimator_pb2.Open, principal: str, sessions: Sessions) -> None:
    if opening.session:
        session = sessions.check(opening.session, principal)
        if session.drop_policy != opening.drop_policy:
            raise InvalidFrame("open.drop_policy", "is not the one that the session began with")
    elif opening.HasField("resume_after"):
        raise InvalidFrame("open.resume_after", "needs the session of the stream that is resumed")


def _frame_deadline_s(opening: estimator_pb2.Open) -> float | None:
    if not opening.HasField("frame_deadline"):
        return None
    deadline_s = opening.frame_deadline.ToTimedelta().total_seconds()
    if deadline_s <= 0:
        raise InvalidFrame("open.frame_deadline", f"{deadline_s:g} s is no time; leave it out for none")
    return deadline_s


def priority_of(options: estimator_pb2.EstimateOptions) -> estimator_pb2.Priority.ValueType:
    """The priority asked for; interactive by default. InvalidFrame if there is no such."""
    if options.priority == estimator_pb2.PRIORITY_UNSPECIFIED:
        return estimator_pb2.PRIORITY_INTERACTIVE
    if options.priority not in (estimator_pb2.PRIORITY_INTERACTIVE, estimator_pb2.PRIORITY_BATCH):
        raise InvalidFrame("options.priority", f"{options.priority} is unknown; send INTERACTIVE or BATCH")
    return options.priority
