"""Where a frame lies, and which column is which: however it drifts and turns, and whatever comes and goes."""

import numpy as np
import pytest

from segdepth.tracks.sites import REACH_A, Sites
from tests.specimen import Specimen


def shown(specimen, drift_A, turn_deg=0.0, seed=0, sigma_A=0.04):
    """Positions that a frame shows [n, 2], in disorder, and which column each is."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(specimen.xy_A))
    return specimen.positions_A(drift_A, turn_deg)[order] + rng.normal(0, sigma_A, (len(order), 2)), order


class Following:
    """Sites, and which column each is."""

    def __init__(self, specimen):
        self.specimen, self.sites = specimen, Sites()
        xy_A, self.column = shown(specimen, (0.0, 0.0))
        self.sites.begin(xy_A, specimen.species[self.column])

    def add(self, drift_A, turn_deg=0.0, seed=1, unanswered=0):
        """The placement of a frame; fails where a site is another column than before."""
        xy_A, order = shown(self.specimen, drift_A, turn_deg, seed)
        placed = self.sites.place(xy_A, self.specimen.species[order], unanswered)
        assert placed is not None
        site_M = self.sites.accept(placed, self.specimen.species[order])
        assert (placed.site_M >= 0).all()
        assert (self.column[site_M] == order).all()
        return placed


@pytest.mark.parametrize("sampling_A", [0.1, 0.25])
@pytest.mark.parametrize("step_A", [(0.01, 0.0), (0.17, -0.05), (-0.12, 0.12)])
def test_drift_is_right_to_a_fiftieth_of_an_angstrom(step_A, sampling_A):
    following = Following(Specimen(side_A=24, sampling_A=sampling_A))
    errors = []
    for number in range(1, 60):
        drift_A = number * np.array(step_A)
        errors.append(following.add(drift_A, seed=number).shift_A - drift_A)
    errors = np.array(errors) - np.mean(errors, axis=0)
    assert np.abs(errors).max() < 0.02
    assert np.hypot(*(59 * np.array(step_A))) > 0.5


@pytest.mark.parametrize("jump_A", [(1.2, 0.4), (2.1, -2.4), (-2.7, 2.7), (9.3, 8.0)])
def test_a_jump_is_not_taken_for_a_shorter_one(jump_A):
    """Modulo the lattice's period it is one; the specimen's edges tell."""
    following = Following(Specimen())
    np.testing.assert_allclose(following.add(jump_A).shift_A, jump_A, atol=0.05)
    np.testing.assert_allclose(following.add(jump_A, seed=2).shift_A, jump_A, atol=0.05)


def test_a_turn_of_a_fifth_of_a_degree_a_frame_is_followed():
    following = Following(Specimen())
    for number in range(1, 100):
        placed = following.add((0.02 * number, 0.0), turn_deg=0.2 * number, seed=number)
    assert np.degrees(placed.turn_rad) == pytest.approx(0.2 * 99, abs=0.1)


@pytest.mark.parametrize("speed_A", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("missing", [5, 20])
def test_links_hold_over_frames_without_an_answer(speed_A, missing):
    """Of a lattice without an end, too, where nothing but the speed says how many periods it went on."""
    following = Following(Specimen(side_A=80))
    for number in [*range(1, 20), *range(20 + missing, 50 + missing)]:
        following.add((speed_A * number, 0.0), seed=number, unanswered=missing if number == 20 + missing else 0)


def test_neither_few_columns_nor_another_specimen_are_placed():
    sites = Sites()
    species = Specimen().species
    sites.begin(Specimen().xy_A, species)
    assert sites.place(Specimen().xy_A[:7], species[:7]) is None
    assert sites.place(np.random.default_rng(0).uniform(0, 30, (80, 2)), species[:80]) is None


@pytest.mark.parametrize("degrees", [-20, 9, 25])
def test_a_turn_at_once_is_said(degrees):
    sites = Sites()
    sites.begin(Specimen().xy_A, Specimen().species)
    turned, order = shown(Specimen(), (0.3, 0.2), degrees)
    assert sites.place(turned, Specimen().species[order]) is None
    said = sites.why_not(turned, 0)
    assert "turned by some" in said
    assert abs(int(said.split("some ")[1].split("°")[0]) - degrees) <= 2


def test_what_is_taken_out_leaves_its_neighbours_their_reach():
    """A false column beside a true one goes: what is found between them is the true one's again."""
    specimen = Specimen()
    sites = Sites()
    false_A = specimen.xy_A[40] + (0.8, 0.0)
    sites.begin(np.concatenate([specimen.xy_A, false_A[None]]), np.append(specimen.species, 1))
    assert sites.place(specimen.xy_A, specimen.species) is not None
    sites.keep(np.arange(len(sites)) < len(specimen.xy_A))
    moved = specimen.xy_A.copy()
    moved[40] += (0.9 * REACH_A, 0.0)
    placed = sites.place(moved, specimen.species)
    assert placed.site_M.tolist() == list(range(len(moved)))


def test_sites_that_go_leave_the_others_their_columns():
    following = Following(Specimen())
    following.add((0.1, 0.0))
    kept = np.arange(len(following.sites)) % 3 != 1
    following.sites.keep(kept)
    following.column = following.column[kept]
    xy_A, order = shown(following.specimen, (0.2, 0.0), seed=4)
    placed = following.sites.place(xy_A, following.specimen.species[order])
    known = placed.site_M >= 0
    assert known.sum() == kept.sum()
    assert (following.column[placed.site_M[known]] == order[known]).all()


def test_new_columns_come_last():
    specimen = Specimen()
    sites = Sites()
    sites.begin(specimen.xy_A[:60], specimen.species[:60])
    placed = sites.place(specimen.xy_A, specimen.species)
    site_M = sites.accept(placed, specimen.species)
    assert site_M.tolist() == list(range(len(specimen.xy_A)))
    np.testing.assert_allclose(sites.xy_N2, specimen.xy_A, atol=0.01)
