"""The Bayes bound: priors are what the families draw, candidates are the specimen but for what is asked."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from segdepth_training.benchmark import neighbours
from segdepth_training.benchmark.bound import Bound, answered, figures
from segdepth_training.benchmark.candidates import APART_A, CHANGES, Asked, Question, paper, particle, perturbed, prior
from segdepth_training.benchmark.neighbours import Neighbours, learnt, middle_of, sites, steps_A
from segdepth_training.exit_waves import Plan
from segdepth_training.families import draw_for_benchmark, perturbation
from segdepth_training.lattice import project
from segdepth_training.recipe import load_recipe
from segdepth_training.seeds import SeedRange
from segdepth_training.specimen import Specimen

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
RECIPE = load_recipe(RECIPES / "smoke.toml")
PLAN = Plan(RECIPE, SeedRange.BENCHMARK, 0, 9)
PAPER, PERTURBED, PARTICLE = 0, 1, 2
SIDE_A, PROJECTION = RECIPE.specimens.cell_A, project(RECIPE.crystal)


@pytest.fixture(scope="module")
def known() -> Neighbours:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "SPECIMENS", 400)
        return learnt(RECIPE, "particle")


@pytest.mark.parametrize("before", [1, 2, 5, 9, 10])
def test_prior_is_what_the_family_draws(before: int) -> None:
    change = perturbation(np.random.default_rng(0), np.full(40000, before))
    drawn = [(change == candidate).mean() for candidate in CHANGES]
    assert prior(before).sum() == pytest.approx(1)
    np.testing.assert_allclose(prior(before), drawn, atol=0.003)


def asked_of(family: int, specimen: Specimen, known: Neighbours) -> Asked:
    rng = np.random.default_rng(0)
    if family == PAPER:
        return paper(specimen, SIDE_A, PROJECTION, RECIPE.specimens)
    if family == PERTURBED:
        return perturbed(rng, specimen, SIDE_A, PROJECTION)
    return particle(rng, specimen, SIDE_A, PROJECTION, known)


@pytest.mark.parametrize("index", [PAPER, PERTURBED, PARTICLE, PERTURBED + 3, PARTICLE + 3])
def test_candidates_are_the_specimen_but_for_the_asked_columns(index: int, known: Neighbours) -> None:
    specimen = PLAN.specimen(index)
    candidates, questions = asked_of(index % 3, specimen, known)
    assert questions
    cells = np.array([one.atoms.cell[:] for one in candidates])
    assert (cells == cells[0]).all(), "all are cut into the same slices"
    for number, candidate in enumerate(candidates):
        z_A = candidate.atoms.positions[:, 2]
        assert 1 < z_A.min() < z_A.max() < candidate.atoms.cell[2, 2] - 1
        if index % 3 != PAPER:
            more = sum(int((q.atoms[number] - q.atoms[q.truth]).sum()) for q in questions)
            assert len(candidate.atoms) == len(specimen.atoms) + more
    for question in questions:
        assert question.prior.sum() == pytest.approx(1)
        assert (question.atoms[question.truth] == specimen.columns[question.columns, 2]).all()
        # Under the true candidate each asked column has its own atoms, where they are.
        truth = candidates[question.truth]
        room_A = truth.lowest_A - specimen.lowest_A
        for column in question.columns[:5]:
            stop = int(specimen.columns[: column + 1, 2].sum())
            ours = specimen.atoms.positions[stop - int(specimen.columns[column, 2]) : stop] + np.array([0, 0, room_A])
            assert all((np.abs(truth.atoms.positions - atom).sum(1) < 1e-9).any() for atom in ours)


@pytest.mark.parametrize("index", [PERTURBED, PARTICLE])
def test_columns_that_are_asked_at_once_are_far_apart(index: int, known: Neighbours) -> None:
    specimen = PLAN.specimen(index)
    asked = np.concatenate([one.columns for one in asked_of(index, specimen, known).questions])
    assert len(asked) >= 2
    at = specimen.columns[asked, :2]
    distance = np.hypot(*np.moveaxis(at[:, None] - at[None], -1, 0)) + 1e9 * np.eye(len(at))
    assert distance.min() >= APART_A
    assert index != PERTURBED or (specimen.columns[asked, 4] != 0).any()


def test_neighbours_are_found_and_left_out_columns_have_no_atoms() -> None:
    specimen = PLAN.specimen(PARTICLE)
    own = specimen.columns[specimen.columns[:, 3] == 0]
    steps = steps_A(own[:, :2].astype(float), PROJECTION)
    np.testing.assert_allclose(np.hypot(*steps.T), PROJECTION.cell_A, atol=1e-6)
    assert abs(steps[0] @ steps[1]) < 0.5, "the cell is rectangular"
    found = sites(specimen.columns, 0, SIDE_A, PROJECTION)
    assert (found.atoms[: len(own)] == own[:, 2]).all()
    assert not found.atoms[len(own) :].any()


def test_neighbours_tell_a_columns_atoms(known: Neighbours) -> None:
    """On specimens that were not learnt from; and what they tell is right as often as it says."""
    right, said, everything = [], [], np.arange(25)
    for seed in range(40):
        columns = draw_for_benchmark(np.random.default_rng(seed), PROJECTION, RECIPE.specimens, "particle").columns
        if (columns[:, 3] == 0).sum() > 1:
            some = sites(columns, 0, SIDE_A, PROJECTION)
            for which in np.flatnonzero(middle_of(some, SIDE_A)):
                belief = known.prior(0, some.around[which], everything)
                right.append(belief.argmax() == some.atoms[which])
                said.append(belief.max())
    assert len(right) > 200
    assert np.mean(right) > 0.6
    assert abs(np.mean(right) - np.mean(said)) < 0.1


def test_no_prior_knows_of_negative_numbers(known: Neighbours) -> None:
    belief = known.prior(0, np.zeros(known.beliefs[0].layers[0].in_features - 1, np.float32), np.array([-1, 0, 1, 20]))
    assert belief[0] == 0
    assert (belief[1:] > 0).all()
    assert belief.sum() == pytest.approx(1)


def test_papers_candidates_are_surfaces_that_it_draws() -> None:
    for index in (PAPER, PAPER + 3, PAPER + 6):
        specimen = PLAN.specimen(index)
        (question,) = paper(specimen, SIDE_A, PROJECTION, RECIPE.specimens).questions
        count = specimen.columns[question.columns, 2]
        assert (question.atoms[0] == count).all()
        thinnest, thickest = specimen.columns[:, 2].min(), specimen.columns[:, 2].max()
        for atoms in question.atoms[1:]:
            uniform = len(set(atoms - count)) == 1
            assert set(np.unique(atoms)) - {0} <= set(range(3, 11))
            assert uniform or atoms.max() <= thickest
            assert uniform or atoms[atoms > 0].min() >= thinnest


def test_answers_are_the_most_probable_class() -> None:
    """Candidates of ten and of eleven atoms are one class."""
    atoms = np.array([[9], [10], [11]])
    question = Question(np.array([0]), atoms, np.full(3, 1 / 3), 2)
    right, mass, width, found = answered(np.log([[0.4, 0.3, 0.3]]), question)[0]
    assert (right, width, found) == (1, 2, 1)
    assert mass == pytest.approx(0.6)


def test_more_electrons_tell_more(tmp_path: Path) -> None:
    bound = Bound(PLAN, (50.0, 1e5))
    with ThreadPoolExecutor(1) as pool:
        rows = bound.rows(3, tmp_path, lambda *_: None, pool)
        kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert (bound.rows(3, tmp_path, lambda *_: None, pool) == rows).all()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept
    found = figures(rows, ("cerium", "oxygen"))
    few, many = found["perturbed"]["50"], found["perturbed"]["100000"]
    for name in ("cerium", "oxygen"):
        assert few[name]["exact"]["value"] > 0.87, "nine tenths are unchanged, which the prior knows"
        assert abs(few[name]["exact"]["value"] - few[name]["stated"]["value"]) < 0.08, "a posterior means what it says"
    assert few["oxygen"]["changed"]["value"] < 0.3
    assert many["cerium"]["changed"]["value"] > 0.9
    assert many["oxygen"]["exact"]["value"] > few["oxygen"]["exact"]["value"]
    few, many = found["particle"]["50"], found["particle"]["100000"]
    assert few["all"]["exact"]["value"] < many["all"]["exact"]["value"]
    assert many["cerium"]["exact"]["value"] > 0.9
    assert few["all"]["width"]["value"] > many["all"]["width"]["value"]
    assert found["paper"]["100000"]["all"]["exact"]["value"] == 1
