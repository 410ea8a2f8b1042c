"""The smoke recipe from nothing to a released model, by the command line and the real Ray; killed on the way."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from segdepth_artefacts import open_store
from segdepth_inference.predictor import Predictor
from tests.models import lattice_frame

COMMAND = Path(sys.executable).parent / "segdepth-train"
RECIPE = Path(__file__).parents[3] / "training" / "recipes" / "smoke.toml"
FAMILY = "ceo2-110-smoke"
KILL_WITHIN_S = 480
AGENTS = ("ray::Dashboard", "ray::RuntimeEnv")


def start(work: Path, store: Path, log: Path, recipe: Path = RECIPE) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "COLUMNS": "200"}
    arguments = [COMMAND, "run", "--recipe", recipe, "--work", work, "--store", store]
    with log.open("wb") as file:
        return subprocess.Popen(arguments, stdout=file, stderr=file, env=environment, start_new_session=True)


def finish(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the end; the log. Whatever the process left is killed."""
    try:
        process.wait(600)
    finally:
        kill(process)
    text = log.read_text(errors="replace")
    assert process.returncode == 0, text[-4000:]
    return text


def kill(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """kill -9 of the driver alone; returns what it had started."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    process.wait()
    return family


def still_alive(family: list[psutil.Process], within_s: float) -> list[psutil.Process]:
    """Which have not ended in time; ended ones that nobody has asked after yet are no processes any more."""
    end = time.monotonic() + within_s
    while time.monotonic() < end and family:
        family = [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        time.sleep(0.2)
    return family


def checkpointed(work: Path) -> bool:
    """Whether Ray Train has stored a first checkpoint, and knows it."""
    snapshot = work / "train" / "ray" / "checkpoint_manager_snapshot.json"
    return snapshot.exists() and "checkpoint_" in snapshot.read_text()


def times(folder: Path) -> dict[str, int]:
    """When each file was written [ns]."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_smoke_recipe_is_released_although_killed(tmp_path: Path):
    work, store_folder = tmp_path / "run", tmp_path / "store"
    process = start(work, store_folder, tmp_path / "first.log")
    family: list[psutil.Process] = []
    try:
        end = time.monotonic() + KILL_WITHIN_S
        while not checkpointed(work):
            assert process.poll() is None, (tmp_path / "first.log").read_text()[-4000:]
            assert time.monotonic() < end, "no checkpoint in time"
            time.sleep(0.1)
    finally:
        family = kill(process)
    alive = still_alive(family, 60)
    names = [one.name() for one in alive]
    for survivor in alive:
        survivor.kill()
    # Ray's agents notice only after a minute or so; nothing that computes may outlive the driver.
    assert all(name.startswith(AGENTS) for name in names), f"left behind by the killed run: {names}"
    assert not (work / "model").exists()
    waves = times(work / "exit-waves")

    text = finish(start(work, store_folder, tmp_path / "second.log"), tmp_path / "second.log")
    assert times(work / "exit-waves") == waves
    steps = [int(step) for step in re.findall(r"step (\d+)/\d+", text)]
    assert steps
    assert min(steps) > 20, "the resumed run began before its checkpoint"

    store = open_store(str(store_folder))
    channel = store.channel(FAMILY, "stable")
    assert channel is not None
    fetched = store.fetch(FAMILY, channel.version, tmp_path / "fetched")
    assert {p.name for p in fetched.iterdir()} >= {"manifest.json", "weights.safetensors", "report.json", "card.md"}
    manifest = store.manifest(FAMILY, channel.version)
    report = json.loads((fetched / "report.json").read_text())
    assert report["weights_sha256"] == manifest.weights_sha256
    assert report["seed_range"] == "benchmark"
    assert {"paper", "perturbed", "particle"} <= set(report["families"])
    assert len(manifest.calibration.column.dose) == 2
    (prediction,) = Predictor.load(fetched).predict([lattice_frame()], [0.1])
    assert prediction.version.version == channel.version

    before = times(work), times(store_folder)
    process = start(work, store_folder, tmp_path / "third.log")
    finish(process, tmp_path / "third.log")
    after = times(work), times(store_folder)
    made_anew = {"model/card.md", "model/report.png", "model/manifest.json"}
    assert {n: t for n, t in after[0].items() if n not in made_anew} == {
        n: t for n, t in before[0].items() if n not in made_anew
    }
    assert after[1] == before[1]


def test_bad_recipe_ends_with_status_2_and_says_why(tmp_path: Path):
    bad = tmp_path / "bad.toml"
    bad.write_text(RECIPE.read_text().replace("[training]", "[training]\nstpes = 3"))
    process = start(tmp_path / "run", tmp_path / "store", tmp_path / "log", bad)
    assert process.wait(120) == 2
    text = (tmp_path / "log").read_text()
    assert "training.stpes: no such field; misspelt?" in text
    assert "Traceback" not in text
    assert not (tmp_path / "run").exists()


def test_steps_in_the_wrong_order_say_what_comes_first(tmp_path: Path):
    text = RECIPE.read_text()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_text(text)
    for step, first in (("calibrate", "segdepth-train train"), ("release", "segdepth-train evaluate")):
        done = subprocess.run(
            [COMMAND, step, "--work", tmp_path / "run"],
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert done.returncode == 2
        assert first in done.stderr
