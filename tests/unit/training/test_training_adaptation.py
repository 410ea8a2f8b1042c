"""Which released models a second stage can be made for, and what is said of those it cannot."""

from pathlib import Path

import pytest

from segdepth_artefacts.manifest import Known, Manifest
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.profile import Profile
from segdepth_training.runs.adaptation import keep_base, known_of, tell
from segdepth_training.runs.workspace import Workspace
from tests.models import FAMILY, add_family, point, tiny_store
from tests.unit.training.small import recipe


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tiny_store(tmp_path / "store", versions=2)


def workspace(tmp_path: Path, run_id: str = "adapted") -> Workspace:
    return Workspace(Storage.at(tmp_path / run_id), recipe(), run_id)


def test_a_model_is_kept_as_it_was_when_the_run_began(tmp_path: Path, store: Path):
    run = workspace(tmp_path)
    keep_base(run, FAMILY, str(store))
    kept = run.base.read("manifest.json")
    manifest = Manifest.model_validate_json(kept or "")
    assert (manifest.family, manifest.version) == (FAMILY, "1")
    point(store, "2")
    keep_base(run, FAMILY, str(store))
    assert run.base.read("manifest.json") == kept


def test_a_version_may_be_named(tmp_path: Path, store: Path):
    run = workspace(tmp_path)
    keep_base(run, f"{FAMILY}/2", str(store))
    assert '"version": "2"' in (run.base.read("manifest.json") or "")


def test_a_family_without_a_stable_version_and_another_crystal_are_told(tmp_path: Path, store: Path):
    with pytest.raises(ValueError, match=r"--model other: other has no stable version in .*store"):
        keep_base(workspace(tmp_path, "one"), "other", str(store))
    add_family(store, "gold", spacing_A=3.4)
    with pytest.raises(ValueError, match="--model gold counts columns of Au, the recipe's crystal is of Ce, O"):
        keep_base(workspace(tmp_path, "two"), "gold", str(store))


def test_a_model_for_a_profile_assumes_what_the_profile_states():
    assert known_of(recipe()) == Known()
    titan = Profile.model_validate(
        {"name": "titan", "description": "ours", "imaging": {"contrast": [0.5, 0.6], "vibration_A": [0.1, 0.2]}}
    )
    known = known_of(titan.applied_to(recipe()))
    assert (known.contrast, known.vibration_A) == ((0.5, 0.6), (0.1, 0.2))
    assert known.defocus_A == recipe().microscope.defocus_A
    low, high = recipe().microscope.defocus_A
    assert known.words == f"contrast 0.5 to 0.6, vibration 0.1 to 0.2 Å, defocus {low:g} to {high:g} Å"
    assert Known().words == ""


def test_only_a_second_stage_of_all_instruments_is_told_a_profile_and_only_one_it_met(tmp_path: Path, store: Path):
    run = workspace(tmp_path)
    keep_base(run, FAMILY, str(store))
    with pytest.raises(ValueError, match=f"--told: {FAMILY} 1 has no second stage; fit one to the profile"):
        tell(run)
