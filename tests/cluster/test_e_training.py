"""The scheduled run, begun by hand and killed half-way: it goes on, ends with a candidate, and the gate refuses it."""

import json

import pytest

import segdepth
from segdepth import errors
from tests.cluster.kube import until
from tests.cluster.release import NAME, Release, image

FAMILY = "ceo2-110"
RUN = "smoke-run-1"
RAYJOB = f"run-{RUN}"

LISTING = """
import json, os
from minio import Minio
settings = __import__("segdepth_artefacts").StoreSettings()
client = Minio(settings.endpoint, settings.access_key, settings.secret_key.get_secret_value(), secure=settings.secure)
found = client.list_objects("segdepth-training", prefix="runs/", recursive=True)
print(json.dumps([(one.object_name, one.last_modified.isoformat()) for one in found]))
"""


def run_objects(release: Release) -> dict[str, str]:
    """Keys of what the runs have stored, with the time of each."""
    where = release.store_environment("training")
    return dict(json.loads(release.kube.run("listing", image("serving"), LISTING, **where).splitlines()[-1]))


def test_a_run_killed_half_way_ends_with_a_candidate(release: Release, operator: segdepth.Client) -> None:
    release.kube("create", "job", RUN, f"--from=cronjob/{NAME}-training")
    until("the RayJob is made", lambda: RAYJOB in release.kube("get", "rayjobs", "-o", "name"), 120)

    def checkpoint() -> bool:
        return any("checkpoint" in key for key in run_objects(release))

    until("a checkpoint in the store", checkpoint, 900, pause_s=10)
    waves = {key: time for key, time in run_objects(release).items() if "exit-waves" in key}
    heads = list(release.kube.get("pods", "-l", "segdepth.io/ray=training,ray.io/node-type=head"))
    release.kube("delete", "pod", heads[0]["metadata"]["name"], "--grace-period=0", "--force")

    def state() -> str | None:
        status = release.kube.get("rayjob", RAYJOB)["status"]
        return (
            status.get("jobDeploymentStatus") if status.get("jobDeploymentStatus") in ("Complete", "Failed") else None
        )

    until("the run ends", state, 1200, pause_s=5)
    status = release.kube.get("rayjob", RAYJOB)["status"]
    assert status["jobStatus"] == "SUCCEEDED", status
    after = run_objects(release)
    assert {key: after.get(key) for key in waves} == waves, "what was simulated before the kill was not done again"
    candidates = [model for model in operator.models(FAMILY) if "candidate" in model.channels]
    print(f"\ncandidate {candidates[0].version.version}, {status.get('failed', 0)} of its clusters failed")
    assert candidates[0].version.version.startswith("2")


def test_a_worse_candidate_is_refused_by_the_gate(operator: segdepth.Client) -> None:
    candidate = next(model for model in operator.models(FAMILY) if "candidate" in model.channels)
    with pytest.raises(errors.GateRefused) as refused:
        operator.promote(FAMILY, candidate.version.version, "hoping")
    print(f"\n{refused.value}")
    assert "worse" in str(refused.value)
