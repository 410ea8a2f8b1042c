"""The camera: the same seed the same frames, each as its truth says; what it loses it counts; its numbers and times."""

import threading
from datetime import timedelta

import numpy as np
import pytest

from segdepth.camera import Camera, TruthFile, read_truth
from segdepth.camera.camera import TOO_LATE
from segdepth.errors import CannotWrite, InvalidFrame, UnreadableFile
from segdepth.results import Gap, GapReason


def shots(limit, **options):
    return list(Camera(**{"paced": False, "fps": 20, "hop_every_s": 0.5, **options}).shots(limit))


def test_the_same_seed_gives_the_same_frames_bit_by_bit():
    first, again, other = shots(40), shots(40), shots(40, seed=1)
    for one, two in zip(first, again, strict=True):
        assert (one.frame.image == two.frame.image).all()
        assert (one.drift_A, one.hops, one.frame.sequence) == (two.drift_A, two.hops, two.frame.sequence)
    assert any((one.frame.image != two.frame.image).any() for one, two in zip(first, other, strict=True))
    assert first[-1].drift_A != other[-1].drift_A


def test_a_frame_does_not_depend_on_those_that_were_lost():
    """Two cameras on one timeline, one with half the frames: the common moments have the same drift and hops."""
    whole, half = shots(80), shots(40, fps=10)
    for index, shot in enumerate(half):
        assert shot.drift_A == whole[2 * index].drift_A
        assert (shot.hopped == whole[2 * index].hopped).all()


def test_frames_have_their_dose_and_their_image():
    camera = Camera(dose=500, size=128, paced=False, drift_A_per_s=0, hop_every_s=0)
    frames = np.stack([frame.image for frame in camera.frames(200)])
    expected = camera.field.expected(camera.scene.base, (0.0, 0.0)) * 500 * 0.1**2
    away = (frames.mean(axis=0) - expected) / np.sqrt(expected / 200)
    assert np.abs(away.mean()) < 0.05
    assert away.std() == pytest.approx(1, abs=0.03)
    assert frames.dtype == np.uint16


def test_a_hop_shows_from_its_frame_on():
    camera = Camera(dose=5000, paced=False, drift_A_per_s=0, hop_every_s=1.0, fps=10, seed=2)
    taken = list(camera.shots(40))
    (at, hop) = next((index, shot.hops[0]) for index, shot in enumerate(taken) if shot.hops)
    before, after = (np.zeros(len(camera.scene.by), bool) for _ in range(2))
    after[hop.index] = True
    images = [camera.field.expected(camera.scene.image(hopped), (0.0, 0.0)) * 50 for hopped in (before, after)]
    for index in range(at + 2):
        likelihood = [
            float((taken[index].frame.image * np.log(image) - image).sum(dtype=np.float64)) for image in images
        ]
        assert (likelihood[1] > likelihood[0]) == (index >= at)


def test_numbers_times_and_calibration():
    camera = Camera(paced=False, fps=50, dose=300, sampling_A=0.12)
    frames = list(camera.frames(10))
    assert [frame.sequence for frame in frames] == list(range(10))
    assert frames[9].capture_time - frames[0].capture_time == timedelta(seconds=9 / 50)
    assert (camera.calibration.sampling_A, camera.calibration.dose_per_A2) == (0.12, 300)
    assert camera.account.seen == camera.account.sent == 10


def test_what_a_slow_reader_does_not_fetch_is_counted():
    camera = Camera(fps=400, size=64)
    sequences, wait = [], threading.Event()
    for frame in camera.frames(400):
        sequences.append(frame.sequence)
        if len(sequences) == 5:
            wait.wait(0.9)
    assert sequences == sorted(set(sequences))
    lost = 400 - len(sequences)
    assert lost >= 50
    assert camera.account.dropped == {TOO_LATE: lost}
    assert camera.account.seen == 400
    assert np.diff(sequences).max() >= 50
    # A stream that drops its oldest frames answers them, and what was lost between them, by one gap.
    camera.account.answer(Gap(0, 399, GapReason.DROPPED))
    assert camera.account.dropped == {TOO_LATE: lost, "dropped": 400 - lost}
    assert camera.account.under_way == 0


def test_closing_ends_a_camera_that_waits():
    camera = Camera(fps=0.01, size=64)
    frames = camera.frames()
    next(frames)
    threading.Timer(0.2, camera.close).start()
    assert list(frames) == []


@pytest.mark.parametrize(
    "wrong",
    [{"dose": 0}, {"fps": -1}, {"drift_A_per_s": -0.1}, {"hop_every_s": float("nan")}, {"size": 2000}, {"size": 4}],
)
def test_what_cannot_be_is_named(wrong):
    (field,) = wrong
    with pytest.raises(InvalidFrame, match=field):
        Camera(**wrong)


class TestTruth:
    def test_file_says_what_the_camera_did(self, tmp_path):
        camera = Camera(paced=False, fps=20, hop_every_s=0.4, drift_A_per_s=0.5, seed=3)
        taken = []
        with TruthFile(tmp_path / "truth.json", camera) as truth:
            for shot in camera.shots(200):
                truth.add(shot)
                taken.append(shot)
            assert not (tmp_path / "truth.json").exists()
        read = read_truth(tmp_path / "truth.json")
        assert read.sequence.tolist() == list(range(200))
        np.testing.assert_allclose(read.drift_A, [shot.drift_A for shot in taken], atol=1e-6)
        assert len(read.changes) == sum(len(shot.hops) for shot in taken) >= 15
        for shot in taken[::10]:
            assert (read.counts(shot.frame.sequence) == camera.scene.counts(shot.hopped)).all()
            np.testing.assert_allclose(
                read.positions_A(shot.frame.sequence), camera.field.positions_A(shot.drift_A), atol=1e-3
            )
        for change in read.changes:
            assert read.counts(change.frame - 1)[change.column] == change.before
            assert read.counts(change.frame)[change.column] == change.after
            assert abs(change.after - change.before) in (1, 2)
            assert read.species[change.column] == change.species
            np.testing.assert_allclose((change.x_A, change.y_A), read.xy_A[change.column])
        assert read.about["scene"] == "particle"

    @pytest.mark.parametrize("error", [RuntimeError("the service is gone"), CannotWrite("the movies' disk is full")])
    def test_an_error_leaves_what_was_true(self, tmp_path, error):
        camera = Camera(paced=False, size=64)

        def fail():
            with TruthFile(tmp_path / "truth.json", camera) as truth:
                for shot in camera.shots(3):
                    truth.add(shot)
                raise error

        with pytest.raises(type(error)):
            fail()
        assert len(read_truth(tmp_path / "truth.json").sequence) == 3
        assert [path.name for path in tmp_path.iterdir()] == ["truth.json"]

    def test_a_name_that_cannot_be_had_leaves_nothing(self, tmp_path):
        truth = TruthFile(tmp_path / "truth.json", Camera(paced=False, size=64))
        (tmp_path / "truth.json").mkdir()
        with pytest.raises(CannotWrite, match=r"truth\.json"):
            truth.close()
        assert [path.name for path in tmp_path.iterdir()] == ["truth.json"]

    @pytest.mark.parametrize("text", ["", "[1]", '{"columns": []}', '{"columns": [[1]], "frames": [], "changes": []}'])
    def test_another_file_is_named(self, tmp_path, text):
        (tmp_path / "truth.json").write_text(text)
        with pytest.raises(UnreadableFile, match=r"truth\.json"):
            read_truth(tmp_path / "truth.json")
