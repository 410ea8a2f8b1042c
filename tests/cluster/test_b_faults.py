"""A station streams while parts of the service go: it sees each frame once, or accounted for in a Gap."""

import time

from tests.cluster.kube import until
from tests.cluster.release import NAME, Release
from tests.cluster.station import Station


def ended(station: Station, since: int, what: str) -> None:
    """Stop the station, check what it got, and report the longest pause."""
    station.wait_for(20)
    station.stop()
    print(f"\n{what}: longest pause {station.longest_pause_s(since):.1f} s; {station.account()}")


def replaced(release: Release, component: str, gone: str) -> None:
    """Return when another pod of the component is ready in place of `gone`."""

    def another() -> bool:
        return any(pod != gone for pod in release.kube.pods(component))

    until(f"another pod in place of {gone}", another, 180)


def test_an_inference_pod_is_deleted(release: Release, station: Station) -> None:
    since = len(station.arrivals)
    gone = release.kube.delete_pod("inference")
    replaced(release, "inference", gone)
    release.kube("wait", "--for=delete", f"pod/{gone}", "--timeout=120s", timeout_s=130)
    ended(station, since, "inference pod deleted")


def test_an_inference_pod_dies_without_a_word(release: Release, station: Station) -> None:
    since = len(station.arrivals)
    gone = release.kube.pods("inference")[0]
    release.kube("delete", "pod", gone, "--grace-period=0", "--force")
    replaced(release, "inference", gone)
    ended(station, since, "inference pod killed")


def test_the_gateway_pod_is_deleted(release: Release, station: Station) -> None:
    since = len(station.arrivals)
    gone = release.kube.delete_pod("gateway")
    replaced(release, "gateway", gone)
    ended(station, since, "gateway pod deleted (the only one)")


def test_minio_is_down_for_a_minute(release: Release, station: Station) -> None:
    since = len(station.arrivals)
    release.kube("scale", f"statefulset/{NAME}-minio", "--replicas=0")
    time.sleep(60)
    release.kube("scale", f"statefulset/{NAME}-minio", "--replicas=1")
    release.kube("rollout", "status", f"statefulset/{NAME}-minio", "--timeout=120s", timeout_s=130)
    ended(station, since, "MinIO down for 60 s")
