"""Replicas and their pods follow the load: 1 → 2 → 1."""

import time
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from tests.cluster.kube import until
from tests.cluster.release import Release
from tests.cluster.station import Station

STATIONS = 2


def test_pods_of_the_model_follow_the_load(release: Release, movie: list[NDArray[np.uint8]]) -> None:
    until("one inference pod", lambda: len(release.kube.pods("inference")) == 1, 240)
    started = time.monotonic()
    with ExitStack() as stack:
        stations = []
        for _ in range(STATIONS):
            client = stack.enter_context(release.client("station"))
            stations.append(stack.enter_context(Station(client, movie, fps=60)))
        until("two inference pods", lambda: len(release.kube.pods("inference")) == 2, 240)
        print(f"\n1 → 2 after {time.monotonic() - started:.0f} s")
        until("the second replica answers", lambda: running_replicas(release) == 2, 240)
        for station in stations:
            station.stop()
            print(station.account())
    started = time.monotonic()
    until("one inference pod again", lambda: len(release.kube.pods("inference")) == 1, 400)
    print(f"2 → 1 after {time.monotonic() - started:.0f} s")


def running_replicas(release: Release) -> int:
    """Replicas that the gateway knows, from its metrics."""
    gateway = release.kube.pods("gateway")[0]
    ask = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9090/metrics').read().decode())"
    said = release.kube("exec", gateway, "-c", "ray", "--", "python", "-c", ask)
    lines = [line for line in said.splitlines() if line.startswith("segdepth_gateway_replicas ")]
    return round(float(lines[0].split()[1])) if lines else 0
