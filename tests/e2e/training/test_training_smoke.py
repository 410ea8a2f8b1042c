"""The smoke recipe from nothing to a released model, by the command line and the real Ray; killed on the way."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from segdepth_artefacts import open_store
from segdepth_core.predictor import Predictor
from tests.e2e.training.drivers import COMMAND, FAMILY, KILL_WITHIN_S, RECIPE, end_all, finish, kill, start
from tests.models import lattice_frame


def arguments(work: Path, store: Path, recipe: Path = RECIPE) -> list[str | Path]:
    return ["--recipe", recipe, "--work", work, "--store", store]


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
    process = start(arguments(work, store_folder), tmp_path / "first.log")
    family: list[psutil.Process] = []
    try:
        end = time.monotonic() + KILL_WITHIN_S
        while not checkpointed(work):
            assert process.poll() is None, (tmp_path / "first.log").read_text()[-4000:]
            assert time.monotonic() < end, "no checkpoint in time"
            time.sleep(0.1)
    finally:
        family = kill(process)
    end_all(family)
    assert not (work / "model").exists()
    waves = times(work / "exit-waves")

    text = finish(start(arguments(work, store_folder), tmp_path / "second.log"), tmp_path / "second.log")
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
    process = start(arguments(work, store_folder), tmp_path / "third.log")
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
    process = start(arguments(tmp_path / "run", tmp_path / "store", bad), tmp_path / "log")
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
