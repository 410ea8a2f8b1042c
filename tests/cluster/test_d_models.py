"""A candidate in the shadow, promoted and rolled back while a station streams."""

import time
from pathlib import Path

import pytest

import segdepth
from segdepth import errors
from tests.cluster.kube import until
from tests.cluster.release import Release, image
from tests.cluster.station import Station

FAMILY = "ceo2-110"
TWIN = "twin-1"


@pytest.fixture(scope="module")
def candidate(release: Release) -> str:
    """A version with the weights of stable, to which the channel `candidate` points."""
    code = (Path(__file__).parent / "candidates.py").read_text().replace('"twin"', f'"{TWIN}"')
    release.kube.run("candidate", image("serving"), code, **release.store_environment("training"))
    return TWIN


def answers_with(station: Station, version: str, timeout_s: float = 60) -> float:
    """Seconds until the newest answer names the version."""
    started = time.monotonic()
    until(f"answers of {version}", lambda: station.arrivals[-1].version == version, timeout_s, pause_s=0.05)
    return time.monotonic() - started


def test_replicas_run_the_candidate_in_the_shadow(operator: segdepth.Client, station: Station, candidate: str) -> None:
    def compared() -> segdepth.Shadow | None:
        models = {model.version.version: model for model in operator.models(FAMILY)}
        shadow = models[candidate].shadow
        return shadow if shadow and shadow.frames >= 20 else None

    shadow = until("20 frames in the shadow", compared, 180, pause_s=3)
    print(f"\n{shadow.frames} frames compared, {shadow.frames_dropped} sampled while busy")
    assert sum(counts.counts_differ for counts in shadow.doses) == 0, "the same weights count the same"
    station.stop()
    assert {arrival.version for arrival in station.arrivals} != {candidate}, "a candidate never answers"


def test_promotion_and_rollback_are_seen_in_the_results(
    operator: segdepth.Client, station: Station, candidate: str
) -> None:
    stable = station.arrivals[-1].version
    since = len(station.arrivals)
    change = operator.promote(FAMILY, candidate, "cluster test: the same weights")
    promoted_s = answers_with(station, candidate)
    assert (change.to_version, change.principal, change.forced) == (candidate, "operator", False)
    station.wait_for(20)
    operator.rollback(FAMILY, "cluster test: back")
    rolled_back_s = answers_with(station, stable)
    station.wait_for(20)
    station.stop()
    print(
        f"\npromoted in {promoted_s:.1f} s, rolled back in {rolled_back_s:.1f} s;"
        f" longest pause {station.longest_pause_s(since):.1f} s; {station.account()}"
    )
    assert [entry.to_version for entry in operator.history(FAMILY)][:2] == [stable, candidate]


def test_a_station_may_not_promote(release: Release, candidate: str) -> None:
    with release.client("station") as client, pytest.raises(errors.NotPermitted):
        client.promote(FAMILY, candidate, "a station's wish")
