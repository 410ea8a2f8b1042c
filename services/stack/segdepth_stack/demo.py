"""The demo: a noisy movie with a known truth, through the whole service, to atom counts and how right they are; then a
camera that runs, and what hopped before it.

python -m segdepth_stack.demo [--out out/demo]
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import segdepth
from segdepth.export import MovieExport
from segdepth.export.picture import png
from segdepth.files import Movie, open_movie
from segdepth.results import FrameResult
from segdepth_stack.demo_live import progress, watched
from segdepth_stack.demo_score import Score, TrueFrame, compare, read_truth, total
from segdepth_stack.node_process import StackFailed
from segdepth_stack.settings import StackSettings
from segdepth_stack.stack import Stack

FILES = ("csv", "tiff", "json")
WARM_UP = 3
SINGLE = 20
"""Frames sent one at a time, for the latency that one station sees."""


LEGEND = (
    "n: true columns; exact, ±1: share of them found with that count; found: a column stands there. Of the found ones,"
    " stated: mean probability of the count; right: how often it was; ECE: the gap between the two; 90 %: the interval"
    " holds the truth; unsure: abstained. Scored as the benchmark in README is: in stated, right and ECE a found column"
    " that is none counts as a wrong one."
)


@dataclass(frozen=True)
class Speed:
    """Of the stream: frames per second; and how long one frame takes from hand-over to answer when it is alone [ms]."""

    frames_per_s: float
    latency_ms_p50: float
    latency_ms_p99: float


def main(
    out: Annotated[Path, typer.Option(help="Folder for the movie and all results.")] = Path("out/demo"),
    movie: Annotated[Path | None, typer.Option(help="This movie, with its .truth.json beside it.", exists=True)] = None,
    store: Annotated[str | None, typer.Option(help="Artefact store.", show_default="the released model")] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of the model.")] = 1,
    seed: Annotated[int, typer.Option(help="Draws defocus and noise of the movie.")] = 0,
) -> None:
    """Image a movie, start the service on this machine, stream the movie through it, compare with the truth."""
    console = Console()
    if movie is None:
        with console.status("imaging the shipped exit waves at several doses"):
            movie = make_movie(out, seed)
    truth = read_truth(movie.with_suffix(".truth.json"))
    settings = StackSettings(store=store, replicas=replicas, port=0, http_port=0, metrics_port=0)
    try:
        with console.status("starting the service") as status:
            stack = Stack(settings, progress=lambda event: status.update(f"starting the service: {event}"))
            stack.start()
        try:
            with open_movie(movie) as frames, segdepth.connect(stack.address) as client:
                console.print(f"[bold]{movie}[/]: {len(frames)} frames of {frames.shape[1]}x{frames.shape[0]} px")
                speed, results = estimated(client, frames, console)
                with console.status("writing files"):
                    export(out, frames, results, truth)
                print_report(console, speed, scored(results, truth), results)
                watched(client, out, console, seed)
        finally:
            with console.status("stopping the service"):
                stack.stop()
    except (StackFailed, segdepth.SegDepthError) as error:
        console.print(f"[red]{escape(str(error))}[/]")
        raise typer.Exit(1) from None
    write_scores(out / f"{movie.stem}.scores.json", speed, scored(results, truth))
    console.print(f"files in [bold]{out}[/]: {', '.join(sorted(path.name for path in out.iterdir()))}")


def make_movie(out: Path, seed: int) -> Path:
    """demo.mrc and demo.truth.json, by the training package's own imaging."""
    command = [str(Path(sys.executable).parent / "segdepth-train"), "demo-movie", str(out), "--seed", str(seed)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out / "demo.mrc"


def estimated(client: segdepth.Client, movie: Movie, console: Console) -> tuple[Speed, dict[int, FrameResult]]:
    """Stream the movie, then time single frames. The results by number of frame."""
    options = segdepth.Options(detail=MovieExport.detail(FILES))
    for _ in range(WARM_UP):
        client.estimate(movie.frame(0), movie.calibration)
    results: dict[int, FrameResult] = {}
    started = time.perf_counter()
    with progress(console) as bar, client.stream(movie, movie.calibration, options, name=movie.path.name) as answers:
        task = bar.add_task("streaming", total=len(movie))
        for answer in answers:
            if not isinstance(answer, FrameResult):
                raise StackFailed(f"frames {answer.first}-{answer.last} were not answered: {answer.detail}")
            results[answer.sequence] = answer
            bar.advance(task)
    frames_per_s = len(results) / (time.perf_counter() - started)
    latencies_ms = list(single(client, movie))
    p50, p99 = np.percentile(latencies_ms, (50, 99))
    return Speed(frames_per_s, float(p50), float(p99)), results


def single(client: segdepth.Client, movie: Movie) -> Iterator[float]:
    """Time of a frame that is alone on its way [ms]."""
    for index in range(SINGLE):
        image: NDArray[Any] = movie.frame(index % len(movie))
        started = time.perf_counter()
        client.estimate(image, movie.calibration)
        yield (time.perf_counter() - started) * 1e3


def export(out: Path, movie: Movie, results: dict[int, FrameResult], truth: list[TrueFrame]) -> None:
    """Everything that `segdepth estimate --out` writes, with a picture of the first frame of each dose."""
    with MovieExport(out, movie, FILES) as files:
        for sequence in sorted(results):
            files.add(results[sequence])
    doses = [frame.dose for frame in truth]
    for dose in set(doses):
        index = doses.index(dose)
        name = "no noise" if dose is None else f"{dose:g} e/Å²"
        picture = png(movie.frame(index), results[index], f"{movie.path.name} frame {index}, {name}")
        (out / f"{movie.path.stem}.{index:02d}.png").write_bytes(picture)


def scored(results: dict[int, FrameResult], truth: list[TrueFrame]) -> dict[float | None, Score]:
    """The score of each dose, low doses first, without noise last."""
    doses = sorted({frame.dose for frame in truth}, key=lambda dose: float("inf") if dose is None else dose)
    return {
        dose: total([compare(results[i], frame) for i, frame in enumerate(truth) if frame.dose == dose])
        for dose in doses
    }


def print_report(
    console: Console, speed: Speed, scores: dict[float | None, Score], results: dict[int, FrameResult]
) -> None:
    """Say how fast and how right."""
    model = next(iter(results.values())).model
    console.print(f"model {model.family} {model.version} ({model.engine}, sha256 {model.sha256[:12]})")
    console.print(
        f"[bold]{speed.frames_per_s:.1f} frames/s[/] streamed; a frame alone takes"
        f" p50 {speed.latency_ms_p50:.1f} ms, p99 {speed.latency_ms_p99:.1f} ms"
    )
    table = Table(
        title="against the known truth", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1)
    )
    for name in ("e/Å²", "n", "exact ±95 %", "±1", "found", "stated", "right", "ECE", "90 %", "unsure"):
        table.add_column(name, justify="right", no_wrap=True)
    for dose, of in scores.items():
        table.add_row(
            "none" if dose is None else f"{dose:g}",
            f"{of.columns}",
            f"{of.exact:.3f} ±{of.margin:.3f}",
            *(f"{value:.3f}" for value in (of.within_1, of.found, of.stated, of.right, of.ece)),
            *(f"{value:.3f}" for value in (of.covered_90, of.abstained)),
        )
    console.print(table)
    console.print(LEGEND)


def write_scores(path: Path, speed: Speed, scores: dict[float | None, Score]) -> None:
    """The printed figures as JSON."""
    rows = [{"dose": dose, **asdict(of)} for dose, of in scores.items()]
    path.write_text(json.dumps({"speed": asdict(speed), "scores": rows}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
