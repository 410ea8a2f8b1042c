"""Which changes are told, when they were, and that nothing else is."""

import numpy as np
import pytest

from segdepth.results import Gap, GapReason
from segdepth.tracks import Tracking, TrackState
from tests.specimen import SPACING_A, Specimen, live, tracker, tracks_of

HOP, COLUMN = 30, 44
"""Frame and column that changes."""

LAGS = [Tracking(lag_frames=lag, summed_frames=0) for lag in (0, 1, 5, 12, 100)]


def tracked(frames, settings=None, by=-2, specimen=None, missing=(), hops=None):
    """All frames of a movie in which columns change by so many atoms. hops: column to moment."""
    specimen = specimen or Specimen(posterior_sigma=0.3)
    hops = {COLUMN: HOP} if hops is None else hops
    tracking, out = tracker(settings), []
    for number in range(frames):
        atoms = specimen.atoms.copy()
        for column, moment in hops.items():
            atoms[column] += by * (number >= moment)
        answer, image = specimen.shot(number, atoms=atoms)
        if number in missing:
            out += tracking.add(Gap(number, number, GapReason.DROPPED))
        else:
            out += tracking.add(answer, image)
    out += tracking.finish()
    assert [frame.sequence for frame in out] == list(range(frames))
    return specimen, out


def changes(frames):
    return [change for frame in frames for change in frame.changes]


@pytest.mark.parametrize("settings", LAGS, ids=lambda one: f"lag {one.lag_frames}")
def test_a_change_is_told_once_with_its_moment_place_and_counts(settings):
    specimen, out = tracked(60, settings)
    (change,) = changes(out)
    assert change.track == tracks_of(specimen, out[-1])[COLUMN]
    assert abs(change.frame - HOP) <= 1
    assert change.first_frame <= HOP <= change.last_frame
    assert (change.before, change.after) == (specimen.atoms[COLUMN], specimen.atoms[COLUMN] - 2)
    assert change.p_changed > 0.9
    np.testing.assert_allclose(
        np.array([change.x_px, change.y_px]) * specimen.sampling_A, specimen.xy_A[COLUMN], atol=0.1
    )
    assert change.species == ("Ce", "O")[specimen.species[COLUMN] - 1]
    told = next(frame.sequence for frame in out if frame.changes)
    assert told >= change.frame
    if settings.lag_frames == 100:
        assert told == change.frame


@pytest.mark.parametrize("settings", LAGS[::2], ids=lambda one: f"lag {one.lag_frames}")
def test_frames_before_and_after_have_their_own_counts(settings):
    specimen, out = tracked(60, settings)
    track = tracks_of(specimen, out[-1])[COLUMN]
    counts = {
        frame.sequence: int(frame.columns.count[frame.columns.track == track][0])
        for frame in out
        if track in frame.columns.track
    }
    true = int(specimen.atoms[COLUMN])
    assert {counts[number] for number in range(10, HOP - 2)} == {true}
    assert {counts[number] for number in range(HOP + 10, 60)} == {true - 2}
    if settings.lag_frames == 100:
        p_changed = [float(frame.columns.p_changed[frame.columns.track == track][0]) for frame in out]
        assert abs(int(np.argmax(p_changed)) - HOP) <= 1
        assert sum(p_changed) == pytest.approx(changes(out)[0].p_changed, abs=0.02)


@pytest.mark.parametrize("settings", [LAGS[0], LAGS[-1]], ids=["live", "file"])
def test_noise_alone_is_told_at_most_at_the_stated_rate(settings):
    """6,000 column-frames, in which the stated rate allows for three."""
    _, out = tracked(60, settings, hops={})
    assert len(changes(out)) <= 3


def test_neighbours_of_a_change_are_not_told():
    specimen = Specimen(posterior_sigma=0.3)
    _, out = tracked(60, hops={COLUMN: HOP, COLUMN + 4: HOP})
    assert len(changes(out)) == 2
    assert SPACING_A * 4 > 3.5
    assert len(specimen.xy_A) == 100


def test_a_change_that_frames_without_an_answer_follow_is_told():
    """What is sure only at the end, of frames that are told long since."""
    gaps = range(HOP + 8, HOP + 260)
    _, out = tracked(HOP + 260, Tracking(false_alarms=1e-4, summed_frames=0), missing=gaps)
    (change,) = changes(out)
    assert abs(change.frame - HOP) <= 1
    assert out[-1].state is TrackState.MISSING
    assert out[-1].changes == (change,)


@pytest.mark.parametrize("lag", [0, 100])
def test_moments_count_the_movies_frames_not_the_answered_ones(lag):
    _, out = tracked(70, Tracking(lag_frames=lag, false_alarms=1e-4, summed_frames=0), missing=range(10, 20))
    (change,) = changes(out)
    assert abs(change.frame - HOP) <= 1


def test_where_nothing_may_hop_nothing_is_told():
    _, out = tracked(60, Tracking(hop_rate=0, summed_frames=0))
    assert changes(out) == []
    assert not any(frame.columns.p_changed.any() for frame in out)


def test_a_column_that_comes_is_told_from_its_first_frame_on():
    specimen = Specimen(posterior_sigma=0.3)
    tracking, out = tracker(live()), []
    for number in range(40):
        atoms = specimen.atoms.copy()
        atoms[COLUMN] *= number >= HOP
        out += tracking.add(*specimen.shot(number, atoms=atoms))
    told = [change for change in changes(out) if change.before == 0]
    assert [(change.frame, change.after) for change in told] == [(HOP, specimen.atoms[COLUMN])]


def test_what_was_taken_for_a_column_and_is_none_has_not_changed():
    """Found in a few frames and in none of the many that follow: no count changes from 0 to 0."""
    specimen = Specimen(posterior_sigma=0.3)
    tracking, out = tracker(Tracking(false_alarms=1e-4, summed_frames=0)), []
    for number in range(90):
        atoms = specimen.atoms.copy()
        atoms[COLUMN] = 2 if number - HOP in (0, 2, 4) else 0
        out += tracking.add(*specimen.shot(number, atoms=atoms))
    out += tracking.finish()
    assert [change for change in changes(out) if change.before == change.after] == []


def test_a_column_that_goes_has_no_atoms_and_stays_a_track():
    specimen = Specimen(posterior_sigma=0.3)
    tracking, out = tracker(), []
    for number in range(60):
        atoms = specimen.atoms.copy()
        atoms[COLUMN] *= number < HOP
        out += tracking.add(*specimen.shot(number, atoms=atoms))
    out += tracking.finish()
    track = tracks_of(specimen, out[0])[COLUMN]
    last = out[-1].columns
    assert last.count[last.track == track].tolist() == [0]
    assert not last.found[last.track == track].any()
    told = changes(out)
    assert {change.track for change in told} == {track}
    assert abs(told[0].frame - HOP) <= 1
    assert told[-1].after == 0


def test_columns_that_change_again_and_again_are_told_each_time():
    specimen = Specimen(posterior_sigma=0.25, dose=150)
    tracking, out = tracker(Tracking(lag_frames=20, summed_frames=0)), []
    for number in range(300):
        atoms = specimen.atoms.copy()
        atoms[COLUMN] = 3 if number // 30 % 2 else 6
        out += tracking.add(*specimen.shot(number, atoms=atoms))
    out += tracking.finish()
    told = [change for change in changes(out) if change.track == tracks_of(specimen, out[-1])[COLUMN]]
    assert len(told) >= 8
    assert np.mean([min(change.frame % 30, 30 - change.frame % 30) <= 2 for change in told]) > 0.7
