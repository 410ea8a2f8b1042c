"""Every benchmark on this machine, as a table and as out/bench/bench.json.

    python -m tests.benchmarks.bench [--seconds 30] [--runs 5] [--frames 100000] [--only checks,camera]

Run it on an otherwise idle machine; the load at the start is written beside the figures.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from segdepth_core.released import released_store
from tests.benchmarks import camera, checks, machine, multislice, predictor, service, tracking

OUT = Path("out/bench/bench.json")
BARS = {
    "gateway_null_over_bare_256": "≥ 0.50",
    "gateway_null_over_bare_512": "≥ 0.75",
    "added_latency_ms_p50": "≤ 3",
    "served_over_bare": "≥ 0.95",
    "model_ms_per_frame_256": "≤ 15 with AMX, ≤ 40 without",
    "checks_ms_256": "≤ 1",
    "checks_ms_512": "≤ 3",
    "file_fps_mrc": "≥ 1000",
    "file_fps_dm4": "≥ 1000",
    "camera_fps_200": "≥ 1000",
    "camera_fps_2000": "≥ 1000",
    **{f"multislice_over_abtem_{atoms}": "≥ 1.5" for atoms in multislice.THICKNESSES},
    "tracks_fps_500_columns": "≥ 500",
    "tracks_live_fps_500_columns": "≥ 500",
    "tracks_live_memory_growth_mb": "< 20",
    "camera_to_track_over_model_ms_p50": "≤ 60",
}


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="length of a gateway run [s]")
    parser.add_argument("--runs", type=int, default=5, help="gateway runs, of which the median counts")
    parser.add_argument("--frames", type=int, default=100_000, help="frames over which memory must stay flat")
    parser.add_argument("--only", default="model,checks,camera,multislice,tracks,service,gateway")
    options = parser.parse_args()
    parts = options.only.split(",")
    about = machine.described()
    figures: dict[str, float] = {}
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        frames = predictor.crystal_frames(Path(folder), 60)
        if "model" in parts:
            figures |= predictor.measure(frames, threads)
        if "checks" in parts:
            figures |= checks.measure(threads)
        if "camera" in parts:
            figures |= camera.measure()
        if "multislice" in parts:
            figures |= multislice.measure()
        if "tracks" in parts:
            figures |= tracking.measure(released_store(), options.frames)
        if "service" in parts:
            figures |= service.measure(frames, released_store(), threads)
        if "gateway" in parts:
            figures |= gateway(Path(folder) / "gateway.json", options)
    show(about, figures)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"machine": about, **figures}, indent=1) + "\n")
    print(f"wrote {OUT}")


def gateway(path: Path, options: argparse.Namespace) -> dict[str, float]:
    """The null model's figures, in processes of their own."""
    lengths = ["--seconds", str(options.seconds), "--runs", str(options.runs), "--frames", str(options.frames)]
    subprocess.run([sys.executable, "-m", "tests.benchmarks.gateway", "--json", str(path), *lengths], check=True)
    figures: dict[str, float] = json.loads(path.read_text())
    return figures


def show(about: dict[str, object], figures: dict[str, float]) -> None:
    """Figures beside their bars, and the machine."""
    table = Table("figure", "value", "bar", title="SegDepth benchmarks")
    for name, value in figures.items():
        if isinstance(value, int | float):
            table.add_row(name, f"{value:.4g}", BARS.get(name, ""))
    console = Console()
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in about.items()), highlight=False)


if __name__ == "__main__":
    main()
