"""What the model says of added frames: it counts, now or later, and for its own segment alone."""

import numpy as np

from segdepth.tracks import Tracking
from tests.specimen import Specimen, answered, gaussian, tracker, tracks_of


def test_sums_are_offered_and_what_is_said_of_them_counts():
    specimen = Specimen(posterior_sigma=2.5)
    with_sums, without = tracker(Tracking(summed_frames=10)), tracker()
    ours, theirs, offered = [], [], []
    for number in range(45):
        drift_A = (0.1 * number, 0.0)
        answer, image = specimen.shot(number, drift_A)
        ours += with_sums.add(answer, image)
        theirs += without.add(answer, image)
        if total := with_sums.take_sum():
            offered.append((total.first, total.last))
            assert with_sums.take_sum() is None
            xy_A = specimen.positions_A((0.1 * total.first, 0.0)) - np.array(total.origin_px) * 0.2
            inside = (xy_A > 0).all(axis=1) & (xy_A < np.array(total.image.shape[::-1]) * 0.2).all(axis=1)
            said = gaussian(specimen.atoms[inside].astype(float), 0.3)
            with_sums.add_sum(
                total, answered(number, xy_A[inside], specimen.species[inside], said, total.image.shape, 0.2)
            )
    assert offered == [(0, 9), (10, 19), (20, 29), (30, 39)]
    last = [[*ours, *with_sums.finish()][-1], [*theirs, *without.finish()][-1]]
    right = []
    for frame in last:
        tracks = tracks_of(specimen, frame, (4.4, 0.0))
        count = dict(zip(frame.columns.track.tolist(), frame.columns.count.tolist(), strict=True))
        right.append(np.mean([count[track] == specimen.atoms[column] for column, track in tracks.items()]))
    assert right[0] == 1
    assert right[1] < 0.95


def followed(specimen, frames, answer_after):
    """The last frame of so many, each tenth frames' sum answered when so many others have come."""
    tracking, total, out = tracker(Tracking(lag_frames=0, summed_frames=10)), None, []
    for number in range(frames):
        out += tracking.add(*specimen.shot(number))
        if number % 10 == 9:
            total = tracking.take_sum()
        if total and number % 10 == (9 + answer_after) % 10:
            said = gaussian(specimen.atoms.astype(float), 0.3)
            tracking.add_sum(total, answered(number, specimen.xy_A, specimen.species, said, total.image.shape, 0.2))
    return out[-1]


def test_a_sum_may_be_answered_later():
    specimen = Specimen(posterior_sigma=2.5)
    now, later = followed(specimen, 38, 0), followed(specimen, 38, 5)
    np.testing.assert_allclose(later.columns.probabilities, now.columns.probabilities)
    count = dict(zip(later.columns.track.tolist(), later.columns.count.tolist(), strict=True))
    assert all(count[track] == specimen.atoms[column] for column, track in tracks_of(specimen, later).items())


def test_a_sum_of_a_segment_that_has_ended_says_nothing_of_the_next():
    specimen, tracking = Specimen(posterior_sigma=2.5), tracker(Tracking(lag_frames=0, summed_frames=10))
    for number in range(10):
        tracking.add(*specimen.shot(number))
    total = tracking.take_sum()
    # Its columns lie where those before lay, one further.
    other = Specimen(posterior_sigma=2.5, size_px=187, seed=4)
    bare, out, without = tracker(Tracking(lag_frames=0, summed_frames=0)), [], []
    for number in range(10, 14):
        out += tracking.add(*other.shot(number))
        without += bare.add(*other.shot(number))
        if number == 11:
            said = gaussian(specimen.atoms.astype(float), 0.3)
            tracking.add_sum(total, answered(9, specimen.xy_A, specimen.species, said, total.image.shape, 0.2))
    assert out[-1].segment == 1
    np.testing.assert_array_equal(out[-1].columns.probabilities, without[-1].columns.probabilities)
