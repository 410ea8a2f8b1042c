"""Rendered manifests, and the pods that Kubernetes and KubeRay will make of them."""

import copy
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.chart.policy import Manifest, Pod

MADE_BY_KUBERAY = {"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/created-by": "kuberay-operator"}


class StrictLoader(yaml.CSafeLoader):
    """YAML in which no key stands twice: one of the two would be lost."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"twice in one mapping: {twice}", node.start_mark)
    return dict(loader.construct_pairs(node, deep=True))


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def documents(text: str) -> list[Manifest]:
    """The manifests of a YAML stream."""
    return [document for document in yaml.load_all(text, Loader=StrictLoader) if document]


def embedded(manifests: Iterable[Manifest]) -> list[Manifest]:
    """RayJobs that ConfigMaps hold as templates, for a CronJob or the api to create."""
    found = []
    for manifest in of_kind(manifests, "ConfigMap"):
        for text in (manifest.get("data") or {}).values():
            if "kind: RayJob" in text:
                found += _once(text)
    return found


@functools.cache
def _once(text: str) -> list[Manifest]:
    return documents(text)


def of_kind(manifests: Iterable[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


@dataclass(frozen=True, eq=False)
class PodTemplate:
    """A pod that will run: who makes it, where its template stands, its labels, and its whole spec.

    `spec` holds the containers that KubeRay adds as well.
    """

    owner: str
    name: str
    place: str
    labels: dict[str, str]
    spec: dict[str, Any]
    ray: bool = False
    annotations: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.owner}/{self.name} {self.place}".strip()

    @property
    def containers(self) -> list[dict[str, Any]]:
        return [*self.spec["containers"], *self.spec.get("initContainers", [])]

    @property
    def component(self) -> str:
        return self.labels.get("app.kubernetes.io/component", "")

    def seen(self, namespace: str, ip: str = "10.244.0.99") -> Pod:
        """As network policies see it."""
        ports = {
            port["name"]: port["containerPort"]
            for container in self.spec["containers"]
            for port in container.get("ports", [])
            if "name" in port
        }
        return Pod(namespace, self.labels, ip, ports)


def pods(manifests: Iterable[Manifest]) -> list[PodTemplate]:
    """Every pod of the manifests, those of embedded RayJobs too."""
    manifests = list(manifests)
    return [pod for manifest in [*manifests, *embedded(manifests)] for pod in _pods_of(manifest)]


def _pods_of(manifest: Manifest) -> Iterator[PodTemplate]:
    kind, name, spec = manifest["kind"], manifest["metadata"]["name"], manifest.get("spec", {})
    match kind:
        case "Deployment" | "StatefulSet" | "DaemonSet" | "Job":
            yield _pod(kind, name, "", spec["template"])
        case "CronJob":
            yield _pod(kind, name, "", spec["jobTemplate"]["spec"]["template"])
        case "Pod":
            yield _pod(kind, name, "", manifest)
        case "RayCluster":
            yield from _ray_pods(kind, name, spec)
        case "RayService":
            yield from _ray_pods(kind, name, spec["rayClusterConfig"])
        case "RayJob":
            yield from _ray_pods(kind, name, spec["rayClusterSpec"])
            if "submitterPodTemplate" in spec:
                yield _pod(kind, name, "submitter", spec["submitterPodTemplate"])


def _pod(owner: str, name: str, place: str, template: Manifest) -> PodTemplate:
    metadata = template.get("metadata") or {}
    return PodTemplate(
        owner,
        name,
        place,
        metadata.get("labels") or {},
        template["spec"],
        annotations=metadata.get("annotations") or {},
    )


def _ray_pods(owner: str, name: str, cluster: Manifest) -> Iterator[PodTemplate]:
    head = cluster["headGroupSpec"]
    spec = copy.deepcopy(head["template"]["spec"])
    if cluster.get("enableInTreeAutoscaling"):
        spec["containers"].append(_autoscaler(cluster.get("autoscalerOptions") or {}))
    yield _ray_pod(owner, name, "head", "headgroup", head["template"], spec)
    for group in cluster.get("workerGroupSpecs", []):
        spec = copy.deepcopy(group["template"]["spec"])
        spec.setdefault("initContainers", []).append(_wait_for_gcs(spec["containers"][0]))
        yield _ray_pod(owner, name, "worker", group["groupName"], group["template"], spec)


def _ray_pod(
    owner: str, name: str, node_type: str, group: str, template: Manifest, spec: dict[str, Any]
) -> PodTemplate:
    """With the labels that KubeRay gives: a template may change all but ray.io/{cluster,group,node-type}."""
    own = (template.get("metadata") or {}).get("labels") or {}
    labels = {
        **MADE_BY_KUBERAY,
        "ray.io/is-ray-node": "yes",
        **own,
        "ray.io/cluster": f"{name}-made-up-by-kuberay",
        "ray.io/group": group,
        "ray.io/node-type": node_type,
    }
    place = node_type if node_type == "head" else group
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    return PodTemplate(owner, name, place, labels, spec, ray=True, annotations=annotations)


def _wait_for_gcs(ray: dict[str, Any]) -> dict[str, Any]:
    """The init container that KubeRay puts into workers: made of the Ray container, with small resources of its own."""
    kept = {key: ray[key] for key in ("image", "securityContext", "volumeMounts", "imagePullPolicy") if key in ray}
    resources = {"requests": {"cpu": "200m", "memory": "256Mi"}, "limits": {"cpu": "200m", "memory": "256Mi"}}
    return {"name": "wait-gcs-ready", **copy.deepcopy(kept), "resources": resources}


def _autoscaler(options: dict[str, Any]) -> dict[str, Any]:
    """The autoscaler's container in the head, made of autoscalerOptions alone."""
    kept = {key: options[key] for key in ("securityContext", "volumeMounts", "resources", "env") if key in options}
    kept.setdefault("resources", {"requests": {"cpu": "500m", "memory": "512Mi"}})
    return {"name": "autoscaler", "image": options.get("image", "the head's"), **copy.deepcopy(kept)}
