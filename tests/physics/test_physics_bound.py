"""The Bayes bound: its prior is the family's rule, its candidates are the specimen with one column changed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from segdepth_training.benchmark.bound import APART_A, CANDIDATES, Bound, chosen, figures, prior, with_change, with_room
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
    side_A, period_A = PLAN.recipe.specimens.cell_A, project(PLAN.recipe.crystal).period_A
    specimen = with_room(PLAN.specimen(PERTURBED), period_A)
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
        assert (atoms.cell[:] == specimen.atoms.cell[:]).all(), "all are cut into the same slices"
        assert atoms.positions[:, 2].min() > 1
        assert atoms.positions[:, 2].max() < atoms.cell[2, 2] - 1
    as_it_is = {change: with_change(specimen, asked, change, period_A).atoms for change in CANDIDATES}
    for column, change in zip(asked, specimen.columns[asked, 4].astype(int), strict=True):
        stop = int(specimen.columns[: column + 1, 2].sum())
        ours = specimen.atoms.positions[stop - int(specimen.columns[column, 2]) : stop]
        assert all((np.abs(as_it_is[change].positions - atom).sum(1) < 1e-9).any() for atom in ours)


def test_more_electrons_tell_more(tmp_path: Path) -> None:
    bound = Bound(PLAN, (50.0, 1e5))
    with ThreadPoolExecutor(1) as pool:
        rows = bound.rows(3, tmp_path, lambda *_: None, pool)
        kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert (bound.rows(3, tmp_path, lambda *_: None, pool) == rows).all()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept
    known = figures(rows, ("cerium", "oxygen"))
    few, many = known["50"], known["100000"]
    for name in ("cerium", "oxygen"):
        assert few[name]["exact"] > 0.87, "nine tenths are unchanged, which the prior knows"
        assert abs(few[name]["exact"] - few[name]["stated"]) < 0.08, "a posterior means what it says"
    assert few["oxygen"]["changed"]["value"] < 0.3
    assert many["cerium"]["changed"]["value"] > 0.9
    assert many["oxygen"]["exact"] > few["oxygen"]["exact"]
