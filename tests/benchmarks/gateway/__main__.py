"""Throughput and memory of the gateway with a null model, beside what gRPC alone can do.

    python -m tests.benchmarks.gateway [--json FILE] [--seconds 30] [--runs 5] [--frames 100000] [--only sides,files]

Both ways take turns, so that what else the machine does falls on both. The bare echo carries packs of 8 frames as
plain bytes, unparsed; with protobuf on both sides it is slower, and given beside it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil

from tests.benchmarks.gateway.movies import write_movies
from tests.benchmarks.gateway.null import APP, served

SIDES = (256, 512)
FRAMES_A_PACK = 8
FILE_SIDE, FILE_FRAMES = 256, 5000
SETTLE_S = 10.0
"""Ray starts idle workers for a while after it says that it is there."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--seconds", type=float, default=30, help="length of a run [s]")
    parser.add_argument("--runs", type=int, default=5, help="runs, of which the median counts")
    parser.add_argument("--frames", type=int, default=100_000, help="frames over which memory must stay flat; 0 = skip")
    parser.add_argument("--only", default="sides,files", help="what to stream: arrays of several sides, files")
    options = parser.parse_args()
    figures = measure(options.seconds, options.runs, options.frames, options.only.split(","))
    for name, value in figures.items():
        print(f"{name:44} {value:.4g}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(seconds: float, runs: int, frames: int, parts: list[str]) -> dict[str, float]:
    """gateway_null_fps_*, gateway_null_over_bare_*, CPU by stage [µs a frame], rss_growth_mb over `frames`, file_*."""
    figures: dict[str, float] = {}
    with bare_server() as bare_port, served() as port:
        time.sleep(SETTLE_S)
        if "sides" in parts:
            for side in SIDES:
                figures |= throughput(side, port, bare_port, seconds, runs)
            if frames:
                figures["rss_growth_mb"] = growth(port, frames)
        if "files" in parts:
            figures |= files(port, runs)
    return figures


def throughput(side: int, port: int, bare_port: int, seconds: float, runs: int) -> dict[str, float]:
    """Frames/s of both ways, in turns, after a warm-up of each."""
    ours, bare, parsed, stages = [], [], [], []
    sdk(port, side, min(seconds, 5))
    echo(bare_port, side, min(seconds, 5), "Bytes")
    for _ in range(runs):
        bare.append(rate(echo(bare_port, side, seconds, "Bytes")))
        before = cpu()
        report = sdk(port, side, seconds)
        after = cpu()
        ours.append(rate(report))
        used = {stage: after[stage] - before[stage] for stage in after} | {"client": report["cpu_s"]}
        stages.append({stage: s / report["frames"] * 1e6 for stage, s in used.items()})
        parsed.append(rate(echo(bare_port, side, seconds, "Parsed")))
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    return {
        f"gateway_null_fps_{side}": median(ours),
        f"gateway_null_over_bare_{side}": median(ratios),
        f"bare_fps_{side}": median(bare),
        f"bare_protobuf_fps_{side}": median(parsed),
        **{f"cpu_us_{stage}_{side}": median(run[stage] for run in stages) for stage in stages[0]},
    }


def files(port: int, runs: int) -> dict[str, float]:
    """Frames/s of movies from files and of the same frames as arrays, in turns; CPU of the client [µs a frame]."""
    with tempfile.TemporaryDirectory() as folder:
        sources = {"memory": "", **write_movies(Path(folder), FILE_SIDE, FILE_FRAMES)}
        reports: dict[str, list[dict[str, float]]] = {name: [] for name in sources}
        sdk(port, FILE_SIDE, 5)
        for _ in range(runs):
            for name, source in sources.items():
                reports[name].append(_run("sdk_client", port, FILE_SIDE, 0, FILE_FRAMES, *([source] if source else [])))
    figures = {f"file_fps_{name}": median(map(rate, some)) for name, some in reports.items()}
    for name in sources:
        if name != "memory":
            pairs = zip(reports[name], reports["memory"], strict=True)
            figures[f"file_over_memory_{name}"] = median(rate(ours) / rate(plain) for ours, plain in pairs)
        figures[f"file_cpu_us_{name}"] = median(one["cpu_s"] / one["frames"] * 1e6 for one in reports[name])
    return figures


def growth(port: int, frames: int) -> float:
    """How much the resident memory of gateway and replica grew over so many frames [MB], shared memory left out.

    The first tenth fills pools and caches, and is not counted.
    """
    sdk(port, 256, 0, frames // 10)
    before = rss_mb()
    sdk(port, 256, 0, frames)
    return rss_mb() - before


def rate(report: dict[str, float]) -> float:
    """Frames/s."""
    return report["frames"] / report["seconds"]


def sdk(port: int, side: int, seconds: float, frames: int = 0) -> dict[str, float]:
    """A run of the public SDK."""
    return _run("sdk_client", port, side, seconds, frames)


def echo(port: int, side: int, seconds: float, method: str) -> dict[str, float]:
    """A run of the bare echo."""
    return _run("bare", "client", port, side, FRAMES_A_PACK, seconds, method)


def _run(module: str, *arguments: object) -> dict[str, float]:
    command = [sys.executable, "-m", f"tests.benchmarks.gateway.{module}", *map(str, arguments)]
    report: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return report


@contextmanager
def bare_server() -> Iterator[int]:
    """The echo's port."""
    command = [sys.executable, "-m", "tests.benchmarks.gateway.bare", "server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


def processes() -> dict[str, psutil.Process]:
    """The gateway, the replica, and Ray's own raylet of this run."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        title = " ".join(process.cmdline()[:1])
        for stage, part in (
            ("gateway", f"{APP}:gateway"),
            ("replica", f"{APP}:estimator"),
            ("raylet", "raylet/raylet"),
        ):
            if part in title:
                found[stage] = process
    return found


def cpu() -> dict[str, float]:
    """CPU time so far, by stage [s]."""
    return {stage: sum(process.cpu_times()[:2]) for stage, process in processes().items()}


def rss_mb() -> float:
    """Resident memory of gateway and replica that is theirs alone [MB]."""
    used = [found.memory_info() for stage, found in processes().items() if stage != "raylet"]
    return sum(info.rss - info.shared for info in used) / 1e6


if __name__ == "__main__":
    main()
