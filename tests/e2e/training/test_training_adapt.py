"""The released first stage with a second one made here: by the command line, from a small recipe, in a minute."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from segdepth_artefacts.manifest import Manifest
from segdepth_core.predictor import Predictor
from segdepth_core.released import released_store
from segdepth_training.command import app
from segdepth_training.frames.exit_waves import load
from segdepth_training.frames.observation import observe
from segdepth_training.recipes.seeds import SeedRange
from segdepth_training.runs.workspace import Workspace

RECIPE = Path(__file__).parents[3] / "training" / "recipes" / "ceo2-110.toml"
SMALLER = {
    "train_specimens = 7000": "train_specimens = 7000\nforeign_specimens = 6",
    "[specimens]": "[specimens]\ncell_A = 28.8",
    "specimens = 420": "specimens = 6",
    "specimens = 600": "specimens = 3",
    "[training]": "[second_stage]\nspecimens = 6\nframes = 3\nsteps = 10\nbatch = 3\n"
    "network = { width = 16, blocks = 1, hidden = 24, told = 8, context = 8 }\n[training]\nfield_px = 128",
    r"doses = [20, 50, 100, 200, 500, 1000, 2000, 5000, ": "doses = [500, ",
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_released_model_gets_a_second_stage(tmp_path: Path):
    text = RECIPE.read_text()
    for before, after in SMALLER.items():
        assert before in text
        text = text.replace(before, after)
    (tmp_path / "small.toml").write_text(text)
    arguments = ["adapt", "--recipe", str(tmp_path / "small.toml"), "--work", str(tmp_path / "run"), "--processes", "2"]
    arguments += ["--store", str(released_store()), "--model", "ceo2-110/stable"]

    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0

    assert np.float32(1e-40) * np.float32(1) > 0, "what makes the fit faster ends with it"

    folder = tmp_path / "run" / "model"
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
    base = Manifest.model_validate_json((tmp_path / "run" / "base" / "manifest.json").read_text())
    assert manifest.weights_sha256 == base.weights_sha256
    assert manifest.files["familiarity.safetensors"] != base.files["familiarity.safetensors"], "learned anew"
    assert manifest.version != base.version
    assert manifest.version.endswith(manifest.files["second-stage.safetensors"].sha256[:8])
    assert manifest.recipe["training"]["start"] == f"{base.family} {base.version}"
    assert manifest.pooling is not None

    workspace = Workspace.open(tmp_path / "run", None, None)
    plan = workspace.plan(SeedRange.CALIBRATION)
    waves = load(workspace.data(SeedRange.CALIBRATION), plan, torch.device("cpu"))
    frame = observe(waves, plan, 0, 2000.0)
    one, two = (
        Predictor.load(where, device="cpu", engine="torch-fp32", evaluated=False).predict(
            [frame.frame], [frame.sampling_A]
        )[0]
        for where in (tmp_path / "run" / "base", folder)
    )
    assert len(two.columns) > 20
    np.testing.assert_allclose(two.columns.probabilities.sum(1), 1, atol=1e-5)
    assert not np.array_equal(one.columns.probabilities, two.columns.probabilities)

    before = (folder / "manifest.json").stat().st_mtime_ns
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    assert (folder / "manifest.json").stat().st_mtime_ns == before

    profile = tmp_path / "dim.toml"
    profile.write_text('name = "dim"\ndescription = "less contrast"\n[imaging]\ncontrast = [0.6, 0.7]\n')
    told = Workspace.open(tmp_path / "told", tmp_path / "small.toml", "told", profile_path=profile)
    with told.base.files() as kept:
        shutil.copytree(folder, kept)
    arguments = ["adapt", "--work", str(tmp_path / "told"), "--told", "--processes", "2"]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    dim = Manifest.model_validate_json((tmp_path / "told" / "model" / "manifest.json").read_text())
    assert dim.family == "ceo2-110@dim"
    assert dim.second_stage is not None
    assert manifest.second_stage is not None
    assert dim.second_stage.known.contrast == (0.6, 0.7)
    assert dim.second_stage.on_lattice != manifest.second_stage.on_lattice
    for name in ("second-stage.safetensors", "familiarity.safetensors"):
        assert dim.files[name] == manifest.files[name], "what is told changes nothing of it"
    told_model = Predictor.load(tmp_path / "told" / "model", device="cpu", engine="torch-fp32", evaluated=False)
    (answer,) = told_model.predict([frame.frame], [frame.sampling_A])
    assert answer.conditions is not None
    assert {"instrument contrast", "vibration", "defocus"} <= {check.name for check in answer.verdict.checks}
