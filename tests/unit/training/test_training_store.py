"""The store of exit waves: killed at any moment, it goes on where it stopped, and holds one plan alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from segdepth_training.frames.exit_waves import Plan, compute, load, missing, prepare_store, simulate
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.seeds import SeedRange
from tests.unit.training.small import filled, recipe

ROOT = Path(__file__).parents[3]
SPECIMENS = 16
DIGEST = "383a82ccc49777ae7d5758bb00a86eaaed8db393e3ef58b6ee1e2790cbb670a3"
PROGRAM = f"""
import sys
from segdepth_training.frames.exit_waves import Plan, simulate
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.seeds import SeedRange
from tests.unit.training.small import recipe

plan = Plan(recipe(), SeedRange.TRAIN, 3, {SPECIMENS})
simulate(Storage.at(sys.argv[1]), plan, lambda done, total: None, processes=1)
"""


def plan(specimens: int = SPECIMENS, seed: int = 3) -> Plan:
    return Plan(recipe(), SeedRange.TRAIN, seed, specimens)


def written(storage: Storage) -> dict[int, int]:
    """When each finished specimen's wave was written [ns]."""
    absent = set(missing(storage, SPECIMENS))
    chunks = {i: storage.folder / "waves" / "c" / str(i) / "0" / "0" for i in range(SPECIMENS) if i not in absent}
    return {i: chunk.stat().st_mtime_ns for i, chunk in chunks.items()}


@pytest.mark.slow
def test_killed_simulation_repeats_no_finished_work(tmp_path: Path):
    path = Storage.at(tmp_path / "waves.zarr")
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(path)], cwd=ROOT, start_new_session=True)
    try:
        while len(missing(path, SPECIMENS)) > SPECIMENS - 2:
            assert process.poll() is None, "ended before it could be killed"
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = written(path)
    assert 0 < len(before) < SPECIMENS
    steps: list[tuple[int, int]] = []
    simulate(path, plan(), lambda done, total: steps.append((done, total)), processes=1)
    assert steps[0] == (len(before), SPECIMENS)
    assert steps[-1] == (SPECIMENS, SPECIMENS)
    after = written(path)
    assert len(after) == SPECIMENS
    assert {i: after[i] for i in before} == before

    fresh = Storage.at(tmp_path / "fresh.zarr")
    prepare_store(fresh, plan())
    chosen = [min(before), max(before), SPECIMENS - 1]
    compute(fresh, plan(), chosen)
    for i in chosen:
        ours, theirs = (zarr.open_group(p.arrays(), mode="r")["waves"][i] for p in (path, fresh))
        assert np.array_equal(ours, theirs)


def test_killed_creation_is_begun_again(tmp_path: Path):
    path = Storage.at(tmp_path / "waves.zarr")
    prepare_store(path, plan(2))
    group = zarr.open_group(path.arrays(), mode="r+")
    del group.attrs["digest"]
    assert missing(path, 2) == [0, 1]
    prepare_store(path, plan(2))
    assert missing(path, 2) == [0, 1]


def test_extended_store_keeps_what_it_has(tmp_path: Path):
    path = filled(tmp_path / "waves.zarr", plan(1))
    before = zarr.open_group(path.arrays(), mode="r")["waves"][0]
    assert missing(path, 2) == [1]
    prepare_store(path, plan(2))
    assert missing(path, 2) == [1]
    assert np.array_equal(zarr.open_group(path.arrays(), mode="r")["waves"][0], before)


def test_another_recipe_or_seed_is_refused(tmp_path: Path):
    path = filled(tmp_path / "waves.zarr", plan(1))
    thicker = Plan(recipe(specimens__atoms=[3, 12]), SeedRange.TRAIN, 3, 1)
    for other in (thicker, plan(1, seed=4), Plan(recipe(), SeedRange.BENCHMARK, 3, 1)):
        with pytest.raises(ValueError, match="another recipe or seed"):
            prepare_store(path, other)
        with pytest.raises(ValueError, match="another recipe or seed"):
            load(path, other, torch.device("cpu"))


def test_placing_atoms_exactly_is_another_store_and_leaving_it_as_it_was_is_not():
    """Stores and the benchmark are older than the choice: their digests must not have changed with it."""
    exact = Plan(recipe(multislice__placing="exact"), SeedRange.TRAIN, 3, 1)
    assert exact.digest != plan().digest
    assert plan().digest == DIGEST


def test_a_device_of_ones_choice_computes_the_same_in_one_batch(tmp_path: Path):
    """The CPU by another name is no CPU to the store: what a GPU gets, all specimens of a task at once."""
    alone = filled(tmp_path / "waves.zarr", plan(3))
    together = Storage.at(tmp_path / "together.zarr")
    steps: list[tuple[int, int]] = []
    simulate(together, plan(3), lambda done, total: steps.append((done, total)), device="cpu:0")
    assert steps == [(0, 3), (3, 3)]
    ours, theirs = (load(path, plan(3), torch.device("cpu")).waves for path in (alone, together))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_unfinished_store_says_what_to_do(tmp_path: Path):
    with pytest.raises(ValueError, match=r"2 of 2 exit waves are missing.*specimens 0, 1.*run segdepth-train simulate"):
        load(Storage.at(tmp_path / "none.zarr"), plan(2), torch.device("cpu"))


def test_too_large_a_cell_is_refused(tmp_path: Path):
    large = Plan(recipe(specimens__cell_A=80.0), SeedRange.TRAIN, 3, 1)
    with pytest.raises(ValueError, match="columns, more than"):
        prepare_store(Storage.at(tmp_path / "waves.zarr"), large)
