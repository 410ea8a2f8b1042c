"""The environment of every pod, parsed back by the settings models that will read it there."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic_settings import BaseSettings

from segdepth_api.settings import ApiSettings
from segdepth_artefacts.settings import StoreSettings
from segdepth_batch.settings import BatchSettings
from segdepth_gateway.settings import GatewaySettings
from segdepth_inference.settings import InferenceSettings
from segdepth_stack.cluster import ClusterSettings
from segdepth_training.machine.settings import TrainingSettings
from tests.chart.conftest import OPEN, merged
from tests.chart.helm import Helm
from tests.chart.manifests import PodTemplate, documents, of_kind, pods
from tests.chart.policy import Manifest
from tools.chart.values import CHART_DECIDES

Render = Callable[[str], list[Manifest]]
SETTINGS: tuple[type[BaseSettings], ...] = (
    ApiSettings,
    BatchSettings,
    ClusterSettings,
    GatewaySettings,
    InferenceSettings,
    StoreSettings,
    TrainingSettings,
)
SECRET = "a secret of the cluster, at least as long as it must be"
READ_BY = {
    "gateway": {ClusterSettings, GatewaySettings, InferenceSettings, StoreSettings},
    "inference": {InferenceSettings, StoreSettings},
    "head": {ClusterSettings, InferenceSettings},
    "api": {ApiSettings},
    "seed": {StoreSettings},
    "test": {StoreSettings},
    "training": {StoreSettings, TrainingSettings},
    "batch": {BatchSettings, StoreSettings},
}
"""Which settings each component's processes read."""


def environment(pod: PodTemplate, manifests: list[Manifest]) -> dict[str, str]:
    """Variables of a pod's first container, secrets made up."""
    container = pod.spec["containers"][0]
    maps = {manifest["metadata"]["name"]: manifest["data"] for manifest in of_kind(manifests, "ConfigMap")}
    variables: dict[str, str] = {}
    for source in container.get("envFrom", []):
        variables |= maps[source["configMapRef"]["name"]]
    for each in container.get("env", []):
        optional = each.get("valueFrom", {}).get("secretKeyRef", {}).get("optional", False)
        if not optional:
            variables[each["name"]] = each.get("value", SECRET)
    return variables


def read(settings: type[BaseSettings], variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings from these variables alone."""
    with monkeypatch.context() as patch:
        for model in SETTINGS:
            for field in model.model_fields:
                patch.delenv(f"{model.model_config['env_prefix']}{field}".upper(), raising=False)
        for name, value in variables.items():
            if name.startswith("SEGDEPTH_"):
                patch.setenv(name, value)
        return settings()


def test_every_pod_can_read_its_settings(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    for pod in pods(manifests):
        variables = environment(pod, manifests)
        for settings in READ_BY.get(pod.component, set()):
            assert any(name.startswith(str(settings.model_config["env_prefix"])) for name in variables), str(pod)
            read(settings, variables, monkeypatch)


def test_no_variable_is_unknown(manifests: list[Manifest]) -> None:
    """pydantic-settings does not see a misspelt variable: it would be without effect."""
    known = {
        f"{model.model_config['env_prefix']}{field}".upper(): model
        for model in SETTINGS
        for field in model.model_fields
    }
    for manifest in of_kind(manifests, "ConfigMap"):
        for name in manifest["data"]:
            if name.startswith("SEGDEPTH_"):
                assert name in known, f"{manifest['metadata']['name']}: {name}"


def test_config_maps_hold_text(manifests: list[Manifest]) -> None:
    for manifest in of_kind(manifests, "ConfigMap"):
        assert all(isinstance(value, str) for value in manifest["data"].values())


def test_no_secret_is_in_a_config_map(manifests: list[Manifest]) -> None:
    secrets = {
        f"{model.model_config['env_prefix']}{name}".upper()
        for model in SETTINGS
        for name, field in model.model_fields.items()
        if "Secret" in str(field.annotation) or name in ("access_key", "secret_key")
    }
    assert "SEGDEPTH_STORE_SECRET_KEY" in secrets
    assert "SEGDEPTH_GATEWAY_SESSION_KEY" in secrets
    for manifest in of_kind(manifests, "ConfigMap"):
        assert not secrets & manifest["data"].keys(), manifest["metadata"]["name"]


def pod_of(manifests: list[Manifest], component: str) -> PodTemplate:
    return next(pod for pod in pods(manifests) if pod.component == component)


def test_what_an_operator_sets_arrives(helm: Helm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of value: whole and broken numbers, words, truth, nothing, large numbers that must not become 1e+09."""
    given = {
        "gateway": {
            "settings": {"credit_frames": 7, "poll_s": 0.25, "buffer_bytes": 8589934592, "gate_max_ece": 0.04},
            "drain": 45,
        },
        "inference": {"settings": {"family": "ceo2-110", "max_replicas": 3, "min_replicas": 2, "shadow_share": 0.05}},
        "api": {"settings": {"max_body_bytes": 1073741824, "max_waiting": 0}},
        "training": {"settings": {"promote_automatically": True, "gates": {"max_ece": 0.03}, "lease_ttl_s": 300}},
        "store": {"settings": {"region": "eu-1", "timeout_s": 2.5, "attempts": 5}},
    }
    rendered = helm.template(merged(OPEN, given))
    manifests = [manifest for text in rendered.values() for manifest in documents(text)]
    gateway_pod = environment(pod_of(manifests, "gateway"), manifests)
    gateway = read(GatewaySettings, gateway_pod, monkeypatch)
    assert (gateway.credit_frames, gateway.poll_s, gateway.buffer_bytes) == (7, 0.25, 8589934592)
    assert (gateway.drain_s, gateway.gate_max_ece) == (45, 0.04)
    inference = read(InferenceSettings, environment(pod_of(manifests, "inference"), manifests), monkeypatch)
    assert (inference.family, inference.min_replicas, inference.max_replicas) == ("ceo2-110", 2, 3)
    assert inference.shadow_share == 0.05
    api = read(ApiSettings, environment(pod_of(manifests, "api"), manifests), monkeypatch)
    assert (api.max_body_bytes, api.max_waiting) == (1073741824, 0)
    store = read(StoreSettings, gateway_pod, monkeypatch)
    assert (store.region, store.timeout_s, store.attempts) == ("eu-1", 2.5, 5)
    training = read(TrainingSettings, environment(pod_of(manifests, "training"), manifests), monkeypatch)
    assert (training.promote_automatically, training.gates.max_ece, training.lease_ttl_s) == (True, 0.03, 300)
    assert read(ClusterSettings, gateway_pod, monkeypatch).gateways == 2


def test_what_the_chart_decides_is_right(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = render("tls-tokens")
    pod = pod_of(manifests, "gateway")
    gateway = read(GatewaySettings, environment(pod, manifests), monkeypatch)
    ports = {port["name"]: port["containerPort"] for port in pod.spec["containers"][0]["ports"]}
    mounts = {mount["mountPath"] for mount in pod.spec["containers"][0]["volumeMounts"]}
    assert gateway.exposed
    assert not gateway.insecure
    assert gateway.port == ports["grpc"]
    assert (gateway.metrics_host, gateway.metrics_port) == ("0.0.0.0", ports["gateway-metrics"])
    assert (gateway.health_host, gateway.health_port) == ("0.0.0.0", ports["health"])
    for path in (gateway.tls_cert, gateway.tls_key, gateway.tls_client_ca, gateway.tokens):
        assert str(path.parent) in mounts
    assert gateway.session_key.get_secret_value() == SECRET
    assert gateway.store == ""

    api = read(ApiSettings, environment(pod_of(manifests, "api"), manifests), monkeypatch)
    services = {manifest["metadata"]["name"]: manifest for manifest in of_kind(manifests, "Service")}
    host, _, port = api.gateway.partition(":")
    assert services[host]["spec"]["ports"][0]["port"] == int(port)
    assert api.tls_cert
    assert not api.insecure
    assert api.gateway_ca
    assert api.gateway_cert


def test_the_store_is_where_the_values_say(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, endpoint, secure, url in (
        ("default", "rel-segdepth-minio:9000", False, "s3://segdepth-models"),
        ("external-s3", "s3.facility.example:9443", True, "s3://em-models"),
    ):
        manifests = render(name)
        store = read(StoreSettings, environment(pod_of(manifests, "inference"), manifests), monkeypatch)
        assert (store.endpoint, store.secure, store.url) == (endpoint, secure, url)
        assert store.secret_key.get_secret_value() == SECRET


def test_no_value_is_overruled(render: Render) -> None:
    """What the chart writes by itself cannot be given: it would be of no effect, in silence."""
    decided = {
        f"{settings.model_config['env_prefix']}{name}".upper()
        for settings, names in CHART_DECIDES.items()
        for name in names
    }
    # Given, these hold: MinIO must be switched off for the first, the others are defaults.
    may_be_given = {"SEGDEPTH_STORE_ENDPOINT", "SEGDEPTH_API_BATCH_PREFIXES", "SEGDEPTH_BATCH_THREADS"}
    written = {
        name
        for manifest in of_kind(render("default"), "ConfigMap")
        for name in manifest["data"]
        if name.startswith("SEGDEPTH_") and not name.startswith("SEGDEPTH_CLUSTER_")
    }
    assert written - decided == may_be_given


def test_batch_jobs_read_and_write_below_the_principals_folder(
    helm: Helm, render: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, bucket in (("default", "segdepth-batch"), ("external-s3", "em-batch")):
        manifests = render(name)
        api = read(ApiSettings, environment(pod_of(manifests, "api"), manifests), monkeypatch)
        assert api.batch_prefixes == {"*": (f"s3://{bucket}/data/{{principal}}/",)}
        assert api.batch_store == f"s3://{bucket}"
    given = {"api": {"settings": {"batch_prefixes": {"em-*": ["s3://raw/em/"]}}}}
    rendered = helm.template(merged(OPEN, given))
    manifests = [manifest for text in rendered.values() for manifest in documents(text)]
    api = read(ApiSettings, environment(pod_of(manifests, "api"), manifests), monkeypatch)
    assert api.batch_prefixes == {"em-*": ("s3://raw/em/",)}


def test_batch_jobs_have_the_priority_classes_of_the_release(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = render("default")
    api = read(ApiSettings, environment(pod_of(manifests, "api"), manifests), monkeypatch)
    classes = {manifest["metadata"]["name"]: manifest["value"] for manifest in of_kind(manifests, "PriorityClass")}
    values = [classes[api.batch_priority_classes[priority]] for priority in ("low", "normal", "high")]
    assert values == sorted(values)
    assert max(values) < 0
