"""The cluster of KUBECONFIG, and one release in it that all tests share, in the order in which they stand.

Needs kubectl and helm, KubeRay and a default StorageClass in the cluster, and the images of the chart where its nodes
find them. CLUSTER_TEST_VALUES names a file of values to lay over ours; with CLUSTER_TEST_KEEP=1 the release stays.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import segdepth
import segdepth_stack.selftest
from tests.cluster.kube import CommandFailed, Kube, command
from tests.cluster.release import API_PORT, CHART, GATEWAY_PORT, NAME, ROOT, Release, values_of
from tests.cluster.station import Station

NAMESPACE = "segdepth-test"
KEEP, EXTRA = os.environ.get("CLUSTER_TEST_KEEP"), os.environ.get("CLUSTER_TEST_VALUES")
"""Read before other fixtures clear the environment."""

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this needs a cluster, and time."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def kube() -> Kube:
    """A namespace of our own, which takes only pods that are restricted."""
    for program in ("kubectl", "helm"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is not on PATH")
    try:
        command("kubectl", "get", "crd", "rayservices.ray.io")
    except CommandFailed as error:
        pytest.fail(f"the cluster of KUBECONFIG does not answer, or has no KubeRay: {error}")
    kube = Kube(NAMESPACE)
    label = "pod-security.kubernetes.io/enforce"
    kube.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {label: "restricted"}}}
    )
    return kube


@pytest.fixture(scope="session")
def release(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The chart, installed with ci/small.yaml, TLS and tokens."""
    folder = tmp_path_factory.mktemp("release")
    files = [CHART / "ci" / "small.yaml", HERE / "values.yaml"]
    if EXTRA:
        files.append(Path(EXTRA))
    release = Release(kube, folder, values_of(files))
    smoke = (ROOT / "training" / "recipes" / "smoke.toml").read_text()
    release.values["training"]["recipe"] = smoke.replace("ceo2-110-smoke", "ceo2-110")
    release.values["gateway"]["service"] = {"type": "NodePort", "nodePort": GATEWAY_PORT}
    release.values["api"]["service"] = {"type": "NodePort", "nodePort": API_PORT}
    release.make_secrets()
    release.upgrade()
    release.wait_ready()
    yield release
    if not KEEP:
        command("helm", "uninstall", NAME, "--namespace", NAMESPACE)
        command("kubectl", "delete", "namespace", NAMESPACE, timeout_s=300)


@pytest.fixture(scope="session")
def movie() -> list[NDArray[np.uint8]]:
    """Frames of a crystal, as stations send them."""
    return list(np.load(segdepth_stack.selftest.MOVIE)["frames"])


@pytest.fixture
def operator(release: Release) -> Iterator[segdepth.Client]:
    """May change models."""
    with release.client("operator") as client:
        yield client


@pytest.fixture
def station(release: Release, movie: list[NDArray[np.uint8]]) -> Iterator[Station]:
    """Streams until the test ends; its first answers are there."""
    with release.client("station") as client, Station(client, movie) as station:
        station.wait_for(10)
        yield station
