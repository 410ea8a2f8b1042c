"""What every set of values renders: manifests that the API server would take, whole and consistent."""

import json
import re
from collections import Counter
from collections.abc import Callable

import pytest
import yaml

from tests.chart.conftest import CI, MATRIX, OPEN, values_of
from tests.chart.helm import CHART, NAMESPACE, RELEASE, Helm, HelmError
from tests.chart.manifests import embedded, of_kind, pods
from tests.chart.policy import Manifest, selector_matches
from tests.chart.schemas import violations

CLUSTER_WIDE = {"PriorityClass", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}

Render = Callable[[str], list[Manifest]]


@pytest.mark.parametrize("name", MATRIX)
def test_lint(helm: Helm, name: str) -> None:
    assert helm.lint(values_of(name)) == []


def test_the_chart_is_at_the_version_of_the_packages() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.search(r'^version = "(.*)"$', (CHART.parents[1] / "protos/pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert chart["version"] == chart["appVersion"] == version[1]


def test_every_ci_file_is_in_the_matrix() -> None:
    assert set(CI) == {"small", "gpu", "external-s3", "tls-tokens"}


def test_an_open_gateway_must_be_asked_for(helm: Helm) -> None:
    with pytest.raises(HelmError, match=r"gateway\.tls\.secretName and gateway\.tokens\.secretName"):
        helm.template({"api": OPEN["api"]})
    with pytest.raises(HelmError, match=r"gateway\.tokens\.secretName"):
        helm.template({"api": OPEN["api"], "gateway": {"tls": {"secretName": "a"}}})
    with pytest.raises(HelmError, match=r"api\.tls\.secretName"):
        helm.template({"gateway": OPEN["gateway"]})


def test_an_external_store_must_be_named(helm: Helm) -> None:
    with pytest.raises(HelmError, match=r"store\.settings\.endpoint"):
        helm.template({**OPEN, "minio": {"enabled": False}})
    with pytest.raises(HelmError, match=r"store\.secrets\.\w+: name the Secret"):
        helm.template({**OPEN, "minio": {"enabled": False}, "store": {"settings": {"endpoint": "https://s3.example"}}})


def test_minio_and_another_store_exclude_each_other(helm: Helm) -> None:
    with pytest.raises(HelmError, match=r"store\.settings\.endpoint: .*minio\.enabled"):
        helm.template({**OPEN, "store": {"settings": {"endpoint": "https://s3.example"}}})


def test_the_api_server_would_take_it(manifests: list[Manifest]) -> None:
    wrong = {
        f"{manifest['kind']}/{manifest['metadata']['name']}": errors
        for manifest in [*manifests, *embedded(manifests)]
        if (errors := violations(manifest))
    }
    assert not wrong


def test_nothing_is_there_twice_or_elsewhere(manifests: list[Manifest]) -> None:
    names = Counter((manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests)
    assert [name for name, count in names.items() if count > 1] == []
    assert {manifest["metadata"].get("namespace", NAMESPACE) for manifest in manifests} == {NAMESPACE}


def test_names_are_the_releases_and_valid(manifests: list[Manifest]) -> None:
    """Those that all namespaces share name the release's as well."""
    for manifest in manifests:
        name, shared = manifest["metadata"]["name"], manifest["kind"] in CLUSTER_WIDE
        assert name.startswith(f"{NAMESPACE}-{RELEASE}-" if shared else RELEASE), name
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name), name


def test_labels_are_the_recommended(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "segdepth"
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert labels["app.kubernetes.io/component"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm"


def test_labels_and_names_stay_short_with_a_long_release(helm: Helm, render: Render) -> None:
    """The name of a RayService gets 27 characters from KubeRay, the generated pods' more; 63 is a label's limit."""
    for manifest in render("default"):
        assert len(manifest["metadata"]["name"]) <= 40 + len("-training-submitter")


def test_services_and_budgets_select_pods_that_there_are(manifests: list[Manifest]) -> None:
    there = [pod.labels for pod in pods(manifests)]
    selectors = [
        (manifest["metadata"]["name"], {"matchLabels": manifest["spec"]["selector"]})
        for manifest in of_kind(manifests, "Service")
    ]
    selectors += [
        (manifest["metadata"]["name"], manifest["spec"]["selector"])
        for manifest in of_kind(manifests, "PodDisruptionBudget")
    ]
    assert selectors
    for name, selector in selectors:
        matching = [labels for labels in there if selector_matches(selector, labels)]
        assert len(matching) == 1, f"{name} selects {len(matching)} of the pods"


def test_services_reach_ports_that_are_open(manifests: list[Manifest]) -> None:
    for service in of_kind(manifests, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        (pod,) = (pod for pod in pods(manifests) if selector_matches(selector, pod.labels))
        open_ports = {port["name"] for container in pod.containers for port in container.get("ports", [])}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in open_ports, service["metadata"]["name"]


def test_budgets_let_a_node_be_drained(manifests: list[Manifest]) -> None:
    """A budget that allows no disruption blocks every drain for ever."""
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        spec, name = budget["spec"], budget["metadata"]["name"]
        replicas = _replicas(manifests, spec["selector"])
        assert spec.get("maxUnavailable", 0) > 0 or spec["minAvailable"] < replicas, name


def _replicas(manifests: list[Manifest], selector: Manifest) -> int:
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] in ("Deployment", "StatefulSet") and selector_matches(
            selector, spec["template"]["metadata"]["labels"]
        ):
            return int(spec["replicas"])
        if manifest["kind"] == "RayService":
            for group in spec["rayClusterConfig"]["workerGroupSpecs"]:
                if selector_matches(selector, group["template"]["metadata"]["labels"]):
                    return int(group["minReplicas"])
    raise AssertionError(f"no pods of {selector}")


def test_what_is_referred_to_is_there(manifests: list[Manifest]) -> None:
    """Every ConfigMap, Secret and ServiceAccount of a pod is the chart's own, or named in the values."""
    own = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    given = {
        "gateway-tls",
        "gateway-tokens",
        "gateway-session",
        "api-tls",
        "test-token",
        "pull-a",
        "pull-b",
        "registry",
    }
    given |= {f"s3-{component}" for component in ("gateway", "inference", "training", "batch", "api", "seed")}
    for pod in pods(manifests):
        for kind, name in _references(pod.spec):
            assert (kind, name) in own or name in given, f"{pod}: {kind} {name}"


def _references(spec: Manifest) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = {("Secret", each["name"]) for each in spec.get("imagePullSecrets", [])}
    if "serviceAccountName" in spec:
        found.add(("ServiceAccount", spec["serviceAccountName"]))
    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            found.add(("ConfigMap", volume["configMap"]["name"]))
        if "secret" in volume:
            found.add(("Secret", volume["secret"]["secretName"]))
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        for source in container.get("envFrom", []):
            found |= {("ConfigMap", source["configMapRef"]["name"])} if "configMapRef" in source else set()
            found |= {("Secret", source["secretRef"]["name"])} if "secretRef" in source else set()
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            found |= {("Secret", reference["name"])} if reference else set()
    return found


def test_roles_bind_accounts_that_there_are(manifests: list[Manifest]) -> None:
    own = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    for binding in of_kind(manifests, "RoleBinding"):
        assert ("Role", binding["roleRef"]["name"]) in own
        for subject in binding["subjects"]:
            assert (subject["kind"], subject["name"]) in own
            assert subject["namespace"] == NAMESPACE
    for role in of_kind(manifests, "Role"):
        for rule in role["rules"]:
            assert "*" not in json.dumps(rule), role["metadata"]["name"]
            assert "secrets" not in rule["resources"], role["metadata"]["name"]


def test_images(manifests: list[Manifest]) -> None:
    """Of each repository one tag, never `latest`, and never pulled anew where it is there."""
    tags: dict[str, set[str]] = {}
    for pod in pods(manifests):
        for container in pod.containers:
            if container["name"] != "autoscaler":  # KubeRay gives it the head's
                repository, _, tag = container["image"].rpartition(":")
                assert repository, container["image"]
                assert container["imagePullPolicy"] == "IfNotPresent", pod
                tags.setdefault(repository, set()).add(tag)
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert "latest" not in set().union(*tags.values())
    assert all(len(each) == 1 for each in tags.values()), tags
    ours = {repository: tag for repository, tag in tags.items() if "segdepth/" in repository}
    assert set().union(*ours.values()) == {version}, ours


def test_a_registry_is_put_before_our_images(render: Render) -> None:
    for pod in pods(render("registry")):
        for container in pod.containers:
            if "segdepth/" in container["image"]:
                assert container["image"].startswith("registry.example/em/segdepth/")
        assert pod.spec["imagePullSecrets"] == [{"name": "pull-a"}, {"name": "pull-b"}], str(pod)


def test_toggles_take_away_what_they_say(render: Render) -> None:
    def components(name: str) -> set[str]:
        return {pod.component for pod in pods(render(name))}

    everything = components("default")
    assert everything - components("no-api") == {"api", "batch", "batch-submitter"}
    assert everything - components("no-batch") == {"batch", "batch-submitter"}
    assert everything - components("no-training") == {"training", "training-submitter", "training-schedule"}
    assert everything - components("no-seed") == {"seed"}
    assert everything - components("external-s3") == {"minio", "buckets"}
    assert not of_kind(render("no-policies"), "NetworkPolicy")
    assert not of_kind(render("no-policies"), "PodDisruptionBudget")
    assert not any(manifest["apiVersion"].startswith("monitoring.coreos.com") for manifest in render("default"))


def test_a_recipe_may_be_given(render: Render) -> None:
    (recipe,) = (
        manifest for manifest in of_kind(render("own-recipe"), "ConfigMap") if "recipe.toml" in manifest["data"]
    )
    assert recipe["data"]["recipe.toml"] == "[recipe]\nname = 'own'\n"


def test_node_ports(render: Render) -> None:
    ports = [
        port.get("nodePort")
        for service in of_kind(render("node-ports"), "Service")
        for port in service["spec"]["ports"]
    ]
    assert {port for port in ports if port} == {30051, 30080}
