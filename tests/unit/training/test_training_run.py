"""A scheduled run from its exit waves to a candidate, in a folder and in a bucket; each step begun anew by another."""

import json
from pathlib import Path

import pytest

from segdepth_artefacts import ArtefactStore, Manifest, open_store
from segdepth_training.machine.settings import TrainingSettings
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.seeds import SeedRange, run_seed
from segdepth_training.runs import scheduled, steps
from segdepth_training.runs.workspace import Workspace
from tests.models import released_model, tiny_model
from tests.unit.training.small import fields, filled
from tests.unit.training.test_training_recipe import toml
from tests.unit.training.test_training_storage import storage

__all__ = ["storage"]

FAMILY = "ceo2-110"
SETTINGS = TrainingSettings(run_id="a", promote_automatically=True)


def stable_store(folder: Path) -> ArtefactStore:
    """A store whose stable version is the released model: no run of this file can be as good."""
    store, model = open_store(str(folder)), released_model()
    manifest = Manifest.model_validate_json((model / "manifest.json").read_text())
    store.register(manifest, {name: model / name for name in manifest.files})
    store.point(FAMILY, "stable", manifest.version, principal="tests", reason="a test", expected=None)
    return store


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_ends_as_a_candidate_that_is_compared_and_not_promoted(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    started = tiny_model(tmp_path / "start")
    changes = {
        "specimens__cell_A": 28.8,
        "training__field_px": 128,
        "training__steps": 2,
        "training__learning_rate": 1e-6,
        "training__start": str(tmp_path / "start"),
        "training__network": started.network.arguments,
        "gates__ece": 0.0,
    }
    (tmp_path / "recipe.toml").write_text(toml(fields(family=FAMILY, **changes)))
    store = stable_store(tmp_path / "store")
    stable = store.channel(FAMILY, "stable")
    assert stable is not None
    workspace = Workspace.open(storage, tmp_path / "recipe.toml", "a", fresh=True)
    for purpose in (SeedRange.TRAIN, SeedRange.CALIBRATION, SeedRange.BENCHMARK):
        filled(workspace.data(purpose), workspace.plan(purpose))

    with scheduled.tenure(store, FAMILY, "a", 60) as lease:
        scheduled.run_to_candidate(workspace, lease, str(tmp_path / "store"), SETTINGS, 1)
    said = capsys.readouterr().out
    candidate = store.channel(FAMILY, "candidate")
    assert candidate is not None
    report = json.loads((store.fetch(FAMILY, candidate.version, tmp_path / "cache") / "report.json").read_text())
    assert (report["paired"]["stable"], report["paired"]["seed"]) == (stable.version, run_seed("a"))
    assert all(pair["difference"]["high"] < 0 for pair in report["paired"]["doses"].values())
    assert all("calibration error" in missed for missed in report["missed"])
    assert report["missed"]
    manifest = store.manifest(FAMILY, candidate.version)
    assert manifest.seeds["benchmark"] == run_seed("a")
    if storage.remote:
        assert manifest.recipe["training"]["start"] == "tiny 1"
    assert f"{candidate.version} is not promoted:" in said
    assert f"worse than {stable.version}'s" in said
    assert store.channel(FAMILY, "stable") == stable

    # Another driver, with the same run on an empty disk, finds everything done.
    sizes, history = (storage / "model").sizes(), candidate.history
    again = Workspace.open(str(storage), tmp_path / "recipe.toml", "a", fresh=True)
    with scheduled.tenure(store, FAMILY, "a", 60) as lease:
        scheduled.run_to_candidate(again, lease, str(tmp_path / "store"), SETTINGS, 1)
    assert (storage / "model").sizes() == sizes
    later = store.channel(FAMILY, "candidate")
    assert later is not None
    assert later.history == history
    assert steps.read_report(again) == report
