"""Frames of something that runs to the service, and what a live command does with the answers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console

from segdepth.calibration import Calibration, Frame, Options, Policy
from segdepth.cli.console import live
from segdepth.cli.live_status import LiveStatus, Service
from segdepth.cli.options import Connection
from segdepth.live.account import FrameAccount
from segdepth.results import Answer


class Source(Protocol):
    """What frames come from: its account, and how to end it."""

    account: FrameAccount

    def close(self) -> None:
        """No further frame, from any thread."""


@dataclass(frozen=True)
class Asked:
    """What the service is asked for, and in whose name."""

    name: str
    options: Options
    policy: Policy
    deadline_s: float | None
    calibration: Calibration | None = None


def count_live(
    connection: Connection,
    source: Source,
    frames: Iterator[Frame],
    asked: Asked,
    told: Callable[[], str],
    console: Console,
    *,
    service: Service | None = None,
    add: Callable[[Answer, dict[str, Any]], None] = lambda _, __: None,
) -> None:
    """Count the frames of a source until it ends, then close it.

    told: the source's state, for people; console: gets the account at the end, however it ends; add: gets each answer,
    and what is known of its frame besides. Raises what ended it too early.
    """
    service = service or Service()
    status = LiveStatus(source.account, told, service)

    def sent() -> Iterator[Frame]:
        for frame in frames:
            status.sending(frame.sequence or 0, frame.capture_time)
            yield frame

    try:
        with (
            connection.open(on_outage=service.outage) as client,
            client.stream(
                sent(),
                asked.calibration,
                asked.options,
                policy=asked.policy,
                frame_deadline_s=asked.deadline_s,
                name=asked.name,
            ) as answers,
            live(status.table),
        ):
            for answer in answers:
                source.account.answer(answer)
                add(answer, status.add(answer))
    finally:
        source.close()
        source.account.give_up()
        console.print(status.table())
