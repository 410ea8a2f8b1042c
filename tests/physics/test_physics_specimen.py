"""The crystal, its surfaces, and the truth about its columns."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ase.geometry import get_distances
from numpy.testing import assert_allclose
from scipy.spatial import cKDTree

from segdepth_training.recipes.recipe import PAPER, Recipe, Specimens, load_recipe
from segdepth_training.recipes.seeds import SeedRange, generator
from segdepth_training.specimens.projection import Projection, project
from segdepth_training.specimens.specimen import FAMILIES, Specimen, draw
from segdepth_training.specimens.surfaces import SURFACES

A = 5.4113
RECIPE: Recipe = load_recipe(Path(__file__).parents[2] / "training" / "recipes" / "ceo2-110.toml")


@pytest.fixture(scope="module")
def ceria() -> Projection:
    return project(RECIPE.crystal)


def limits(**changes: object) -> Specimens:
    """The released recipe's specimens, undisturbed unless said otherwise."""
    calm = {"displacement_A": (0.0, 0.0), "tilt_share": 0.0, "perturbed_share": 0.0, "vacuum_share": 0.0}
    return Specimens.model_validate({**RECIPE.specimens.model_dump(), **calm, **changes})


def specimen(ceria: Projection, index: int, **changes: object) -> Specimen:
    return draw(generator(SeedRange.VALIDATION, 1, index), ceria, limits(**changes))


def test_projection_has_the_known_distances(ceria: Projection):
    """CeO2 [110]: cell a x a/sqrt 2, period a/sqrt 2; Ce-O columns a/4 = 1.353 Å apart."""
    assert_allclose(ceria.cell_A, (A, A / 2**0.5), atol=1e-6)
    assert ceria.period_A == pytest.approx(A / 2**0.5)
    columns = ceria.columns(15.0)
    distance, nearest = cKDTree(columns[:, :2]).query(columns[:, :2], k=2)
    assert distance[:, 1].min() == pytest.approx(A / 4, abs=1e-3)
    assert pytest.approx(1.353, abs=1e-3) == A / 4
    cerium = columns[:, 3] == 0
    assert (columns[nearest[cerium, 1], 3] == 1).all()
    cerium_distance, _ = cKDTree(columns[cerium, :2]).query(columns[cerium, :2], k=2)
    assert cerium_distance[:, 1].min() == pytest.approx(A * 6**0.5 / 4, abs=1e-3)


def test_projection_is_as_dense_as_the_crystal(ceria: Projection):
    cerium, oxygen = (int((ceria.sites[:, 3] == kind).sum()) for kind in (0, 1))
    volume_A3 = ceria.cell_A[0] * ceria.cell_A[1] * ceria.period_A
    assert cerium / volume_A3 == pytest.approx(4 / A**3)
    assert oxygen == 2 * cerium
    # As many in a square as its area says, but for its edge.
    cells = 400.0**2 / (ceria.cell_A[0] * ceria.cell_A[1])
    assert len(ceria.columns(200.0)) == pytest.approx(cells * len(ceria.sites), rel=0.02)


def test_reflections_are_those_of_the_zone(ceria: Projection):
    """111 at 3.124 Å and 002 at 2.706 Å, 54.7° apart; 001 and 1-10 are extinct or nearly so."""
    found = {round(spacing, 3): azimuth for spacing, azimuth, _ in ceria.reflections(1.5)}
    first = max(found)
    assert first == pytest.approx(A / 3**0.5, abs=1e-3)
    assert any(abs(spacing - A / 2) < 1e-3 for spacing in found)
    assert any(abs(spacing - A / 8**0.5) < 1e-3 for spacing in found)


@pytest.mark.parametrize("index", range(6))
def test_counts_are_the_atoms_of_each_column(ceria: Projection, index: int):
    thing = specimen(ceria, index, perturbed_share=1.0, vacuum_share=1.0)
    tree = cKDTree(thing.columns[:, :2])
    distance, column = tree.query(thing.atoms.positions[:, :2])
    assert distance.max() < 1e-3
    counted = np.bincount(column, minlength=len(thing.columns))
    assert_allclose(counted, thing.columns[:, 2])
    symbols = np.array(["Ce", "O"])[thing.columns[column, 3].astype(int)]
    assert (symbols == np.array(thing.atoms.get_chemical_symbols())).all()


@pytest.mark.parametrize("index", range(4))
def test_atoms_are_a_fluorite_crystal(ceria: Projection, index: int):
    """Cerium inside has eight oxygens at sqrt(3) a / 4, and no two atoms are closer than that."""
    thing = specimen(ceria, index, kinds={"flat": 1.0})
    positions, symbols = thing.atoms.positions, np.array(thing.atoms.get_chemical_symbols())
    distance, _ = cKDTree(positions).query(positions, k=2)
    assert distance[:, 1].min() == pytest.approx(A * 3**0.5 / 4, abs=2e-3)
    middle = np.abs(positions[:, :2] - RECIPE.specimens.cell_A / 2).max(1) < 15
    depth = positions[:, 2]
    inside = middle & (depth > depth.min() + 4) & (depth < depth.max() - 4) & (symbols == "Ce")
    oxygen = cKDTree(positions[symbols == "O"])
    neighbours = oxygen.query_ball_point(positions[inside], A * 3**0.5 / 4 + 0.05, return_length=True)
    assert len(neighbours) > 20
    assert (neighbours == 8).all()
    ratio = (symbols[middle] == "O").sum() / (symbols[middle] == "Ce").sum()
    assert ratio == pytest.approx(2, rel=0.1)  # the square's edge cuts more of the one or the other


@pytest.mark.parametrize("kind", sorted(SURFACES))
def test_no_two_atoms_collide(ceria: Projection, kind: str):
    for index in range(3):
        thing = specimen(ceria, 40 + index, kinds={kind: 1.0}, perturbed_share=1.0, vacuum_share=1.0)
        inside = np.abs(thing.atoms.positions[:, :2] - RECIPE.specimens.cell_A / 2).max(1) < RECIPE.specimens.cell_A / 2
        distance, _ = cKDTree(thing.atoms.positions[inside]).query(thing.atoms.positions[inside], k=2)
        assert distance[:, 1].min() > 1.5


@pytest.mark.parametrize("kind", sorted(SURFACES))
@pytest.mark.parametrize("thick", [0.0, 1.0])
def test_surfaces_stay_inside_their_limits(ceria: Projection, kind: str, thick: float):
    permitted = limits(kinds={kind: 1.0}, thick_share=thick)
    most = permitted.thick_atoms if thick else permitted.atoms[1]
    counts = np.concatenate(
        [draw(generator(SeedRange.VALIDATION, 2, i), ceria, permitted).columns[:, 2] for i in range(30)]
    )
    assert counts.min() >= 1
    if kind in PAPER:
        assert counts.min() >= permitted.atoms[0]
        assert counts.max() <= most
    else:
        assert counts.max() <= 2 * permitted.thick_atoms
    assert len(np.unique(counts)) > 1


def test_defects_are_one_or_two_atoms(ceria: Projection):
    """Isolated columns of a flat specimen are shorter or longer, as many as the recipe says."""
    permitted = limits(kinds={"flat": 1.0}, perturbed_share=1.0, thick_share=0.0, atoms=[6, 6])
    for index in range(5):
        thing = draw(generator(SeedRange.VALIDATION, 3, index), ceria, permitted)
        assert thing.family == "perturbed"
        change = thing.columns[:, 2] - 6
        assert set(np.unique(change)) <= {-2, -1, 0, 1, 2}
        assert 0.005 < (change != 0).mean() < 0.2


def test_displacement_and_tilt_are_as_drawn(ceria: Projection):
    """Positions of columns are their atoms' mean; thermal displacement scatters atoms about them."""
    still = specimen(ceria, 7)
    moved = specimen(ceria, 7, displacement_A=(0.08, 0.08))
    scatter = moved.atoms.positions[:, :2] - still.atoms.positions[:, :2]
    scatter = scatter[np.abs(scatter) < 1]  # but for atoms that left the cell on one side and came in on the other
    assert len(scatter) > 1000
    assert scatter.std() == pytest.approx(0.08, rel=0.05)
    assert_allclose(moved.columns, still.columns)
    tilted = specimen(ceria, 7, tilt_share=1.0, tilt_deg=0.7, kinds={"flat": 1.0})
    column = cKDTree(tilted.columns[:, :2]).query(tilted.atoms.positions[:, :2])[1]
    mean = [np.bincount(column, tilted.atoms.positions[:, i]) / np.bincount(column) for i in (0, 1)]
    middle = np.abs(tilted.columns[:, :2] - RECIPE.specimens.cell_A / 2).max(1) < 20
    assert_allclose(np.stack(mean, 1)[middle], tilted.columns[middle, :2], atol=2e-3)


def test_beam_ends_at_the_lowest_atom(ceria: Projection):
    thing = specimen(ceria, 3, displacement_A=(0.05, 0.05))
    assert thing.lowest_A == pytest.approx(thing.atoms.positions[:, 2].max())
    assert thing.atoms.cell[2, 2] == pytest.approx(thing.lowest_A + 2.0)
    assert thing.atoms.positions[:, 2].min() == pytest.approx(2.0)


def test_families_are_drawn_on_request(ceria: Projection):
    for family in FAMILIES:
        for index in range(8):
            thing = draw(generator(SeedRange.BENCHMARK, 0, index), ceria, RECIPE.specimens, (family,))
            assert thing.family == family
            assert (thing.kind in PAPER) == (family != "particle")


def test_same_seed_same_specimen(ceria: Projection):
    first, again = (draw(generator(SeedRange.TRAIN, 5, 9), ceria, RECIPE.specimens) for _ in range(2))
    assert (first.atoms.positions == again.atoms.positions).all()
    assert (first.columns == again.columns).all()
    assert dataclasses.asdict(first)["kind"] == again.kind


def test_seed_ranges_never_meet(ceria: Projection):
    states = {
        tuple(generator(purpose, seed, index).integers(2**62, size=4))
        for purpose in SeedRange
        for seed in range(20)
        for index in range(50)
    }
    assert len(states) == len(SeedRange) * 20 * 50
    drawn = [draw(generator(purpose, 0, 0), ceria, RECIPE.specimens) for purpose in SeedRange]
    sizes = [thing.atoms.positions.tobytes() for thing in drawn]
    assert len(set(sizes)) == len(SeedRange)


def test_distances_agree_with_ase(ceria: Projection):
    """The tree above against ASE's own distances, on a few atoms."""
    positions = specimen(ceria, 1).atoms.positions[:60]
    _, lengths = get_distances(positions)
    np.fill_diagonal(lengths, np.inf)
    assert_allclose(lengths.min(1), cKDTree(positions).query(positions, k=2)[0][:, 1])
