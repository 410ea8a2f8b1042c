"""Answers of a movie in order, whatever comes: each frame once, tracks that are never another column, and why not."""

import numpy as np
import pytest

from segdepth.models import ModelVersion
from segdepth.results import Gap, GapReason
from segdepth.tracks import Tracker, Tracking, TrackState
from segdepth.tracks.tracker import GAP_FRAMES, in_parts
from segdepth_protos.v1 import frame_pb2
from tests.specimen import MODEL, NUMBERS, Specimen, answered, gaussian, live, refused, tracker, tracks_of

TRACKED, LOST, REFUSED, MISSING = TrackState.TRACKED, TrackState.LOST, TrackState.REFUSED, TrackState.MISSING


def rows(frame):
    columns = frame.columns
    if columns is None:
        return frame.sequence, frame.state, frame.why
    return (
        frame.sequence,
        frame.drift_A,
        [change.frame for change in frame.changes],
        *(getattr(columns, name).tolist() for name in ("track", "x_px", "y_px", "found", "species")),
        columns.probabilities.tolist(),
        columns.p_changed.tolist(),
    )


def mixture(frames, seed=0):
    """Answers of all kinds with their images: one in ten refused, missing, without an image or of another place."""
    rng, specimen = np.random.default_rng(seed), Specimen(missed=0.05)
    sequence = 0
    while sequence < frames:
        answer, image = specimen.shot(sequence, (0.05 * sequence, 0.0))
        match rng.integers(14):
            case 0:
                yield refused(sequence), None
            case 1:
                number = int(rng.integers(1, 9))
                yield Gap(sequence, sequence + number - 1, GapReason.DROPPED, "the service is slower"), None
                sequence += number - 1
            case 2:
                yield answer, None
            case 3:
                yield specimen.shot(sequence, (0.05 * sequence, 0.0), turn_deg=17.0)
            case _:
                yield answer, image
        sequence += 1


@pytest.mark.parametrize("lag", [0, 1, 2, 5, 12, 40])
def test_every_frame_comes_once_and_in_order(lag):
    tracking, out = tracker(Tracking(lag_frames=lag, summed_frames=0)), []
    last = -1
    for answer, image in mixture(150):
        out += tracking.add(answer, image)
        last = answer.last if isinstance(answer, Gap) else answer.sequence
        if lag == 0:
            assert out[-1].sequence == last
        assert last - (out[-1].sequence if out else -1) <= max(2 * lag, lag + 9)
    out += tracking.finish()
    assert [frame.sequence for frame in out] == list(range(last + 1))
    assert {frame.state for frame in out} == set(TrackState)
    assert {frame.segment for frame in out} == {0}
    for frame in out:
        assert (frame.columns is None) == (frame.state is not TRACKED) == bool(frame.why)


def test_live_nothing_that_follows_counts():
    """The frames of a part of a movie are those of the whole, bit by bit."""
    whole, part = tracker(live()), tracker(live())
    ours, theirs = [], []
    for answer, image in mixture(90):
        ours += whole.add(answer, image)
        if answer.sequence < 50:
            theirs += part.add(answer, image)
    theirs += part.finish()
    assert [rows(one) for one in ours[: len(theirs)]] == [rows(one) for one in theirs]


def test_how_frames_come_out_is_not_what_they_say():
    """A movie shorter than its lag has the same rows as with any longer one."""
    said = []
    for lag in (60, 1000):
        tracking, out = tracker(Tracking(lag_frames=lag, summed_frames=0)), []
        for answer, image in mixture(50):
            out += tracking.add(answer, image)
        said.append([rows(one) for one in [*out, *tracking.finish()]])
    assert said[0] == said[1]


def test_links_never_swap_on_a_long_way():
    specimen = Specimen(missed=0.1, size_px=260)
    tracking, known = tracker(live()), {}
    for number in range(120):
        drift_A = (0.08 * number - 5, 2 * np.sin(number / 9))
        for frame in tracking.add(*specimen.shot(number, drift_A)):
            for column, track in tracks_of(specimen, frame, drift_A).items():
                assert known.setdefault(column, track) == track
    assert len(known) == len(specimen.xy_A)
    assert len(set(known.values())) == len(known)


def test_drift_is_told_against_the_first_frame():
    specimen, tracking = Specimen(size_px=260), tracker(live())
    for number in range(101):
        (frame,) = tracking.add(*specimen.shot(number, (0.1 * number - 5, -0.03 * number)))
    np.testing.assert_allclose(frame.drift_A, (10, -3), atol=0.05)
    assert frame.drift_error_A < 0.03
    assert frame.rotation_deg == pytest.approx(0, abs=0.2)


class TestLost:
    """What lies on no track."""

    def test_a_specimen_that_turns_at_once_is_tracked_anew(self):
        specimen, tracking, out = Specimen(), tracker(live()), []
        for number in range(40):
            out += tracking.add(*specimen.shot(number, turn_deg=14.0 * (number >= 20)))
        assert [frame.state for frame in out] == [TRACKED] * 20 + [LOST] * 2 + [TRACKED] * 18
        assert "turned by some" in out[20].why
        assert out[21].why == out[20].why
        assert {frame.segment for frame in out if frame.state is TRACKED} == {0, 1}
        before, after = (set(out[number].columns.track.tolist()) for number in (19, 39))
        assert len(before) == len(specimen.xy_A)
        assert len(after) > 90  # Its corners are now at the field's edge.
        assert not before & after

    @pytest.mark.parametrize("lag", [0, 6, 100])
    def test_it_leaves_the_field(self, lag):
        specimen, tracking, out = Specimen(), tracker(Tracking(lag_frames=lag, summed_frames=0)), []
        for number in range(60):
            out += tracking.add(*specimen.shot(number, (40.0 * (number >= 30), 0.0)))
        out += tracking.finish()
        assert [frame.state for frame in out] == [TRACKED] * 30 + [LOST] * 30
        assert all("only 0 columns are in the field" in frame.why for frame in out[30:])

    def test_and_comes_back(self):
        specimen, tracking, out = Specimen(), tracker(live()), []
        for number in range(60):
            away = 20 <= number < 25
            out += tracking.add(*specimen.shot(number, (40.0 * away, 0.0)))
        assert {frame.segment for frame in out if frame.state is TRACKED} == {0}
        assert tracks_of(specimen, out[19]) == tracks_of(specimen, out[-1])

    def test_it_shatters(self):
        """Each column goes its own way: no frame lies on another."""
        specimen, tracking, out = Specimen(), tracker(live()), []
        for number in range(30):
            answer, image = specimen.shot(number)
            if number >= 15:
                rng = np.random.default_rng(number)
                xy_A = rng.uniform(1, 30, (100, 2))
                said = gaussian(np.full(100, 4.0))
                answer = answered(number, xy_A, specimen.species, said, (160, 160), 0.2)
            out += tracking.add(answer, image)
        assert [frame.state for frame in out] == [TRACKED] * 15 + [LOST] * 15
        assert all("jumped, broke, or left the field" in frame.why for frame in out[15:16])

    def test_it_jumps_further_than_is_searched(self):
        specimen, tracking, out = Specimen(size_px=260), tracker(live()), []
        for number in range(30):
            out += tracking.add(*specimen.shot(number, (20.0 * (number >= 15) - 10, 0.0)))
        assert [frame.state for frame in out] == [TRACKED] * 15 + [LOST] * 2 + [TRACKED] * 13
        assert out[-1].segment == 1

    def test_frames_that_are_lost_with_others_between_them_begin_anew_too(self):
        """A live service that answers every second frame."""
        specimen, tracking, out = Specimen(size_px=260), tracker(live()), []
        for number in range(40):
            drift_A = ((10.0 if number >= 20 else -10.0) + 0.01 * number, 0.0)
            if number % 2:
                out += tracking.add(Gap(number, number, GapReason.DROPPED))
            else:
                out += tracking.add(*specimen.shot(number, drift_A))
        assert out[-2].state is TRACKED
        assert out[-2].segment == 1
        assert [frame.state for frame in out if not frame.sequence % 2].count(LOST) == 2

    def test_a_frame_that_was_not_kept(self):
        specimen, tracking, out = Specimen(), tracker(live()), []
        for number in range(12):
            answer, image = specimen.shot(number)
            out += tracking.add(answer, None if number in (4, 5) else image)
        assert [frame.state for frame in out] == [TRACKED] * 4 + [LOST] * 2 + [TRACKED] * 6
        assert "was not kept" in out[4].why

    def test_few_columns_begin_nothing(self):
        specimen, tracking = Specimen(side_A=5), tracker(live())
        (frame,) = tracking.add(*specimen.shot(0))
        assert frame.state is LOST
        assert "only 4 columns" in frame.why
        (frame,) = tracking.add(*Specimen(side_A=1).shot(1))
        assert "only 1 columns" in frame.why
        (frame,) = tracking.add(*Specimen().shot(2))
        assert (frame.state, frame.segment) == (TRACKED, 0)


class TestStretches:
    """Frames without an answer in the middle."""

    @pytest.mark.parametrize("many, speed_A", [(3, 0.2), (20, 0.2), (60, 0.05), (60, 0.3)])
    def test_the_same_tracks_go_on_or_new_ones_begin(self, many, speed_A):
        specimen, tracking, known = Specimen(size_px=400, sampling_A=0.2), tracker(live()), {}
        states = []
        for number in range(50 + many):
            drift_A = (speed_A * (number - 25 - many / 2), 0.0)
            if 20 <= number < 20 + many:
                out = tracking.add(refused(number, (400, 400)))
            else:
                out = tracking.add(*specimen.shot(number, drift_A))
            states += [frame.state for frame in out]
            for frame in out:
                if frame.state is TRACKED:
                    for column, track in tracks_of(specimen, frame, drift_A).items():
                        assert known.setdefault((frame.segment, column), track) == track
        assert states.count(REFUSED) == many
        assert states.count(TRACKED) >= 47
        if many == 3:
            assert {segment for segment, _ in known} == {0}
        assert len(set(known.values())) == len(known)

    def test_all_that_is_refused_has_its_reason(self):
        tracking = tracker()
        assert tracking.add(refused(0)) == []
        (frame,) = tracking.finish()
        assert (frame.state, "all are zero" in frame.why) == (REFUSED, True)

    def test_a_gap_of_a_million_frames_is_told_in_parts(self):
        specimen, tracking, number, most = Specimen(), tracker(), 0, 0
        tracking.add(*specimen.shot(0))
        for part in in_parts(Gap(1, 1_000_000, GapReason.LOST, "the camera's own count jumped")):
            for frame in (out := tracking.add(part)):
                assert frame.sequence == number
                number += 1
            most = max(most, len(out))
        assert most <= GAP_FRAMES + 2 * Tracking().lag_frames
        out = [*tracking.add(*specimen.shot(1_000_001)), *tracking.finish()]
        assert [frame.sequence for frame in out] == list(range(number, 1_000_002))
        assert out[-1].state is TRACKED
        assert "the camera's own count jumped" in out[0].why

    def test_what_is_no_gap_has_one_part(self):
        assert [part.sequence for part in in_parts(refused(3))] == [3]
        gap = Gap(5, 5 + GAP_FRAMES, GapReason.DROPPED)
        assert [(part.first, part.last) for part in in_parts(gap)] == [
            (5, 4 + GAP_FRAMES),
            (5 + GAP_FRAMES, 5 + GAP_FRAMES),
        ]


class TestAnew:
    """Another kind of frame, another model."""

    OTHER = frame_pb2.ModelVersion(family="made-up", version="2", sha256="ef" * 32, engine="none")

    @pytest.mark.parametrize(
        "second",
        [Specimen(size_px=180), Specimen(sampling_A=0.201), Specimen(model=OTHER)],
        ids=["shape", "pixel size", "model"],
    )
    @pytest.mark.parametrize("lag", [0, 8])
    def test_it_is_another_segment(self, second, lag):
        tracking, out = tracker(Tracking(lag_frames=lag, summed_frames=0)), []
        assert not tracking.knows(ModelVersion.from_message(self.OTHER))
        tracking.learn(ModelVersion.from_message(self.OTHER), NUMBERS)
        for number in range(60):
            out += tracking.add(*(Specimen() if number < 20 or number >= 40 else second).shot(number))
        out += tracking.finish()
        assert [frame.sequence for frame in out] == list(range(60))
        assert [frame.segment for frame in out] == [0] * 20 + [1] * 20 + [2] * 20
        assert out[25].model == ModelVersion.from_message(second.model)
        tracks = [set(out[number].columns.track.tolist()) for number in (19, 39, 59)]
        assert all(tracks)
        assert len(set.union(*tracks)) == sum(map(len, tracks))
        assert out[45].drift_A == pytest.approx((0, 0), abs=0.1)

    def test_a_model_whose_numbers_are_not_known_is_not_guessed(self):
        with pytest.raises(KeyError):
            Tracker().add(*Specimen().shot(0))


class TestColumns:
    """Which columns are tracks."""

    def test_what_is_found_at_the_edge_now_and_then_is_none(self):
        specimen, tracking = Specimen(), tracker(live())
        rng, out = np.random.default_rng(0), []
        for number in range(100):
            answer, image = specimen.shot(number)
            columns = answer.columns
            false_A = np.column_stack([rng.uniform(0, 1.3, 3), rng.uniform(0, 31, 3)])
            said = answered(
                number,
                np.concatenate([np.column_stack([columns.x_A, columns.y_A]), false_A]),
                np.append(columns.species, [1, 1, 1]).astype(np.uint8),
                np.concatenate([columns.probabilities, gaussian(np.full(3, 2.0))]),
                answer.shape,
                0.2,
            )
            out += tracking.add(said, image)
        assert tracking._segment.tracks < 1.15 * len(specimen.xy_A)
        assert len(tracking._segment.sites) < 1.5 * len(specimen.xy_A)

    def test_its_species_is_what_most_frames_say(self):
        specimen, tracking, out = Specimen(), tracker(), []
        for number in range(30):
            answer, image = specimen.shot(number)
            species = answer.columns.species.copy()
            species[50] = 3 - species[50] if number < 10 else species[50]
            answer.message.columns.species = species.tobytes()
            out += tracking.add(type(answer)(answer.message), image)
        out += tracking.finish()
        named = [frame.columns.species_names()[50] for frame in out]
        assert set(named) == {("Ce", "O")[answer.columns.species[50] - 1]}

    def test_images_without_values_are_tracked_by_what_the_model_says(self):
        specimen, tracking, out = Specimen(), tracker(live()), []
        for number in range(30):
            answer, image = specimen.shot(number)
            image = image.astype(np.float32)
            image[:, 70:90] = np.nan
            out += tracking.add(answer, image)
        assert {frame.state for frame in out} == {TRACKED}
        assert len(out[-1].columns) == len(specimen.xy_A)
        assert np.isfinite(out[-1].columns.probabilities).all()

    def test_rows_add_up(self):
        tracking, out = tracker(Tracking(lag_frames=10, summed_frames=0)), []
        for answer, image in mixture(80):
            out += tracking.add(answer, image)
        for frame in [*out, *tracking.finish()]:
            if frame.columns is not None:
                assert (np.diff(frame.columns.track) > 0).all()
                np.testing.assert_allclose(frame.columns.probabilities.sum(axis=1), 1)
                lo90, hi90 = frame.columns.interval
                assert ((lo90 <= frame.columns.count) & (frame.columns.count <= hi90)).all()


def test_no_answer_at_all():
    assert Tracker().finish() == []
    assert Tracker().take_sum() is None
    assert MODEL.version == "1"
    assert tracker().add(Gap(0, 2, GapReason.DROPPED)) == []
