"""What stands after `helm install`, and who is turned away."""

import grpc
import pytest

import segdepth
from segdepth import errors
from tests.cluster.kube import CommandFailed, Kube, command, segdepth_command
from tests.cluster.release import CHART, GATEWAY, NAME, Release, image

REACH = """
import socket, sys
for name, port in {targets}:
    try:
        socket.create_connection((name, port), timeout=4).close()
        print(f"{{name}}:{{port}} open")
    except OSError as error:
        print(f"{{name}}:{{port}} closed")
"""


def test_helm_test_counts_as_the_model_does(release: Release) -> None:
    command("helm", "test", NAME, "--namespace", release.kube.namespace, timeout_s=300)
    said = release.kube("logs", f"{NAME}-test-stream")
    print(said)
    assert said.startswith("ok:")


def test_every_pod_is_restricted(release: Release) -> None:
    events = release.kube.get("events", "--field-selector", "reason=FailedCreate")
    assert not [event["message"] for event in events if "PodSecurity" in event["message"]]


@pytest.mark.parametrize("token", [None, "sd_foreign"])
def test_a_caller_without_a_token_of_ours_is_turned_away(release: Release, token: str | None) -> None:
    tls = segdepth.TLS(ca=release.ca)
    with segdepth.connect(GATEWAY, token=token, tls=tls) as client, pytest.raises(errors.NotAuthenticated):
        client.models()


def test_plaintext_is_turned_away(release: Release) -> None:
    with grpc.insecure_channel(GATEWAY) as channel, pytest.raises(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(timeout=5)


def test_rays_job_api_asks_for_its_token(release: Release) -> None:
    head = release.kube.pods("head")[0]
    ask = (
        "import urllib.request, urllib.error\n"
        "try:\n print(urllib.request.urlopen('http://127.0.0.1:8265/api/jobs/', timeout=10).status)\n"
        "except urllib.error.HTTPError as error:\n print(error.code)"
    )
    said = release.kube("exec", head, "-c", "ray", "--", "python", "-c", ask)
    assert said.strip() in ("401", "403")


@pytest.mark.parametrize(
    "wrong, named",
    [
        ("gateway.settings.credit_frames=-1", "credit_frames"),
        ("gateway.settings.credit_framse=10", "credit_framse"),
        ("inference.settings.shadow_share=2", "shadow_share"),
        ("inference.workers.max=many", "max"),
        ("gatway.replicas=2", "gatway"),
    ],
)
def test_a_wrong_value_fails_at_once_with_its_name(kube: Kube, wrong: str, named: str) -> None:
    values = ("--values", str(CHART / "ci" / "small.yaml"), "--set", wrong)
    with pytest.raises(CommandFailed, match=named):
        command("helm", "install", "wrong", str(CHART), "--namespace", kube.namespace, "--dry-run=server", *values)


def test_without_certificates_the_chart_says_what_is_missing(kube: Kube) -> None:
    with pytest.raises(CommandFailed, match=r"gateway\.tls\.secretName"):
        command("helm", "install", "wrong", str(CHART), "--namespace", kube.namespace, "--dry-run=server")


@pytest.fixture(scope="module")
def namespaces(kube: Kube) -> None:
    labels = {"segdepth-strangers": {}, "segdepth-friends": {"segdepth-test": "friend"}}
    for name, own in labels.items():
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": own}})


def reached(namespace: str, targets: list[tuple[str, int]]) -> list[str]:
    """Which of the targets a pod in that namespace reaches."""
    said = Kube(namespace).run("reach", image("api"), REACH.format(targets=targets))
    return [line.removesuffix(" open") for line in said.splitlines() if line.endswith(" open")]


def enforced(kube: Kube) -> bool:
    """Whether this cluster enforces policies: a port that a policy of ours closes is closed."""
    return not reached("segdepth-strangers", [(f"{NAME}-minio.{kube.namespace}", 9000)])


@pytest.mark.usefixtures("namespaces")
def test_pods_reach_what_they_may_and_nothing_else(release: Release) -> None:
    inside = release.kube.namespace
    head = release.kube.get("pod", release.kube.pods("head")[0])["status"]["podIP"]
    gateway = (f"{NAME}-gateway.{inside}", 50051)
    targets = [gateway, (f"{NAME}-minio.{inside}", 9000), (f"{NAME}-api.{inside}", 8080), (head, 8265), (head, 6379)]
    friend = reached("segdepth-friends", targets)
    assert f"{gateway[0]}:{gateway[1]}" in friend
    if not enforced(release.kube):
        pytest.skip("this cluster does not enforce NetworkPolicy: that strangers are kept out was not shown")
    assert friend == [f"{gateway[0]}:{gateway[1]}"]
    assert reached("segdepth-strangers", targets) == []


def test_the_command_line_reaches_the_gateway(release: Release) -> None:
    said = segdepth_command("models", **release.environment("station"))
    print(said)
    assert "ceo2-110" in said
