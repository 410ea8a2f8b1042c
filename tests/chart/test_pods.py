"""Every pod, KubeRay's own containers included: what it may do, where it may write, what it asks for."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.chart.helm import CHART
from tests.chart.manifests import PodTemplate, pods
from tests.chart.policy import Manifest

Render = Callable[[str], list[Manifest]]
IMAGES = CHART.parents[1] / "k8s" / "images"
RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"} | {
    "projected",
    "secret",
}
"""https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
TALK_TO_THE_API_SERVER = {"head", "api", "training", "batch", "training-schedule"}
"""Components with an account's token: autoscalers in the heads, the api (batch jobs), what starts a run on schedule."""


def test_pod_security_restricted(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        assert _against_restricted(pod.spec) == [], str(pod)


def _against_restricted(spec: dict[str, Any]) -> list[str]:
    """What the admission of a namespace with pod-security.kubernetes.io/enforce: restricted would object to."""
    wrong = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    wrong += [volume["name"] for volume in spec.get("volumes", []) if not RESTRICTED_VOLUMES & volume.keys()]
    whole = spec.get("securityContext", {})
    if any(not sysctl["name"].startswith("kernel.shm_rmid") for sysctl in whole.get("sysctls", [])):
        wrong.append("sysctls")
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container.get("securityContext", {})
        name = container["name"]
        both = {**whole, **own}
        wrong += [f"{name}: runAsNonRoot"] * (both.get("runAsNonRoot") is not True)
        wrong += [f"{name}: runAsUser"] * (both.get("runAsUser") == 0)
        wrong += [f"{name}: seccomp"] * (
            both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost")
        )
        wrong += [f"{name}: privilege escalation"] * (own.get("allowPrivilegeEscalation") is not False)
        wrong += [f"{name}: privileged"] * bool(own.get("privileged"))
        wrong += [f"{name}: capabilities"] * ("ALL" not in own.get("capabilities", {}).get("drop", []))
        added = set(own.get("capabilities", {}).get("add", []))
        wrong += [f"{name}: adds capabilities"] * bool(added - {"NET_BIND_SERVICE"})
        wrong += [f"{name}: host port"] * any("hostPort" in port for port in container.get("ports", []))
    return wrong


def test_the_check_itself_objects() -> None:
    assert len(_against_restricted({"containers": [{"name": "a"}], "hostPID": True})) == 5


def test_root_file_systems_are_read_only(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        for container in pod.containers:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, f"{pod}: {container['name']}"


def test_home_and_tmp_can_be_written(manifests: list[Manifest]) -> None:
    """As emptyDirs; HOME is where our images have it, or where the container's own environment says."""
    (ours,) = set(re.findall(r"HOME=(\S+)", "".join(path.read_text() for path in IMAGES.glob("*.Dockerfile"))))
    for pod in pods(manifests):
        empty = {volume["name"] for volume in pod.spec["volumes"] if "emptyDir" in volume}
        for container in pod.containers:
            mounts = {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] in empty}
            home = {each["name"]: each.get("value") for each in container.get("env", [])}.get("HOME")
            assert "/tmp" in mounts, f"{pod}: {container['name']}"
            if "segdepth/" in container["image"] or container["name"] == "autoscaler":
                home = home or ours
            assert home is None or home in mounts, f"{pod}: {container['name']}"


def test_volumes_are_mounted_and_mounts_have_volumes(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        mounted = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", [])}
        claims = {"data"} if pod.owner == "StatefulSet" else set()
        assert mounted == volumes | claims, str(pod)
        for container in pod.containers:
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            assert len(paths) == len(set(paths)), str(pod)


def test_secrets_are_mounted_to_be_read(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        secret = {volume["name"] for volume in pod.spec["volumes"] if "secret" in volume}
        for container in pod.containers:
            for mount in container["volumeMounts"]:
                assert mount["name"] not in secret or mount.get("readOnly") is True, str(pod)


def test_no_token_of_an_account_unless_needed(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        mounted = pod.spec.get("automountServiceAccountToken", True)
        if mounted:
            assert pod.component in TALK_TO_THE_API_SERVER, str(pod)
            assert pod.spec["serviceAccountName"], str(pod)
            assert pod.labels["segdepth.io/api-server"] == "allowed", str(pod)
        else:
            assert "segdepth.io/api-server" not in pod.labels, str(pod)


@pytest.mark.parametrize("name", ["default", "small"])
def test_workers_have_no_token_of_an_account(render: Render, name: str) -> None:
    for pod in pods(render(name)):
        if pod.ray and pod.place != "head":
            assert pod.spec["automountServiceAccountToken"] is False, str(pod)


def test_resources(manifests: list[Manifest]) -> None:
    """CPU and memory asked for, memory limited: one that leaks must not take its node with it."""
    for pod in pods(manifests):
        for container in pod.containers:
            resources, where = container["resources"], f"{pod}: {container['name']}"
            assert {"cpu", "memory"} <= resources["requests"].keys(), where
            assert "memory" in resources["limits"], where
            assert _amount(resources["requests"]["memory"]) <= _amount(resources["limits"]["memory"]), where
            if "cpu" in resources["limits"]:
                assert _amount(resources["requests"]["cpu"]) <= _amount(resources["limits"]["cpu"]), where


def test_gpus_are_limits_and_what_ray_counts(render: Render) -> None:
    """Kubernetes takes extended resources from limits; Ray must count as many."""
    seen = set()
    for pod in pods(render("gpu")):
        gpus = pod.spec["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0)
        if pod.ray and pod.place in ("inference", "worker"):
            assert gpus == 1, str(pod)
            assert any(toleration["key"] == "nvidia.com/gpu" for toleration in pod.spec["tolerations"]), str(pod)
            seen.add(pod.component)
        else:
            assert gpus == 0, str(pod)
    assert {"inference", "training"} <= seen


def test_copies_are_spread(render: Render) -> None:
    """Copies of what stations need to stay connected are not on one node."""
    for pod in pods(render("default")):
        if pod.component in ("gateway", "inference", "api"):
            (constraint,) = pod.spec["topologySpreadConstraints"]
            assert constraint["topologyKey"] == "kubernetes.io/hostname"
            selector = constraint["labelSelector"]["matchLabels"]
            assert selector.items() <= pod.labels.items(), str(pod)


def test_probes(manifests: list[Manifest]) -> None:
    """What serves is ready when it says so. None asks a Serve HTTP proxy, as KubeRay's default does: there is none."""
    for pod in pods(manifests):
        serves = pod.component in ("api", "minio") or (pod.ray and pod.place != "head")
        container = pod.spec["containers"][0]
        assert not serves or "readinessProbe" in container, str(pod)
        for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
            probe = container.get(kind, {})
            assert "-/healthz" not in str(probe), str(pod)
            assert probe.get("httpGet", {}).get("port") != 8000, str(pod)
            assert "8000" not in str(probe.get("exec", "")), str(pod)


def test_a_gateway_is_ready_when_its_model_answers(render: Render) -> None:
    for name in ("default", "tls-tokens"):
        (gateway,) = (pod for pod in pods(render(name)) if pod.component == "gateway")
        container = gateway.spec["containers"][0]
        (health,) = (port["containerPort"] for port in container["ports"] if port["name"] == "health")
        assert container["readinessProbe"]["grpc"] == {"port": health}


def test_what_stops_has_time_to_answer(render: Render) -> None:
    """A gateway's grace holds its drain, as preStop waits for it; replicas outlive the gateways."""
    for pod in pods(render("default")):
        if pod.owner == "RayService":
            hook = " ".join(pod.spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"])
            assert pod.spec["terminationGracePeriodSeconds"] >= 30 + 30, str(pod)
            assert ("/tmp/drain" in hook) == (pod.component == "gateway"), str(pod)


def test_secrets_reach_only_those_that_need_them(manifests: list[Manifest]) -> None:
    """Each component has its own key of the store and no other; heads and submitters have none."""
    for pod in pods(manifests):
        keys = {
            variable["valueFrom"]["secretKeyRef"]["name"]
            for container in pod.containers
            for variable in container.get("env", [])
            if variable["name"].startswith("SEGDEPTH_STORE_") and "valueFrom" in variable
        }
        assert keys <= _own_key(pod), f"{pod}: {keys}"
        if pod.component in ("gateway", "inference", "seed", "test", "training", "batch"):
            assert keys, str(pod)


def _own_key(pod: PodTemplate) -> set[str]:
    of = {"test": "inference"}.get(pod.component, pod.component)
    return {f"rel-segdepth-store-{of}", f"s3-{of}"}


def test_no_secret_is_in_plain_sight(render: Render) -> None:
    """Values hold no secrets, and no variable that is one has its value beside it."""
    for name in ("default", "tls-tokens", "external-s3"):
        for pod in pods(render(name)):
            for container in pod.containers:
                for variable in container.get("env", []):
                    if any(word in variable["name"] for word in ("KEY", "SECRET", "PASSWORD", "TOKEN")):
                        assert "value" not in variable, f"{pod}: {variable['name']}"


def _amount(quantity: Any) -> float:
    """A quantity of Kubernetes as a number."""
    units = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    text = str(quantity)
    for unit in sorted(units, key=len, reverse=True):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * units[unit]
    return float(text)


def _asked_for(pod: PodTemplate, what: str) -> float:
    """What the scheduler sets aside for a pod: its containers together, or an init container if that asks for more."""

    def of(containers: list[dict[str, Any]]) -> list[float]:
        return [_amount(container["resources"]["requests"][what]) for container in containers]

    return max(sum(of(pod.spec["containers"])), *of(pod.spec.get("initContainers", [])), 0.0)


def test_small_is_small(render: Render) -> None:
    """A Ray cluster asks for 0.6 CPUs and 5 GiB; two, a job's and the rest fit on 2 CPUs with 0.27 taken."""
    by_owner: dict[str, list[PodTemplate]] = {}
    for pod in pods(render("small")):
        name = f"cluster {pod.labels['segdepth.io/ray']}" if pod.ray else pod.component
        by_owner.setdefault(name, []).append(pod)
    clusters = {name: members for name, members in by_owner.items() if members[0].ray}
    cpus = {name: sum(_asked_for(pod, "cpu") for pod in members) for name, members in by_owner.items()}
    for name, members in clusters.items():
        assert cpus[name] <= 0.6 + 1e-9, name
        assert sum(_asked_for(pod, "memory") for pod in members) <= 5 * 2**30, name
    job = max(cpus[f"cluster {job}"] + cpus[f"{job}-submitter"] for job in ("training", "batch"))
    standing, passing = cpus["api"] + cpus["minio"], cpus["buckets"] + cpus["seed"]
    assert 2 * cpus["cluster serving"] + job + standing + passing + 0.27 <= 2.0
