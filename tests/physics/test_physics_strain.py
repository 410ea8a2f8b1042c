"""Strained specimens of the benchmark: longer or shorter along one direction, with their atoms in their columns."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from segdepth_training.benchmark.shifts import SEED, STRAIN, ShiftPlan, strained
from segdepth_training.recipes.recipe import load_recipe
from segdepth_training.recipes.seeds import SeedRange

RECIPE = load_recipe(Path(__file__).parents[2] / "training" / "recipes" / "ceo2-110.toml")


@pytest.mark.parametrize("index", range(3))
def test_a_strained_specimen_is_another_by_the_strain_and_its_columns_follow(index: int):
    known = ShiftPlan(RECIPE, SeedRange.BENCHMARK, SEED, specimens=3).specimen(index)
    changed = strained(np.random.default_rng(index), known)
    middle_A = known.atoms.cell[0, 0] / 2
    assert 0.9 < len(changed.columns) / len(known.columns) <= 1
    assert np.abs(changed.columns[:, :2] - middle_A).max() < middle_A
    # Every column that is left is one of before, at a place that a linear map takes it to.
    near, before = cKDTree(known.columns[:, :2]).query(changed.columns[:, :2])
    assert near.max() < STRAIN * middle_A * 2**0.5 + 0.01
    there, here = known.columns[before, :2] - middle_A, changed.columns[:, :2] - middle_A
    stretch, *_ = np.linalg.lstsq(there, here, rcond=None)
    np.testing.assert_allclose(there @ stretch, here, atol=2e-3)
    lengths = np.linalg.svd(stretch)[1]
    assert min(abs(lengths - 1)) == pytest.approx(0, abs=1e-3)
    assert max(abs(lengths - 1)) == pytest.approx(STRAIN, abs=1e-3)
    np.testing.assert_array_equal(changed.columns[:, 2:4], known.columns[before, 2:4])
    # Atoms stand where their columns do, but for thermal motion.
    apart, _ = cKDTree(changed.columns[:, :2]).query(changed.atoms.positions[:, :2])
    assert np.median(apart) < 0.15
