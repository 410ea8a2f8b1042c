"""The Bayes bound: its prior is the family's rule, its candidates are the specimen with one column changed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from segdepth_training.benchmark.bound import APART_A, CANDIDATES, Bound, chosen, figures, prior, with_change
from segdepth_training.exit_waves import Plan
from segdepth_training.families import perturbation
from segdepth_training.lattice import project
from segdepth_training.recipe import load_recipe
from segdepth_training.seeds import SeedRange

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
PLAN = Plan(load_recipe(RECIPES / "smoke.toml"), SeedRange.BENCHMARK, 0, 9)
PERTURBED = 1


@pytest.mark.parametrize("before", [1, 2, 5, 9, 10])
def test_prior_is_what_the_family_draws(before: int) -> None:
    change = perturbation(np.random.default_rng(0), np.full(40000, before))
    drawn = [(change == candidate).mean() for candidate in CANDIDATES]
    assert prior(before).sum() == pytest.approx(1)
    np.testing.assert_allclose(prior(before), drawn, atol=0.003)


def test_candidates_differ_in_the_asked_columns_alone() -> None:
    specimen = PLAN.specimen(PERTURBED)
    side_A, period_A = PLAN.recipe.specimens.cell_A, project(PLAN.recipe.crystal).period_A
    asked = chosen(np.random.default_rng(0), specimen, side_A)
    at = specimen.columns[asked, :2]
    distance = np.hypot(*np.moveaxis(at[:, None] - at[None], -1, 0)) + 1e9 * np.eye(len(at))
    assert len(asked) >= 2
    assert distance.min() >= APART_A
    assert (specimen.columns[asked, 4] != 0).any()
    before = specimen.columns[asked, 2] - specimen.columns[asked, 4]
    for change in CANDIDATES:
        atoms = with_change(specimen, asked, change, period_A).atoms
        more = (before + change - specimen.columns[asked, 2]).sum()
        assert len(atoms) == len(specimen.atoms) + more
        assert atoms.cell[2, 2] >= atoms.positions[:, 2].max()


def test_more_electrons_tell_more(tmp_path: Path) -> None:
    bound = Bound(PLAN, (50.0, 1e5))
    with ThreadPoolExecutor(1) as pool:
        rows = bound.rows(3, tmp_path, lambda *_: None, pool)
        kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert (bound.rows(3, tmp_path, lambda *_: None, pool) == rows).all()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept
    known = figures(rows)
    few, many = known["50"], known["100000"]
    assert few["oxygen"]["unchanged"]["value"] > 0.9, "nine tenths are unchanged, which the prior knows"
    assert few["oxygen"]["changed"]["value"] < 0.5
    assert many["cerium"]["changed"]["value"] > 0.9
    assert many["oxygen"]["exact"] > few["oxygen"]["exact"]
