"""`segdepth stream`: a movie played as a camera, watched live."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from segdepth.calibration import Frame, Options, Policy
from segdepth.cli import options as given
from segdepth.cli.console import ALL_REFUSED, ANSWERED, errors_end_the_command, live, out, print_notes
from segdepth.cli.live_status import Service, percentiles
from segdepth.cli.option_groups import with_option_groups
from segdepth.cli.reasons import Reasons
from segdepth.files import Movie
from segdepth.results import Answer, FrameResult, Status

KEPT_LATENCIES = 100_000


class Statistics:
    """Rates, latencies and gaps of a stream."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.sent_at: dict[int, float] = {}
        self.latencies_s: deque[float] = deque(maxlen=KEPT_LATENCIES)
        self.status: Counter[Status] = Counter()
        self.gaps: Counter[str] = Counter()
        self.columns = self.sent = 0
        self.models: Counter[str] = Counter()
        self.reasons = Reasons()

    def sending(self, sequence: int) -> None:
        """A frame leaves the source."""
        self.sent_at[sequence] = time.monotonic()
        self.sent += 1

    def add(self, answer: Answer) -> None:
        """An answer arrives."""
        if not isinstance(answer, FrameResult):
            self.gaps[answer.reason.value] += len(answer)
            for sequence in range(answer.first, answer.last + 1):
                self.sent_at.pop(sequence, None)
            return
        self.latencies_s.append(time.monotonic() - self.sent_at.pop(answer.sequence))
        self.status[answer.domain.status] += 1
        self.columns += len(answer.columns)
        self.models[str(answer.model)] += 1
        self.reasons.add(answer)

    @property
    def results(self) -> int:
        """Frames with a result, refused ones included."""
        return sum(self.status.values())

    def table(self) -> Table:
        """All of it."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        table = Table(show_header=False, box=None)
        table.add_row("sent", f"{self.sent} frames, {self.sent / seconds:.1f}/s")
        verdicts = ", ".join(f"{count} {status.value}" for status, count in self.status.items())
        table.add_row("answered", f"{self.results} frames, {self.results / seconds:.1f}/s ({verdicts})")
        table.add_row("latency", percentiles(self.latencies_s))
        gaps = ", ".join(f"{count} {reason}" for reason, count in self.gaps.items())
        table.add_row("gaps", gaps or "none")
        table.add_row("columns", f"{self.columns}")
        if why := list(self.reasons.lines(self.results)):
            table.add_row("why", escape("\n".join(why)))
        table.add_row("model", ", ".join(self.models))
        return table


@with_option_groups
def stream(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=given.FILES)],
    connection: given.Connection,
    sampling: given.Sampling = None,
    fps: Annotated[
        float | None, typer.Option(min=0.001, help="Frames per second, as a camera; by default as fast as it goes.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How often to play the movie.")] = 1,
    policy: Annotated[
        Policy,
        typer.Option(help="When the way is full: wait, or drop the oldest frame as a live view does."),
    ] = "block",
    deadline: Annotated[
        float | None, typer.Option(min=0.001, metavar="S", help="A frame not answered after this long is a gap.")
    ] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Let interactive users go first.")] = False,
    detector: given.Profile = None,
    model: given.Model = "",
    version: given.Version = "",
) -> None:
    """Play a movie as a live camera and watch rates, latencies and gaps.

    Exit status as of `segdepth estimate`.

    Examples:

      segdepth stream movie.mrc --server 127.0.0.1:50051

      segdepth stream movie.mrc --server 127.0.0.1:50051 --fps 100 --repeat 50 --policy drop_oldest
    """
    options = Options(model, version, priority="batch" if batch else "interactive")
    with (
        errors_end_the_command(),
        given.detector(detector).open_movie(file, sampling) as movie,
        connection.open(on_outage=Service().outage) as client,
    ):
        print_notes(movie)
        statistics = Statistics()
        frames = _play(movie, repeat, fps, statistics)
        with (
            client.stream(
                frames,
                movie.calibration,
                options,
                policy=policy,
                frame_deadline_s=deadline,
                name=file.name,
            ) as answers,
            live(statistics.table),
        ):
            for answer in answers:
                statistics.add(answer)
        out().print(statistics.table())
    usable = statistics.status[Status.OK] + statistics.status[Status.SUSPECT]
    raise typer.Exit(ANSWERED if usable else ALL_REFUSED)


def _play(movie: Movie, repeat: int, fps: float | None, statistics: Statistics) -> Iterator[Frame | NDArray[Any]]:
    started = time.monotonic()
    for sequence in range(repeat * len(movie)):
        if fps is not None:
            time.sleep(max(0.0, started + sequence / fps - time.monotonic()))
        frame = Frame(movie.frame(sequence % len(movie)), sequence)
        statistics.sending(sequence)
        yield frame
