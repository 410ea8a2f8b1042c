"""Tracking on simulated movies, as a table and as out/tracks/tracks.json.

    python -m tests.benchmarks.tracks [--movies 60] [--doses 500] [--frames 60] [--live]

A movie takes some 15 s on one core, most of it simulation. Those done are kept in out/tracks/movies.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from rich.console import Console
from rich.progress import track as progress
from rich.table import Table

from segdepth.tracks import Tracking
from tests.benchmarks import machine
from tests.benchmarks.tracks.movies import OUT, tracked_movie
from tests.benchmarks.tracks.score import Score

SEED = 1
"""Of the movies; thresholds were set on movies of the calibration's range."""


def main() -> None:
    """Simulate, track, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=int, default=60)
    parser.add_argument("--doses", default="500", help="e/Å² of a frame, one after the other: 200,500,2000")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--live", action="store_true", help="forward only, each frame at once")
    parser.add_argument("--no-sums", action="store_true", help="without asking about sums of frames")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    settings = Tracking(
        lag_frames=0 if options.live else Tracking().lag_frames,
        summed_frames=0 if options.no_sums else Tracking().summed_frames,
    )
    figures = {}
    for dose in map(float, options.doses.split(",")):
        score = Score()
        tasks = [(options.seed, index, dose, options.frames, settings) for index in range(options.movies)]
        with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
            for movie, tracked in progress(pool.map(tracked_movie, tasks), f"{dose:g} e/Å²", total=len(tasks)):
                score.add(movie, tracked)
        figures[f"{dose:g}"] = score.figures()
    OUT.mkdir(parents=True, exist_ok=True)
    about = {"machine": machine.described(), "movies": options.movies, "frames": options.frames, "live": options.live}
    name = "tracks.live.json" if options.live else "tracks.json"
    (OUT / name).write_text(json.dumps({"about": about, "figures": figures}, indent=2) + "\n")
    _print(figures, f"{options.movies} movies of {options.frames} frames{', live' if options.live else ''}")


def _print(figures: dict[str, dict[str, float]], title: str) -> None:
    table = Table(title=title)
    table.add_column("e/Å²")
    for dose in figures:
        table.add_column(dose, justify="right")
    for name in next(iter(figures.values())):
        table.add_row(name, *(f"{of[name]:.4g}" for of in figures.values()))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
