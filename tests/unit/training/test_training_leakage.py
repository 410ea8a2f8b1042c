"""A specimen in two stores, and exit waves that are no numbers, are found before anything is trained on them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from segdepth_training.frames.exit_waves import ARRAYS, Plan, load, prepare_store
from segdepth_training.frames.leakage import fingerprint, fingerprints, refuse_shared
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.seeds import SeedRange
from segdepth_training.runs import steps
from segdepth_training.runs.workspace import Workspace
from tests.unit.training.small import fields, filled, recipe
from tests.unit.training.test_training_recipe import toml

CPU = torch.device("cpu")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A run whose specimens are all computed."""
    (tmp_path / "recipe.toml").write_text(toml(fields()))
    run = Workspace.open(tmp_path / "run", tmp_path / "recipe.toml", "leaks")
    for purpose in (SeedRange.TRAIN, SeedRange.CALIBRATION, SeedRange.BENCHMARK):
        filled(run.data(purpose), run.plan(purpose))
    return run


def stores(workspace: Workspace) -> dict[str, Storage]:
    return {p.name.lower(): workspace.data(p) for p in (SeedRange.TRAIN, SeedRange.CALIBRATION, SeedRange.BENCHMARK)}


def copied(workspace: Workspace, source: tuple[SeedRange, int], target: tuple[SeedRange, int]) -> None:
    ours, theirs = (zarr.open_group(workspace.data(purpose).arrays(), mode="r+") for purpose, _ in (source, target))
    for name in ARRAYS:
        theirs[name][target[1]] = ours[name][source[1]]


def test_the_ranges_of_a_run_share_nothing(workspace: Workspace):
    refuse_shared(stores(workspace))
    assert len(fingerprints(workspace.data(SeedRange.TRAIN))) == 3


@pytest.mark.parametrize("purpose", [SeedRange.CALIBRATION, SeedRange.BENCHMARK])
def test_a_specimen_of_two_purposes_ends_training_before_it_begins(workspace: Workspace, purpose: SeedRange):
    copied(workspace, (SeedRange.TRAIN, 2), (purpose, 1))
    name = purpose.name.lower()
    with pytest.raises(ValueError, match=rf"1 specimens of {name} are train specimens too \({name} 1 is train 2\)"):
        steps.train_model(workspace, str(workspace.storage / "models"))
    assert not (workspace.storage.folder / "train").exists()
    with pytest.raises(ValueError, match="train specimens too"):
        steps.evaluate_model(workspace)


def test_a_fingerprint_is_of_the_columns_in_any_order():
    rng = np.random.default_rng(3)
    columns = np.column_stack([rng.uniform(0, 20, (30, 2)), rng.integers(1, 9, (30, 3))]).astype(np.float32)
    assert fingerprint(columns) == fingerprint(columns[rng.permutation(30)])
    moved, thicker = columns.copy(), columns.copy()
    moved[4, 0] += 0.05
    thicker[4, 2] += 1
    assert len({fingerprint(each) for each in (columns, moved, thicker)}) == 3


def test_columns_that_are_no_numbers_are_not_those_of_another_store(workspace: Workspace):
    for purpose in (SeedRange.TRAIN, SeedRange.BENCHMARK):
        group = zarr.open_group(workspace.data(purpose).arrays(), mode="r+")
        group["facts"][0] = [7, 0, 0]
        group["columns"][0] = np.nan
    refuse_shared(stores(workspace))
    assert len(fingerprints(workspace.data(SeedRange.TRAIN))) == 2


def test_a_store_that_is_not_there_yet_shares_nothing(tmp_path: Path):
    assert fingerprints(Storage.at(tmp_path / "none.zarr")) == {}


@pytest.mark.parametrize("name", ["waves", "columns"])
def test_what_is_no_number_is_named(tmp_path: Path, name: str):
    plan = Plan(recipe(), SeedRange.TRAIN, 3, 2)
    storage = filled(tmp_path / "waves.zarr", plan)
    array = zarr.open_group(storage.arrays(), mode="r+")[name]
    values = array[1]
    values[0, 0] = np.nan
    array[1] = values
    with pytest.raises(ValueError, match=r"specimens 1 are no numbers; delete waves/c/1"):
        load(storage, plan, CPU)
    assert len(load(storage, plan, CPU, range(1))) == 1


def test_columns_that_labels_cannot_tell_apart_are_refused(tmp_path: Path):
    """Copper along [111] has columns 1.48 Å apart; 40 % smaller they would be 0.89 Å apart."""
    copper = {"elements": ["Cu"], "basis": [[0, 0, 0]], "spacegroup": 225}
    axes = [[0.5, 0.5, -1], [0.5, -0.5, 0], [1, 1, 1]]
    fine, dense = (recipe(crystal={**copper, "lattice_A": a_A, "axes": axes}) for a_A in (3.615, 2.17))
    prepare_store(Storage.at(tmp_path / "fine.zarr"), Plan(fine, SeedRange.TRAIN, 1, 1))
    with pytest.raises(ValueError, match=r"columns are only 0\.886 Å apart; training\.disk_A = 0\.6"):
        prepare_store(Storage.at(tmp_path / "dense.zarr"), Plan(dense, SeedRange.TRAIN, 1, 1))
