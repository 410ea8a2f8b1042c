"""Sums over regions: which columns are in one, and how sure the sum is."""

from dataclasses import replace

import numpy as np
import pytest

from segdepth.errors import InvalidFrame, InvalidType
from segdepth.tracks.regions import ALL, Region, Regions
from segdepth.tracks.results import TrackState
from tests.tracked import PITCH_A, SAMPLING_A, columns, tracked, without

LEFT = Region("left", -100.0, -100.0, 2.0 + 1.5 * PITCH_A, 1000.0)
"""The first two columns of each row of the grid."""


def certain(sequence=0, tracks=12, shift_A=(0.0, 0.0)):
    """A frame whose columns have 4 atoms with certainty, displaced by `shift_A`."""
    found = columns(sequence, tracks, shift_A)
    posterior = np.zeros((tracks, 11))
    posterior[:, 4] = 1.0
    return replace(tracked(sequence, tracks), columns=replace(found, probabilities=posterior), drift_A=shift_A)


def by_name(sums):
    return {(one.region, one.species): one for one in sums}


def test_all_columns_by_species():
    sums = by_name(Regions().sums(certain(tracks=13)))
    assert list(sums) == [(ALL, "Ce"), (ALL, "O")]
    assert (sums[ALL, "Ce"].columns, sums[ALL, "Ce"].atoms) == (7, 28.0)
    assert (sums[ALL, "O"].columns, sums[ALL, "O"].mean_occupancy) == (6, 4.0)


def test_what_is_certain_has_no_error():
    (ce, _) = Regions().sums(certain())
    assert (ce.atoms_error, ce.atoms_error_independent, ce.atoms_error_common) == (0.0, 0.0, 0.0)


def test_a_region_moves_with_the_specimen():
    regions = Regions([LEFT])
    still, moved = certain(), certain(1, shift_A=(7.0, -3.0))
    assert by_name(Regions([LEFT]).sums(moved)) == pytest.approx(by_name(regions.sums(still)))
    assert by_name(regions.sums(still))["left", "Ce"].columns == 2


def test_a_column_at_an_edge_stays_where_it_was_first_seen():
    """Its position is off by more than the edge is away, in this frame alone."""
    regions = Regions([LEFT])
    regions.sums(certain())
    off = certain(1)
    off = replace(off, columns=replace(off.columns, x_px=off.columns.x_px - PITCH_A / SAMPLING_A))
    assert by_name(regions.sums(off))["left", "Ce"].columns == 2
    assert by_name(Regions([LEFT]).sums(off))["left", "Ce"].columns == 3


def test_a_new_segment_places_its_tracks_anew():
    regions = Regions([LEFT])
    regions.sums(certain())
    off = replace(certain(1), segment=1)
    off = replace(off, columns=replace(off.columns, x_px=off.columns.x_px + 100 / SAMPLING_A))
    assert by_name(regions.sums(off))["left", "Ce"].columns == 0


def test_a_track_that_comes_later_is_placed_too():
    regions = Regions([LEFT])
    regions.sums(certain(tracks=4))
    assert by_name(regions.sums(certain(1, tracks=12))) == by_name(Regions([LEFT]).sums(certain(1, tracks=12)))


def test_a_region_without_a_column_is_told():
    sums = by_name(Regions([Region("far", 500, 500, 600, 600)]).sums(certain()))
    assert (sums["far", "O"].columns, sums["far", "O"].atoms) == (0, 0.0)
    assert np.isnan(sums["far", "O"].mean_occupancy)


def test_columns_of_no_known_species():
    found = columns(tracks=3)
    frame = replace(tracked(tracks=3), columns=replace(found, species=np.array([0, 1, 1], np.uint8)))
    assert [(one.species, one.columns) for one in Regions().sums(frame)] == [("?", 1), ("Ce", 2), ("O", 0)]


def test_a_frame_that_is_not_tracked_has_no_sum():
    assert Regions([LEFT]).sums(without(3, TrackState.REFUSED, "noise")) == []


def test_a_frame_without_a_column():
    (ce, oxygen) = Regions().sums(certain(tracks=0))
    assert (ce.columns, oxygen.columns, ce.atoms_error) == (0, 0, 0.0)


def test_errors_of_a_frame_are_correlated():
    """Against sums of columns that share a part of their errors, drawn many times."""
    deviation, correlation, number = 0.7, 0.3, 24
    rng = np.random.default_rng(11)
    own, shared = rng.normal(0, deviation, (20_000, number)), rng.normal(0, deviation, (20_000, 1))
    drawn = (np.sqrt(1 - correlation) * own + np.sqrt(correlation) * shared).sum(axis=1).std()
    posterior = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * deviation**2))
    posterior = np.tile(posterior / posterior.sum(), (2 * number, 1))
    frame = replace(tracked(tracks=2 * number), columns=replace(columns(tracks=2 * number), probabilities=posterior))
    (ce, _) = Regions(correlation=correlation).sums(frame)
    assert ce.atoms_error == pytest.approx(drawn, rel=0.03)
    assert ce.atoms_error_independent == pytest.approx(deviation * np.sqrt(number), rel=0.03)
    assert ce.atoms_error_common == pytest.approx(deviation * number, rel=0.03)


def test_the_correlation_spans_both_bounds():
    frame = tracked()
    for correlation, bound in ((0.0, "atoms_error_independent"), (1.0, "atoms_error_common")):
        (ce, _) = Regions(correlation=correlation).sums(frame)
        assert ce.atoms_error == pytest.approx(getattr(ce, bound))


def test_written_regions():
    assert Region.parse("surface=0,-1.5,20,4e1") == Region("surface", 0.0, -1.5, 20.0, 40.0)
    assert str(Region.parse("surface=0,-1.5,20,40")) == "surface=0,-1.5,20,40"


@pytest.mark.parametrize(
    "written", ["surface", "surface=1,2,3", "surface=1,2,3,x", "=0,0,1,1", "a b=0,0,1,1", "a=2,0,1,1", "a=0,0,nan,1"]
)
def test_what_is_no_region(written):
    with pytest.raises(InvalidFrame, match="region"):
        Region.parse(written)


@pytest.mark.parametrize("regions", [[LEFT, LEFT], [Region(ALL, 0, 0, 1, 1)]])
def test_a_name_is_of_one_region(regions):
    with pytest.raises(InvalidFrame, match="more than once"):
        Regions(regions)


def test_a_correlation_is_from_0_to_1():
    with pytest.raises(InvalidFrame, match="correlation"):
        Regions(correlation=1.5)
    with pytest.raises(InvalidType):
        Regions(["left"])
