"""How soon a promotion and a rollback show in the results of a running stack.

    python -m tests.benchmarks.rollback

A station asks for one frame after the other; the time is from the operator's call to the first result that names the
other version.
"""

import statistics
import tempfile
import time
from pathlib import Path

import segdepth
from segdepth_stack.settings import StackSettings
from segdepth_stack.stack import Stack
from tests.benchmarks.machine import described
from tests.models import FAMILY, lattice_frame, tiny_store

ROUNDS = 5


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        store = tiny_store(Path(folder) / "store", versions=2)
        settings = StackSettings(store=str(store), port=0, http_port=0, metrics_port=0)
        with Stack(settings) as stack, segdepth.connect(stack.address) as client:
            promoted, rolled_back = zip(*(one_round(client) for _ in range(ROUNDS)), strict=True)
    print(described())
    for name, times_s in (("promotion", promoted), ("rollback", rolled_back)):
        print(f"{name}: median {statistics.median(times_s):.2f} s, longest {max(times_s):.2f} s of {ROUNDS}")


def one_round(client: segdepth.Client) -> tuple[float, float]:
    """Time to version 2 and back to version 1 [s]."""
    begun = time.monotonic()
    client.promote(FAMILY, "2", "measured", force=True)
    there = shown(client, "2", begun)
    begun = time.monotonic()
    client.rollback(FAMILY, "measured")
    return there, shown(client, "1", begun)


def shown(client: segdepth.Client, version: str, begun: float) -> float:
    """Time from `begun` to the first result of the version [s]."""
    frame = lattice_frame(1)
    while client.estimate(frame, 0.1).model.version != version:
        pass
    return time.monotonic() - begun


if __name__ == "__main__":
    main()
