"""A scheduled run with all it has in a bucket: killed, taken up on an empty disk, ended as candidate."""

import json
import re
import time
from pathlib import Path
from subprocess import Popen

import psutil
import pytest

from segdepth_artefacts import ArtefactStore, Manifest, open_store
from segdepth_training.recipes.seeds import run_seed
from tests.e2e.training.drivers import FAMILY, KILL_WITHIN_S, RECIPE, end_all, finish, kill, start
from tests.models import released_model
from tests.s3 import ACCESS_KEY, SECRET_KEY, S3Server

RUN = "20261124-a"
STABLE = "20260101-released"


def register_stable(store: ArtefactStore) -> None:
    """The released model as the smoke family's stable version: no smoke run can be as good."""
    folder = released_model()
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
    manifest = manifest.model_copy(update={"family": FAMILY, "version": STABLE})
    store.register(manifest, {name: folder / name for name in manifest.files})
    store.point(FAMILY, "stable", STABLE, principal="tests", reason="a test", expected=None)


def listed(server: S3Server, bucket: str, prefix: str) -> dict[str, tuple[str, object]]:
    """Etag and time of each object below a prefix."""
    found = server.client().list_objects(bucket, prefix, recursive=True)
    return {one.object_name or "": (one.etag or "", one.last_modified) for one in found if not one.is_dir}


def wait_for(server: S3Server, bucket: str, key: str, word: bytes, process: Popen[bytes], log: Path) -> None:
    """Return when an object is there and has a word in it."""
    end = time.monotonic() + KILL_WITHIN_S
    while True:
        assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < end, f"no {key} in time"
        if key in listed(server, bucket, key) and word in server.client().get_object(bucket, key).read():
            return
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_killed_run_is_taken_up_on_an_empty_disk_and_ends_as_candidate(seaweed: S3Server, tmp_path: Path):
    bucket = seaweed.new_bucket()
    store = open_store(f"s3://{bucket}/models-of-tests", seaweed.settings())
    register_stable(store)
    environment = {
        "SEGDEPTH_STORE_URL": store.url,
        "SEGDEPTH_STORE_ENDPOINT": f"http://{seaweed.endpoint}",
        "SEGDEPTH_STORE_ACCESS_KEY": ACCESS_KEY,
        "SEGDEPTH_STORE_SECRET_KEY": SECRET_KEY,
        "SEGDEPTH_TRAINING_RECIPE": str(RECIPE),
        "SEGDEPTH_TRAINING_RUNS": f"s3://{bucket}/runs",
        "SEGDEPTH_TRAINING_RUN_ID": RUN,
        "SEGDEPTH_TRAINING_LEASE_TTL_S": "15",
    }
    logs = [tmp_path / name / "log" for name in ("first", "other", "second", "third")]
    for log in logs:
        log.parent.mkdir()

    process = start([], logs[0], **environment)
    family: list[psutil.Process] = []
    try:
        wait_for(seaweed, bucket, f"models-of-tests/leases/training-{FAMILY}.json", RUN.encode(), process, logs[0])
        other = start(["--run-id", "20261124-b"], logs[1], **environment)
        said = finish(other, logs[1], status=3)
        assert re.search(rf"held by {RUN} until 2\d\d\d-.*if it died, the lease is free from then on", said)
        assert not listed(seaweed, bucket, "runs/20261124-b")
        snapshot = f"runs/{RUN}/train/ray/checkpoint_manager_snapshot.json"
        wait_for(seaweed, bucket, snapshot, b"checkpoint_", process, logs[0])
    finally:
        family = kill(process)
    end_all(family)
    assert not listed(seaweed, bucket, f"runs/{RUN}/model")
    waves = listed(seaweed, bucket, f"runs/{RUN}/exit-waves")
    assert [path.name for path in logs[0].parent.iterdir()] == ["log"], "the run keeps nothing on this disk"

    text = finish(start([], logs[2], **environment), logs[2])
    assert SECRET_KEY not in text
    assert not re.search(r"━ *\d+/\d+", text), "no bars where nobody watches"
    assert listed(seaweed, bucket, f"runs/{RUN}/exit-waves") == waves
    steps = [int(step) for step in re.findall(r"step (\d+)/\d+", text)]
    assert min(steps) > 20, "the resumed run began before its checkpoint"
    assert [path.name for path in logs[2].parent.iterdir()] == ["log"]

    stable, candidate = store.channel(FAMILY, "stable"), store.channel(FAMILY, "candidate")
    assert stable is not None
    assert stable.version == STABLE
    assert candidate is not None
    assert candidate.history[0].principal == "segdepth-train"
    assert RUN in candidate.history[0].reason
    manifest = store.manifest(FAMILY, candidate.version)
    assert manifest.seeds == {"train": run_seed(RUN), "calibration": 0, "benchmark": run_seed(RUN)}
    fetched = store.fetch(FAMILY, candidate.version, tmp_path / "fetched")
    report = json.loads((fetched / "report.json").read_text())
    assert report["missed"] == []
    paired = report["paired"]
    assert (paired["stable"], paired["run_id"], paired["seed"], paired["specimens"]) == (STABLE, RUN, run_seed(RUN), 3)
    assert paired["doses"].keys() == {"1000", "noise-free"}
    for dose, pair in paired["doses"].items():
        assert pair["difference"]["high"] < 0, "a smoke run is worse than the released model"
        assert pair["ece"] == report["families"]["all"][dose]["ece"]

    before = listed(seaweed, bucket, "")
    text = finish(start(["--promote"], logs[3], **environment), logs[3])
    assert f"{candidate.version} is not promoted" in text
    assert f"worse than {STABLE}'s" in text
    lease = f"models-of-tests/leases/training-{FAMILY}.json"
    after = listed(seaweed, bucket, "")
    assert {key: value for key, value in after.items() if key != lease} == {
        key: value for key, value in before.items() if key != lease
    }
