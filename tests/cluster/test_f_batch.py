"""A batch job over 2,000 frames: a worker is taken away half-way, nothing is lost and nothing is done twice."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.cluster.kube import CommandFailed, command, segdepth_command, until
from tests.cluster.release import NAME, Release, image

FRAMES = 2000

MANIFEST = """
import json
from minio import Minio
settings = __import__("segdepth_artefacts").StoreSettings()
client = Minio(settings.endpoint, settings.access_key, settings.secret_key.get_secret_value(), secure=settings.secure)
def listed(prefix):
    return [one.object_name for one in client.list_objects("segdepth-batch", prefix=prefix, recursive=True)]
manifest = json.loads(client.get_object("segdepth-batch", "jobs/{job}/manifest.json").read())
print(json.dumps({{"manifest": manifest, "objects": listed("jobs/{job}/")}}))
"""


@pytest.fixture(scope="module")
def long_movie(tmp_path_factory: pytest.TempPathFactory, movie: list[NDArray[np.uint8]]) -> Path:
    path = tmp_path_factory.mktemp("batch") / "night.npy"
    np.save(path, np.stack([movie[number % len(movie)] for number in range(FRAMES)]))
    return path


def batch(release: Release, who: str, *words: str, timeout_s: float = 300) -> str:
    """What `segdepth batch ...` prints."""
    return segdepth_command("batch", *words, timeout_s=timeout_s, **release.environment(who))


def rayjob(release: Release, job: str) -> dict[str, Any]:
    return dict(release.kube.get("rayjob", job))


@pytest.fixture(scope="module")
def job(release: Release, long_movie: Path) -> str:
    said = batch(release, "analyst", "submit", str(long_movie), "--sampling", "0.1", "--key", "night-1", "--no-maps")
    return str(re.findall(r"batch-[a-z0-9]+", said)[0])


def test_the_same_submission_makes_no_second_job(release: Release, long_movie: Path, job: str) -> None:
    said = batch(release, "analyst", "submit", str(long_movie), "--sampling", "0.1", "--key", "night-1", "--no-maps")
    assert job in said
    assert len(release.kube.get("rayjobs", "-l", "app.kubernetes.io/component=batch")) == 1


def test_another_principal_does_not_see_it(release: Release, job: str) -> None:
    with pytest.raises(CommandFailed, match="no job"):
        batch(release, "other", "status", job)


def test_a_worker_is_deleted_and_every_frame_is_counted_once(release: Release, job: str) -> None:
    def done() -> int:
        found = re.search(r"(\d+) (?:of|/) ?2,?000", batch(release, "analyst", "status", job).replace("\n", " "))
        return int(found.group(1)) if found else 0

    until("a tenth of the frames", lambda: done() >= FRAMES // 10, 900, pause_s=5)
    workers = release.kube.get("pods", "-l", "segdepth.io/ray=batch,ray.io/node-type=worker")
    release.kube("delete", "pod", workers[0]["metadata"]["name"], "--grace-period=0", "--force")

    def state() -> str | None:
        status = rayjob(release, job)["status"].get("jobDeploymentStatus")
        return status if status in ("Complete", "Failed") else None

    until("the job ends", state, 1500, pause_s=5)
    assert rayjob(release, job)["status"]["jobStatus"] == "SUCCEEDED"
    print(batch(release, "analyst", "status", job))
    code = MANIFEST.format(job=job)
    found = json.loads(release.kube.run("manifest", image("serving"), code, **release.store_environment("batch")))
    manifest = found["manifest"]
    assert manifest["frames"] == FRAMES
    assert manifest["ok"] + manifest["suspect"] == FRAMES
    tables = [name for name in found["objects"] if "/columns/" in name]
    assert len(tables) == len(manifest["chunks"]) == -(-FRAMES // 64), "one table a chunk: none is there twice"
    first = sorted(chunk["first"] for chunk in manifest["chunks"])
    assert first == list(range(0, FRAMES, 64)), "each frame in one chunk"


def test_the_apis_account_makes_no_other_job(release: Release) -> None:
    template = release.kube.get("configmap", f"{NAME}-batch-template")["data"]["rayjob.yaml"]
    priority = next(
        one["metadata"]["name"]
        for one in json.loads(command("kubectl", "get", "priorityclasses", "-o", "json"))["items"]
        if release.kube.namespace in one["metadata"]["name"]
    )
    honest = template.replace("{{id}}", "honest").replace("{{priority}}", priority)
    account = f"system:serviceaccount:{release.kube.namespace}:{NAME}-api"

    def make(document: str) -> str:
        return release.kube("create", "--dry-run=server", "--as", account, "-f", "-", stdin=document)

    assert "honest" in make(honest)
    for was, now in (
        (f"image: {image('serving')}", "image: stranger/miner:1"),
        ("python -m segdepth_batch run", "python -m http.server"),
        ("SEGDEPTH_STORE_SECRET_KEY", "LD_PRELOAD"),
        (f"{NAME}-store-batch", f"{NAME}-minio"),
    ):
        assert was in honest
        with pytest.raises(CommandFailed, match="not the template's"):
            make(honest.replace(was, now))
