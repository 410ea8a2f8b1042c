"""`helm upgrade` replaces the whole Ray cluster, and `helm rollback` does it again, while a station streams."""

from tests.cluster.kube import command, until
from tests.cluster.release import NAME, Release
from tests.cluster.station import Station


def active_cluster(release: Release) -> str:
    """Name of the Ray cluster that serves."""
    return str(release.kube.get("rayservice", NAME)["status"]["activeServiceStatus"].get("rayClusterName", ""))


def replaced(release: Release, before: str) -> None:
    """Return when another cluster serves and the old one is gone."""
    until("another cluster serves", lambda: active_cluster(release) not in ("", before), 600)
    until(
        "the old cluster is gone",
        lambda: not release.kube.get("pods", "-l", f"ray.io/cluster={before}"),
        300,
    )


def test_an_upgrade_and_its_rollback(release: Release, station: Station) -> None:
    for what in ("upgrade", "rollback"):
        before, since = active_cluster(release), len(station.arrivals)
        if what == "upgrade":
            release.upgrade(gateway={"settings": {"credit_frames": 256}})
        else:
            command("helm", "rollback", NAME, "--namespace", release.kube.namespace)
        replaced(release, before)
        station.wait_for(20)
        print(f"\nhelm {what}: longest pause {station.longest_pause_s(since):.1f} s")
    station.stop()
    print(station.account())
