"""The network policies, evaluated: who reaches whom, and everything else that must not."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.chart.conftest import MATRIX
from tests.chart.helm import NAMESPACE, RELEASE
from tests.chart.manifests import PodTemplate, of_kind, pods
from tests.chart.policy import Host, Manifest, Peer, Pod, allowed, isolated

Render = Callable[[str], list[Manifest]]

OUTSIDE = {
    "station": Host("10.20.3.4"),
    "barred station": Host("10.20.99.4"),
    "stranger": Host("203.0.113.9"),
    "api server": Host("172.30.0.1"),
    "facility's s3": Host("198.51.100.7"),
    "beamline pod": Pod("beamlines", {"app": "viewer"}, "10.244.1.1"),
    "ingress": Pod("ingress-nginx", {"app": "nginx"}, "10.244.1.2"),
    "foreign pod": Pod("elsewhere", {"app": "curious"}, "10.244.1.3"),
    "disguised pod": Pod(
        "elsewhere",
        {
            "app.kubernetes.io/name": "segdepth",
            "app.kubernetes.io/instance": RELEASE,
            "app.kubernetes.io/component": "gateway",
            "segdepth.io/instance": RELEASE,
            "segdepth.io/ray": "serving",
        },
        "10.244.1.4",
    ),
    "neighbour": Pod(NAMESPACE, {"app": "neighbour"}, "10.244.1.5"),
    "prometheus": Pod("monitoring", {"app.kubernetes.io/name": "prometheus"}, "10.244.1.6"),
    "operator": Pod("kuberay-system", {"app.kubernetes.io/name": "kuberay-operator"}, "10.244.1.7"),
    "dns": Pod("kube-system", {"k8s-app": "kube-dns"}, "10.244.1.8"),
    "other kube-system pod": Pod("kube-system", {"app": "anything"}, "10.244.1.9"),
}
RAY_PORTS = (6379, 8265, 10001, 10002, 52365, 33333)
"""GCS, dashboard, client, the first worker's, the dashboard agent's, and one of those that Ray draws."""


@dataclass(frozen=True)
class Place:
    """All that may talk: the release's pods by component (heads apart, by cluster), and everything outside."""

    policies: list[Manifest]
    peers: dict[str, Peer]

    def may(self, source: str, target: str, port: int, protocol: str = "TCP") -> bool:
        return allowed(self.policies, self.peers[source], self.peers[target], port, protocol)


def named(pod: PodTemplate) -> str:
    """A pod's name in the tables below: gateway, serving head, training worker, training submitter, ..."""
    if pod.owner == "RayService":
        return "serving head" if pod.place == "head" else pod.component
    if pod.owner == "RayJob":
        return f"{pod.component.removesuffix('-submitter')} {pod.place}"
    return pod.component


def place(manifests: list[Manifest]) -> Place:
    inside = {named(pod): pod.seen(NAMESPACE, f"10.244.0.{number}") for number, pod in enumerate(pods(manifests), 1)}
    policies = [
        {**policy, "metadata": {**policy["metadata"], "namespace": NAMESPACE}}
        for policy in of_kind(manifests, "NetworkPolicy")
    ]
    return Place(policies, {**inside, **OUTSIDE})


@pytest.fixture(scope="module")
def facility(render: Render) -> Place:
    """A gateway open to a range of addresses and a namespace, MinIO, everything enabled."""
    return place(render("tls-tokens"))


PORTS = (22, 53, 443, 8000, 8080, 9000, 9001, 9090, 9443, 50051, 50052, *RAY_PORTS)
SERVING = ("serving head", "gateway", "inference")
TRAINING = ("training head", "training worker")
BATCH = ("batch head", "batch worker")
SUBMITTERS = ("training submitter", "batch submitter")
HEADS = ("serving head", "training head", "batch head")

ALLOWED = [
    # stations and the release's own namespace reach the gateway, and of the gateway one port
    (("station", "beamline pod", "neighbour", "api", "test"), ("gateway",), (50051,)),
    # browsers come through an ingress
    (("ingress", "neighbour"), ("api",), (8080,)),
    # Prometheus reads metrics
    (("prometheus",), ("gateway",), (9090,)),
    (("prometheus",), ("api",), (8080,)),
    (("prometheus",), ("minio",), (9000,)),
    (("prometheus",), (*SERVING, *TRAINING, *BATCH, *SUBMITTERS), (8080,)),
    # the operator watches the heads' dashboards
    (("operator",), (*SERVING, *TRAINING, *BATCH, *SUBMITTERS), (8265, 8000)),
    # those with a key reach the store
    (("gateway", "inference", *TRAINING, *BATCH, "api", "seed", "buckets", "test"), ("minio",), (9000,)),
    # autoscalers, the scheduled job and the api make pods and RayJobs
    ((*HEADS, "training-schedule", "api"), ("api server",), (443,)),
    # pods of one Ray cluster talk to each other, on whatever ports Ray draws, and so does what submits its job
    (SERVING, SERVING, PORTS),
    ((*TRAINING, SUBMITTERS[0]), (*TRAINING, SUBMITTERS[0]), PORTS),
    ((*BATCH, SUBMITTERS[1]), (*BATCH, SUBMITTERS[1]), PORTS),
]
"""Sources, targets, ports. Everything else is denied, see test_nothing_else."""

DENIED = [
    ("barred station", "gateway", 50051),
    ("stranger", "gateway", 50051),
    ("station", "gateway", 9090),
    ("station", "inference", 8265),
    ("station", "serving head", 8265),
    ("station", "serving head", 6379),
    ("station", "minio", 9000),
    ("neighbour", "serving head", 8265),
    ("neighbour", "minio", 9000),
    ("api", "serving head", 8265),
    ("gateway", "api server", 443),
    ("inference", "api server", 443),
    ("training worker", "api server", 443),
    ("training worker", "serving head", 6379),
    ("gateway", "training head", 6379),
    ("serving head", "minio", 9000),
    ("inference", "stranger", 443),
    ("disguised pod", "serving head", 6379),
]
"""Some of what the policies are for, said out loud."""


def expected(here: Place) -> set[tuple[str, str, int]]:
    """The table as single flows, of the pods that there are. A pod reaches itself without a network."""
    return {
        (source, target, port)
        for sources, targets, ports in ALLOWED
        for source in sources
        for target in targets
        for port in ports
        if source in here.peers and target in here.peers and source != target
    }


def test_the_table_knows_every_pod(facility: Place) -> None:
    named_there = {name for sources, targets, _ in ALLOWED for name in (*sources, *targets)}
    assert facility.peers.keys() - OUTSIDE.keys() <= named_there


@pytest.mark.parametrize("flow", ALLOWED, ids=lambda flow: f"{'+'.join(flow[0])} to {'+'.join(flow[1])}"[:80])
def test_may(facility: Place, flow: tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]) -> None:
    for source in flow[0]:
        for target in flow[1]:
            for port in flow[2]:
                there = source in facility.peers and target in facility.peers
                assert not there or facility.may(source, target, port), f"{source} to {target}:{port}"


@pytest.mark.parametrize("source, target, port", DENIED, ids=str)
def test_may_not(facility: Place, source: str, target: str, port: int) -> None:
    assert not facility.may(source, target, port)


def test_nothing_else(facility: Place) -> None:
    """Of all flows with one of our pods at an end, exactly those of the table."""
    ours = facility.peers.keys() - OUTSIDE.keys()
    flows = {
        (source, target, port)
        for source in facility.peers
        for target in facility.peers
        for port in PORTS
        if source != target and {source, target} & ours and facility.may(source, target, port)
    }
    assert flows - expected(facility) - {(source, "dns", 53) for source in ours} == set()


def test_everyone_may_ask_for_names(facility: Place) -> None:
    for name, peer in facility.peers.items():
        if isinstance(peer, Pod) and peer.namespace == NAMESPACE:
            for protocol in ("UDP", "TCP"):
                assert facility.may(name, "dns", 53, protocol), name
            assert name == "neighbour" or not facility.may(name, "dns", 9153), name
            assert name == "neighbour" or not facility.may(name, "dns", 50051, "UDP"), name


@pytest.mark.parametrize("name", [name for name in MATRIX if name != "no-policies"])
def test_every_pod_is_closed_by_default(render: Render, name: str) -> None:
    manifests = render(name)
    here = place(manifests)
    for pod in pods(manifests):
        for direction in ("Ingress", "Egress"):
            assert isolated(here.policies, pod.seen(NAMESPACE), direction), f"{pod}: {direction}"


@pytest.mark.parametrize("name", [name for name in MATRIX if name != "no-policies"])
def test_strangers_reach_nothing(render: Render, name: str) -> None:
    """Pods of other namespaces, whatever labels they give themselves, and machines that nobody named."""
    manifests = render(name)
    here = place(manifests)
    ports = (50051, 50052, 9090, 8080, 8000, 9000, 9001, 22, *RAY_PORTS)
    for pod in pods(manifests):
        for stranger in ("foreign pod", "disguised pod", "stranger", "other kube-system pod"):
            for port in ports:
                assert not here.may(stranger, named(pod), port), f"{stranger} to {pod}:{port}"


def test_policies_touch_no_one_elses_pods(facility: Place) -> None:
    for direction in ("Ingress", "Egress"):
        assert not isolated(facility.policies, OUTSIDE["neighbour"], direction)  # type: ignore[arg-type]


def test_the_api_asks_the_api_server_for_batch_jobs_alone(render: Render) -> None:
    without = place(render("no-batch"))
    assert not without.may("api", "api server", 443)
    assert without.may("api", "gateway", 50051)


def test_an_external_store_is_reached_where_the_values_say(render: Render) -> None:
    here = place(render("external-s3"))
    for pod in ("gateway", "inference", "training worker", "training head", "seed"):
        assert here.may(pod, "facility's s3", 9443), pod
        assert not here.may(pod, "facility's s3", 443) or "head" in pod, pod
        assert not here.may(pod, "stranger", 9443), pod
    assert not here.may("serving head", "facility's s3", 9443)


def test_selectors_need_no_generated_name(manifests: list[Manifest]) -> None:
    """KubeRay gives each cluster a name of its own making, and the next one another."""
    for policy in of_kind(manifests, "NetworkPolicy"):
        assert "ray.io/cluster" not in str(policy["spec"]), policy["metadata"]["name"]
