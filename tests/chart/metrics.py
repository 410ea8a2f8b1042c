"""Every metric that Prometheus will find, with its labels: ours from the code, others as their sources say."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from ray.util.metrics import Counter, Gauge, Histogram

from segdepth_api.metrics import Metrics as ApiMetrics
from segdepth_gateway.metrics import Metrics as GatewayMetrics
from segdepth_inference.metrics import Metrics as ReplicaMetrics
from segdepth_inference.metrics import ShadowMetrics

Metrics = dict[str, set[str]]
"""Labels by the name that Prometheus stores."""

TARGET = {"namespace", "pod", "job", "instance", "service", "container", "endpoint"}
"""Labels that Prometheus Operator gives whatever it finds."""

OTHERS: Metrics = {
    "up": set(),
    # https://github.com/kubernetes/kube-state-metrics/tree/main/docs/metrics/workload
    "kube_pod_container_status_restarts_total": {"pod", "container", "uid"},
    "kube_pod_status_phase": {"pod", "phase", "uid"},
    # KubeRay 1.6, ray-operator/controllers/ray/metrics
    "kuberay_job_deployment_status": {"name", "uid", "deployment_status"},
    "kuberay_service_condition_upgrade_in_progress": {"name", "uid", "condition"},
    # https://github.com/minio/minio/blob/master/docs/metrics/prometheus/list.md
    "minio_cluster_capacity_usable_free_bytes": {"server"},
    "minio_cluster_capacity_usable_total_bytes": {"server"},
    # https://cert-manager.io/docs/devops-tips/prometheus-metrics/
    "certmanager_certificate_expiration_timestamp_seconds": {"name", "issuer_name"},
    # Ray 2.60, python/ray/dashboard/modules/reporter/reporter_agent.py
    "ray_node_cpu_utilization": {"ip"},
    "ray_node_mem_used": {"ip"},
    "ray_node_gpus_utilization": {"ip", "GpuIndex"},
}


def known() -> Metrics:
    """All of them."""
    ours = [_of_registry(GatewayMetrics().registry), _of_registry(ApiMetrics().registry), _of_ray()]
    return {name: labels | TARGET for metrics in (*ours, OTHERS) for name, labels in metrics.items()}


def _of_registry(registry: CollectorRegistry) -> Metrics:
    found: Metrics = {}
    for family in registry.collect():
        for name, labels in _series(family.name, family.type, _labels(registry, family.name)):
            found[name] = labels
    return found


def _labels(registry: CollectorRegistry, family: str) -> set[str]:
    collector: Any = registry._names_to_collectors[family]
    return set(collector._labelnames)


def _series(name: str, kind: str, labels: set[str]) -> Iterator[tuple[str, set[str]]]:
    """What Prometheus stores of a metric of a kind."""
    match kind:
        case "counter":
            yield f"{name}_total", labels
        case "histogram":
            yield f"{name}_bucket", labels | {"le"}
            yield f"{name}_sum", labels
            yield f"{name}_count", labels
        case "info":
            # The labels are the info itself, set where it is: catalogue and server know family, version and sha256.
            yield f"{name}_info", labels | {"family", "version", "sha256"}
        case _:
            yield name, labels


def _of_ray() -> Metrics:
    """Replicas' metrics, which Ray exports with its prefix."""
    kinds = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
    return {
        name: labels
        for metrics in (ReplicaMetrics(), ShadowMetrics())
        for metric in _within(vars(metrics).values())
        for name, labels in _series(f"ray_{metric.info['name']}", kinds[type(metric)], set(metric.info["tag_keys"]))
    }


def _within(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, dict):
            yield from _within(value.values())
        else:
            yield value
