"""A job on a real Ray: its output is what `segdepth estimate` writes, however often it was killed on the way."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from segdepth_artefacts.jobs import JobRequest, job_folder
from segdepth_artefacts.open_objects import open_objects
from segdepth_batch.manifest import Manifest
from segdepth_batch.output import Output
from tests.integration.batch.conftest import FRAMES
from tests.integration.batch.processes import batch, environment, until, workers
from tests.s3 import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
COMMAND = Path(sys.executable).parent / "segdepth"


def segdepth(*arguments: object, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([COMMAND, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def unbroken(models: Path, movies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a job that nothing happened to."""
    folder = tmp_path_factory.mktemp("unbroken")
    done = segdepth("batch", "run", movies, "--out", folder / "out", env=environment(models, folder / "scratch"))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def estimated(models: Path, movies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `segdepth estimate` writes of the same movies."""
    folder = tmp_path_factory.mktemp("estimated")
    files = sorted(movies.glob("*.mrc"))
    env = environment(models, folder / "scratch") | {"SEGDEPTH_STORE": str(models)}
    done = segdepth("estimate", *files, "--out", folder, "--format", "csv,tiff", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def table(output: Path, part: str) -> pd.DataFrame:
    frame = pd.read_parquet(output / part)
    for name in ("source", "species", "status"):
        if name in frame:
            frame[name] = frame[name].astype(str)
    if "source" in frame:
        frame["source"] = [Path(source).stem for source in frame["source"]]
    keys = [name for name in ("source", "frame", "y_px", "x_px") if name in frame]
    return frame.sort_values(keys, ignore_index=True)


def test_the_table_is_that_of_estimate(unbroken: Path, estimated: Path) -> None:
    columns = table(unbroken, "columns")
    for name in FRAMES:
        rows = pd.read_csv(estimated / f"{name}.columns.csv")
        own = columns[columns["source"] == name]
        assert len(rows) > 50
        assert list(own.columns[2:]) == list(rows.columns)
        order = rows.sort_values(["frame", "y_px", "x_px"], ignore_index=True)
        for field in rows.columns:
            assert own[field].tolist() == order[field].tolist(), field


def test_the_maps_are_those_of_estimate(unbroken: Path, estimated: Path) -> None:
    for group in sorted((unbroken / "maps").iterdir()):
        name = group.name.removesuffix(".zarr").partition("-")[2]
        maps = zarr.open_group(group, mode="r")
        assert maps.attrs["sampling_A_per_px"] == pytest.approx(0.1)
        depth, confidence = np.asarray(maps["depth"]), np.asarray(maps["confidence"])
        assert (depth == tifffile.imread(estimated / f"{name}.depth.tif")).all()
        np.testing.assert_array_equal(confidence, tifffile.imread(estimated / f"{name}.confidence.tif").astype("f2"))


def test_every_frame_has_its_verdict_and_the_manifest_counts_them(unbroken: Path) -> None:
    frames = table(unbroken, "frames")
    assert len(frames) == sum(FRAMES.values())
    (refused,) = frames[frames["status"] == "refused"].itertuples()
    assert (refused.source, refused.frame, refused.columns) == ("day", 3, 0)
    assert refused.why
    manifest = Manifest.model_validate_json((unbroken / "manifest.json").read_bytes())
    assert (manifest.frames, manifest.refused) == (sum(FRAMES.values()), 1)
    assert manifest.ok + manifest.suspect + manifest.refused == manifest.frames
    assert manifest.columns == len(table(unbroken, "columns"))
    assert manifest.model.version == "1"
    assert len(manifest.model.sha256) == 64


def test_the_same_command_does_nothing_again_and_another_is_refused(
    unbroken: Path, models: Path, movies: Path, tmp_path: Path
) -> None:
    before = (unbroken / "manifest.json").stat().st_mtime_ns
    again = segdepth("batch", "run", movies, "--out", unbroken, env=environment(models, tmp_path))
    assert again.returncode == 0, again.stderr
    assert (unbroken / "manifest.json").stat().st_mtime_ns == before
    other = segdepth(*("batch", "run", movies / "day.mrc", "--out", unbroken), env=environment(models, tmp_path))
    assert other.returncode == 2
    assert "another job" in other.stderr


class Job:
    """A job in a bucket, with its movies there too."""

    def __init__(self, server: S3Server, movies: Path, **changes: object):
        self.bucket = server.new_bucket()
        for path in movies.glob("*.mrc"):
            server.client().fput_object(self.bucket, f"data/alice/{path.name}", str(path))
        self.store = f"s3://{self.bucket}"
        self.objects = open_objects(self.store, server.settings())
        values: dict[str, object] = {
            "job": "batch-1",
            "principal": "alice",
            "created": datetime.now(UTC),
            "input": (f"{self.store}/data/alice/",),
        }
        self.folder = job_folder(self.objects, "batch-1")
        self.folder.create(JobRequest.model_validate(values | changes))
        self.output = Output(open_objects(f"{self.store}/jobs/batch-1/output", server.settings()))

    def done(self) -> int:
        return len(self.output.all_done())

    def download(self, server: S3Server, into: Path) -> Path:
        prefix = "jobs/batch-1/output/"
        for entry in self.objects.entries(prefix.rstrip("/")):
            path = into / entry.key.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            server.client().fget_object(self.bucket, entry.key, str(path))
        return into


@pytest.fixture
def job(seaweed: S3Server, movies: Path) -> Job:
    return Job(seaweed, movies)


def test_killed_driver_and_killed_worker_change_nothing(
    seaweed: S3Server, job: Job, models: Path, unbroken: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    env = environment(models, tmp_path / "scratch", seaweed, store=job.store)
    with batch(["run", "--job", "batch-1"], env, log) as first:
        until(lambda: job.done() >= 2 or first.poll() is not None, "two chunks", log)
        first.kill()
        first.wait()
    kept = {name: job.output.done(name) for name in job.output.all_done()}
    chunks = sum(-(-frames // 2) for frames in FRAMES.values())
    assert 2 <= len(kept) < chunks
    assert job.folder.state().status == "running"
    etags = {entry.key: entry.tag for entry in job.objects.entries("jobs/batch-1/output/columns")}

    with batch(["run", "--job", "batch-1"], env, log) as second:
        # Whether it has done a chunk is not asked: the first one's actor may outlive its driver by one, and this one be
        # done with all before it is looked at.
        until(lambda: workers(second) or second.poll() is not None, "a worker", log)
        victims = workers(second)
        assert victims, log.read_text()[-3000:]
        for victim in victims:
            victim.kill()
        assert second.wait(300) == 0, log.read_text()[-3000:]

    state = job.folder.state()
    assert (state.status, state.attempt) == ("done", 2)
    assert (state.frames_done, state.chunks_done) == (sum(FRAMES.values()), chunks)
    # What was done before the first kill was not done again.
    now = {entry.key: entry.tag for entry in job.objects.entries("jobs/batch-1/output/columns")}
    finished = [f"jobs/batch-1/output/columns/{name}.parquet" for name in kept]
    assert {key: now[key] for key in finished} == {key: etags[key] for key in finished}
    output = job.download(seaweed, tmp_path / "output")
    for part in ("columns", "frames"):
        pd.testing.assert_frame_equal(table(output, part), table(unbroken, part))
        assert len(list((output / part).iterdir())) == chunks
    for name in ("0000-day", "0001-night"):
        for field in ("depth", "confidence"):
            mine, whole = (zarr.open_array(root / "maps" / f"{name}.zarr" / field) for root in (output, unbroken))
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(whole))
    manifest = json.loads((output / "manifest.json").read_text())
    assert {each["tag"] for each in manifest["inputs"]} != {""}


def test_refusals_are_for_ever_and_name_the_way_out(
    seaweed: S3Server, movies: Path, models: Path, tmp_path: Path
) -> None:
    job = Job(seaweed, movies, input=("s3://nowhere-at-all/",))
    env = environment(models, tmp_path / "scratch", seaweed, store=job.store)
    with batch(["run", "--job", "batch-1"], env, tmp_path / "log") as process:
        assert process.wait(300) == 2, (tmp_path / "log").read_text()[-2000:]
    state = job.folder.state()
    assert (state.status, state.permanent) == ("failed", True)
    assert "bucket" in state.message
