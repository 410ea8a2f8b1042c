"""The admission policy for batch jobs, evaluated: the template's RayJob may be made, and no other."""

import copy
from collections.abc import Callable
from typing import Any

import cel
import pytest

from segdepth_api.kubernetes import filled
from tests.chart.manifests import of_kind
from tests.chart.policy import Manifest
from tests.chart.schemas import violations

Render = Callable[[str], list[Manifest]]
Change = Callable[[dict[str, Any]], Any]


def template(manifests: list[Manifest], component: str) -> str:
    (found,) = (
        manifest["data"]["rayjob.yaml"]
        for manifest in of_kind(manifests, "ConfigMap")
        if manifest["metadata"]["name"].endswith(f"-{component}-template")
    )
    return str(found)


@pytest.fixture(scope="module")
def policy(render: Render) -> Manifest:
    (found,) = of_kind(render("default"), "ValidatingAdmissionPolicy")
    return found


@pytest.fixture
def job(render: Render) -> dict[str, Any]:
    return filled(template(render("default"), "batch"), {"id": "batch-7", "priority": "low"})


def objections(policy: Manifest, job: dict[str, Any]) -> list[str]:
    """Messages of the validations that fail; one that cannot be evaluated fails, as failurePolicy says."""
    spec = policy["spec"]
    variables: dict[str, Any] = {}
    context = {"object": job, "variables": variables}
    for variable in spec["variables"]:
        variables[variable["name"]] = cel.evaluate(variable["expression"], context)
    failed = []
    for validation in spec["validations"]:
        try:
            holds = cel.evaluate(validation["expression"], context)
        except (RuntimeError, TypeError, ValueError):
            holds = False
        if holds is not True:
            failed.append(validation["message"])
    return failed


@pytest.mark.parametrize("component", ["batch", "training"])
def test_a_filled_template_is_a_rayjob(manifests: list[Manifest], component: str) -> None:
    templates = [
        manifest
        for manifest in of_kind(manifests, "ConfigMap")
        if manifest["metadata"]["name"].endswith(f"-{component}-template")
    ]
    for each in templates:
        job = filled(each["data"]["rayjob.yaml"], {"id": "a-1", "priority": "low", "owner": "0a1b-2c3d"})
        # KubeRay names the Job that submits a RayJob after it; a run's own Job has the name of its id.
        assert job["metadata"]["name"] == {"batch": "a-1", "training": "run-a-1"}[component]
        assert "a-1" in job["spec"]["entrypoint"]
        assert violations(job) == []
        assert "{{" not in str(job)


def test_the_templates_job_may_be_made(policy: Manifest, job: dict[str, Any]) -> None:
    assert objections(policy, job) == []


@pytest.mark.parametrize("name", ["small", "gpu", "external-s3", "tls-tokens", "registry", "gpu-facility"])
def test_so_it_is_with_other_values(render: Render, name: str) -> None:
    (policy,) = of_kind(render(name), "ValidatingAdmissionPolicy")
    job = filled(template(render(name), "batch"), {"id": "batch-7", "priority": "high"})
    assert objections(policy, job) == []


def test_it_is_asked_for_the_apis_account_alone(policy: Manifest) -> None:
    (condition,) = policy["spec"]["matchConditions"]

    def asked(user: str) -> bool:
        return bool(cel.evaluate(condition["expression"], {"request": {"userInfo": {"username": user}}}))

    assert asked("system:serviceaccount:lab:rel-segdepth-api")
    assert not asked("system:serviceaccount:lab:rel-segdepth-training")
    assert not asked("kubernetes-admin")


def head(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    return spec


def worker(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    return spec


def submitter(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["submitterPodTemplate"]["spec"]
    return spec


def cluster(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["rayClusterSpec"]
    return spec


def start(job: dict[str, Any]) -> dict[str, Any]:
    params: dict[str, Any] = cluster(job)["workerGroupSpecs"][0]["rayStartParams"]
    return params


def first(pod: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = pod["containers"][0]
    return container


RUN = {"exec": {"command": ["sh", "-c", "evil"]}}
SHELL = {"num-cpus": "1; evil"}
TAMPERED: dict[str, Change] = {
    "entrypoint": lambda job: job["spec"].update(entrypoint="python -c evil"),
    "entrypoint of another job": lambda job: job["metadata"].update(name="batch-8"),
    "runtime environment": lambda job: job["spec"].update(runtimeEnvYAML="pip: [evil]"),
    "another cluster": lambda job: job["spec"].update(clusterSelector={"ray.io/cluster": "serving"}),
    "image of the head": lambda job: first(head(job)).update(image="evil:1"),
    "image of a worker": lambda job: first(worker(job)).update(image="evil:1"),
    "image of the submitter": lambda job: first(submitter(job)).update(image="evil:1"),
    "image of the autoscaler": lambda job: cluster(job)["autoscalerOptions"].update(image="evil:1"),
    "image of another group": lambda job: cluster(job)["workerGroupSpecs"].append(_evil_group(job)),
    "command": lambda job: first(worker(job)).update(command=["evil"]),
    "arguments": lambda job: first(submitter(job)).update(args=["evil"]),
    "second container": lambda job: head(job)["containers"].append({"name": "evil", "image": "evil:1"}),
    "init container": lambda job: worker(job).update(initContainers=[{"name": "evil", "image": "evil:1"}]),
    "hook": lambda job: first(worker(job)).update(lifecycle={"postStart": RUN}),
    "liveness probe": lambda job: first(worker(job)).update(livenessProbe=RUN),
    "startup probe": lambda job: first(head(job)).update(startupProbe=RUN),
    "readiness probe": lambda job: first(worker(job)).update(readinessProbe=RUN),
    "shell in a start parameter": lambda job: start(job).update(SHELL),
    "another start parameter": lambda job: start(job).update({"node-ip-address": "203.0.113.9"}),
    "shell in the head's": lambda job: cluster(job)["headGroupSpec"]["rayStartParams"].update(SHELL),
    "command by annotation": lambda job: job["metadata"].update(annotations={"ray.io/overwrite-container-cmd": "true"}),
    "command by a pod's annotation": lambda job: cluster(job)["headGroupSpec"]["template"]["metadata"][
        "annotations"
    ].update({"ray.io/overwrite-container-cmd": "true"}),
    "environment": lambda job: first(worker(job))["env"].append({"name": "PYTHONSTARTUP", "value": "evil"}),
    "Ray's environment": lambda job: first(worker(job))["env"].append({"name": "RAY_EVIL", "value": "evil"}),
    "autoscaler's environment": lambda job: cluster(job)["autoscalerOptions"]["env"].append({"name": "LD_PRELOAD"}),
    "another ConfigMap": lambda job: first(worker(job))["envFrom"].append({"configMapRef": {"name": "other"}}),
    "another Secret": lambda job: first(worker(job))["envFrom"].append({"secretRef": {"name": "rel-segdepth-minio"}}),
    "a key of another component": lambda job: first(worker(job))["env"].append(
        {
            "name": "SEGDEPTH_STORE_SECRET_KEY",
            "valueFrom": {"secretKeyRef": {"name": "rel-segdepth-store-gateway", "key": "secret-key"}},
        }
    ),
    "a Secret as a volume": lambda job: worker(job)["volumes"].append({"name": "x", "secret": {"secretName": "y"}}),
    "a folder of the node": lambda job: head(job)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    "another account": lambda job: worker(job).update(serviceAccountName="rel-segdepth-api"),
    "the node's network": lambda job: worker(job).update(hostNetwork=True),
    "no tokens": lambda job: cluster(job).update(authOptions={"mode": "disabled"}),
    "open dashboard": lambda job: cluster(job)["headGroupSpec"].update(serviceType="NodePort"),
    "open service": lambda job: cluster(job)["headGroupSpec"].update(headService={"spec": {"type": "LoadBalancer"}}),
}


def _evil_group(job: dict[str, Any]) -> dict[str, Any]:
    group: dict[str, Any] = copy.deepcopy(cluster(job)["workerGroupSpecs"][0])
    group["groupName"] = "evil"
    group["template"]["spec"]["containers"][0]["image"] = "evil:1"
    return group


@pytest.mark.parametrize("what", TAMPERED)
def test_no_other_may(policy: Manifest, job: dict[str, Any], what: str) -> None:
    TAMPERED[what](job)
    assert len(objections(policy, job)) == 1
