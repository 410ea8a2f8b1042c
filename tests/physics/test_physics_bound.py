"""The Bayes bound: priors are what the families draw, candidates are the specimen but for what is asked."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from segdepth_core.scoring import BORDER_A, inside
from segdepth_training.benchmark import neighbours
from segdepth_training.benchmark.bound import ROW, Bound, answered, figures
from segdepth_training.benchmark.candidates import (
    CHANGES,
    LEAST_BELIEF,
    MOST_POSSIBLE,
    Hypotheses,
    Question,
    particle,
    perturbed,
    prior,
)
from segdepth_training.benchmark.neighbours import Neighbours, learnt, rings, sites, surroundings
from segdepth_training.benchmark.terraces import MOVES_A, drawn, paper, steps
from segdepth_training.frames.exit_waves import Plan
from segdepth_training.frames.multislice import exit_wave
from segdepth_training.frames.observation import conditions
from segdepth_training.recipes.recipe import load_recipe
from segdepth_training.recipes.seeds import SeedRange
from segdepth_training.specimens.changes import APART_A, lengthened, with_room
from segdepth_training.specimens.families import perturbation, sites_for_benchmark
from segdepth_training.specimens.projection import project
from segdepth_training.specimens.specimen import Specimen

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
RECIPE = load_recipe(RECIPES / "smoke.toml")
PLAN = Plan(RECIPE, SeedRange.BENCHMARK, 0, 15)
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


def hypotheses_of(index: int, specimen: Specimen, known: Neighbours) -> Hypotheses:
    rng = np.random.default_rng(0)
    if index % 3 == PAPER:
        return paper(PLAN, index, specimen)
    if index % 3 == PERTURBED:
        return perturbed(rng, specimen, SIDE_A, PROJECTION)
    return particle(rng, specimen, SIDE_A, PROJECTION, known)


@pytest.mark.parametrize("index", [PAPER, PERTURBED, PARTICLE, PERTURBED + 3, PARTICLE + 3])
def test_candidates_are_the_specimen_but_for_the_asked_columns(index: int, known: Neighbours) -> None:
    specimen = PLAN.specimen(index)
    candidates, questions = hypotheses_of(index, specimen, known)
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
    columns = np.concatenate([one.columns for one in hypotheses_of(index, specimen, known).questions])
    assert len(columns) >= 2
    at = specimen.columns[columns, :2]
    distance = np.hypot(*np.moveaxis(at[:, None] - at[None], -1, 0)) + 1e9 * np.eye(len(at))
    assert distance.min() >= APART_A
    assert index != PERTURBED or (specimen.columns[columns, 4] != 0).any()


def drawn_sites(seed: int):
    return sites_for_benchmark(np.random.default_rng(seed), PROJECTION, RECIPE.specimens, "particle").stacks


def test_surroundings_are_those_of_the_perfect_crystal_and_empty_where_nothing_stands() -> None:
    stacks = drawn_sites(1)
    full = stacks._replace(number=np.full(len(stacks.number), 7))
    for species in (0, 1):
        found = sites(full, species, SIDE_A, PROJECTION)
        assert len(found.atoms)
        assert (found.around == 7).all(), "every place of every ring is taken"
        assert found.around.shape[1] == sum(ring.number for ring in rings(PROJECTION, species))
    alone = np.array([[14.0, 14.0, 5, 0, 0]], np.float32)
    assert not surroundings(alone[:, :2].astype(float), alone, rings(PROJECTION, 0)).any(), "no column is its neighbour"
    assert {0, 1} <= set((sites(stacks, 0, SIDE_A, PROJECTION).atoms > 0).astype(int)), "empty sites are learnt from"


def test_neighbours_tell_what_the_family_draws(known: Neighbours) -> None:
    """On specimens that were not learnt from: each number of atoms as often as they say."""
    said, true, right, everything = [], [], [], np.arange(25)
    for seed in range(60):
        some = sites(drawn_sites(seed), 0, SIDE_A, PROJECTION)
        for around, atoms in zip(some.around, some.atoms, strict=True):
            belief = known.prior(0, around, everything)
            assert belief.sum() == pytest.approx(1)
            said.append([belief[0], belief[1:3].sum(), belief[3:6].sum(), belief[6:].sum(), belief.max()])
            right.append(belief.argmax() == atoms)
            true.append([atoms == 0, 1 <= atoms <= 2, 3 <= atoms <= 5, atoms >= 6, right[-1]])
    assert len(right) > 200
    assert np.mean(right) > 0.6
    np.testing.assert_allclose(np.mean(said, axis=0), np.mean(true, axis=0), atol=0.04)


def test_every_possible_number_of_atoms_is_a_candidate(known: Neighbours) -> None:
    specimen = PLAN.specimen(PARTICLE)
    hypotheses = hypotheses_of(PARTICLE, specimen, known)
    for question in hypotheses.questions:
        (column,) = question.columns
        species, xy_A = int(specimen.columns[column, 3]), specimen.columns[[column], :2].astype(float)
        (around,) = surroundings(xy_A, specimen.columns, rings(PROJECTION, species))
        belief = known.prior(species, around, np.arange(30))
        likely = {int(n) for n in np.argsort(-belief)[: MOST_POSSIBLE - 1] if belief[n] > LEAST_BELIEF}
        assert likely <= set(question.atoms[question.prior > 0, 0].tolist())
        assert (question.atoms >= 0).all()


def test_no_prior_knows_of_negative_numbers(known: Neighbours) -> None:
    belief = known.prior(0, np.zeros(known.beliefs[0].layers[0].in_features - 1, np.float32), np.array([-1, 0, 1, 20]))
    assert belief[0] == 0
    assert (belief[1:] > 0).all()
    assert belief.sum() == pytest.approx(1)


@pytest.mark.parametrize("index", [PAPER, PAPER + 3, PAPER + 6, PAPER + 9, PAPER + 12])
def test_papers_candidates_are_surfaces_that_it_draws(index: int) -> None:
    specimen = PLAN.specimen(index)
    count = specimen.columns[:, 2].astype(int)
    low, high = RECIPE.specimens.atoms
    surfaces = [drawn(PLAN, index, by_A).number for by_A in ((0.0, 0.0), *MOVES_A)]
    assert (surfaces[0] == count).all(), "unmoved it is the specimen"
    questions = paper(PLAN, index, specimen).questions
    columns = np.concatenate([question.columns for question in questions])
    assert (np.sort(columns) == np.arange(len(count))).all(), "each column is decided once"
    for question in questions:
        assert question.atoms.min() >= low
        assert question.atoms.max() <= high
        for atoms in question.atoms[question.prior > 0][1:]:
            by = atoms - count[question.columns]
            assert (
                set(by) in ({-1}, {1})
                if question.whole
                else any((one[question.columns] == atoms).all() for one in surfaces[1:])
            )


def test_steps_are_moved_alone_and_teeth_together() -> None:
    x = np.array([5.0, 6.0, 30.0, 31.0, 50.0])
    columns = np.column_stack([x, 0 * x, 0 * x + 5, 0 * x, 0 * x]).astype(np.float32)
    moved = np.array([[6, 6, 5, 5, 5], [5, 5, 5, 4, 5]])
    assert [list(one) for one in steps(columns, moved, apart=True)] == [[0, 1], [3]]
    assert [list(one) for one in steps(columns, moved, apart=False)] == [[0, 1, 3]]
    assert not steps(columns, np.full((2, 5), 5), apart=True)


@pytest.mark.parametrize("index", [PAPER, PARTICLE])
def test_the_true_candidate_looks_like_the_specimen(index: int, known: Neighbours) -> None:
    specimen = PLAN.specimen(index)
    first = hypotheses_of(index, specimen, known).candidates[0]
    more_A = float(first.atoms.cell[2, 2] - specimen.atoms.cell[2, 2])
    roomy = with_room(specimen, round(more_A / 2 / PROJECTION.period_A), PROJECTION.period_A)
    ours, theirs = (exit_wave(one, RECIPE.multislice, RECIPE.microscope) for one in (first, roomy))
    assert (ours == theirs).all()
    shorter = lengthened(roomy, -np.ones(len(specimen.columns), np.int64), PROJECTION.period_A)
    assert np.abs(exit_wave(shorter, RECIPE.multislice, RECIPE.microscope) - ours).max() > 0.1


def test_columns_of_paper_are_those_that_are_scored() -> None:
    rows = np.array(Bound(PLAN, (100.0, 1000.0))._of(PAPER, None), ROW)
    columns = PLAN.specimen(PAPER).columns
    for dose in (100.0, 1000.0):
        view, *_ = conditions(PLAN, PAPER, dose)
        xy_px = columns[:, :2] / view.pixel_A - np.array(view.origin[::-1])
        counted = inside(xy_px, (view.size, view.size), BORDER_A / view.pixel_A)
        of_dose = rows[rows["dose"] == dose]
        assert sorted(of_dose["atoms"]) == sorted(columns[counted, 2].astype(int))


def test_answers_are_the_most_probable_class() -> None:
    """Candidates of ten and of eleven atoms are one class."""
    atoms = np.array([[9], [10], [11]])
    question = Question(np.array([0]), atoms, np.full(3, 1 / 3), 2)
    right, mass, width, found = answered(np.log([[0.4, 0.3, 0.3]]), question)[0]
    assert (right, width, found) == (1, 2, 1)
    assert mass == pytest.approx(0.6)


def test_none_is_no_answer_at_a_column() -> None:
    """Counts are scored where columns are; how sure it is of one's being there is asked by itself."""
    question = Question(np.array([0]), np.array([[1], [0], [2]]), np.full(3, 1 / 3), 0)
    right, mass, width, found = answered(np.log([[0.3, 0.5, 0.2]]), question)[0]
    assert (right, width, found) == (1, 2, 0)
    assert mass == pytest.approx(0.6)
    sure = answered(np.array([[-800.0, 0.0, -900.0]]), question)[0]
    assert np.isfinite(sure).all()
    assert sure[3] == 0


def test_without_electrons_the_bound_is_the_priors_best_guess(known: Neighbours) -> None:
    hypotheses = particle(np.random.default_rng([PARTICLE, 77]), PLAN.specimen(PARTICLE), SIDE_A, PROJECTION, known)
    guessed = []
    for question in hypotheses.questions:
        atoms = question.atoms[:, 0]
        guessed.append(atoms[(question.prior * (atoms > 0)).argmax()] == atoms[question.truth])
    blind, seeing = (np.array(Bound(PLAN, (dose,))._of(PARTICLE, known), ROW)["right"] for dose in (1e-6, 1e5))
    assert list(blind) == guessed
    assert blind.mean() <= seeing.mean() <= 1


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
