"""A detector's profile: what it refuses, and frames corrected by it, in Python and on the command line."""

import copy
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from segdepth import BadPixels, Calibration, Detector, errors
from segdepth.files import open_movie

SHAPE = (48, 64)
EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "detector.toml"


def rng():
    return np.random.default_rng(7)


def profile(folder, text):
    path = folder / "k3.toml"
    path.write_text(f"[camera]\n{text}\n")
    return path


def recorded(seed=7):
    """A scene [electrons], and what a detector of 18 counts an electron makes of it."""
    random = np.random.default_rng(seed)
    scene = random.poisson(20, SHAPE).astype("f4")
    dark, gain = random.uniform(30, 40, SHAPE).astype("f4"), random.uniform(0.8, 1.2, SHAPE).astype("f4")
    return scene, dark, gain, (scene * 18 * gain / gain.mean() + dark).astype("f4")


class TestCorrection:
    def test_dark_and_gain_give_the_scene_back(self):
        scene, dark, gain, raw = recorded()
        corrected = Detector(dark=dark, gain=900 * gain).correct(raw)
        assert corrected.dtype == np.float32
        np.testing.assert_allclose(corrected, 18 * scene, rtol=1e-5, atol=1e-3)

    @pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f2", "f4", ">u2"])
    def test_a_dark_number_and_every_pixel_type(self, dtype):
        raw = rng().integers(0, 99, SHAPE).astype(dtype)
        np.testing.assert_array_equal(Detector(dark=32.0).correct(raw), raw.astype("f4") - 32)

    def test_the_frame_itself_is_left_alone(self):
        raw = rng().uniform(0, 9, SHAPE).astype("f4")
        before = raw.copy()
        Detector(dark=1.0, bad_pixels=BadPixels(rows=(0,))).correct(raw)
        np.testing.assert_array_equal(raw, before)

    def test_bad_pixels_are_nan_and_no_others(self):
        mask = np.zeros(SHAPE, "u1")
        mask[9, 9] = 255
        bad = BadPixels(mask, pixels=((3, 5),), rows=(40,), columns=(17, 18))
        expected = np.zeros(SHAPE, bool)
        expected[9, 9] = expected[5, 3] = expected[40] = expected[:, 17:19] = True
        corrected = Detector(bad_pixels=bad).correct(np.ones(SHAPE, "u1"))
        np.testing.assert_array_equal(np.isnan(corrected), expected)

    def test_pixels_without_gain_are_bad(self):
        gain = np.ones(SHAPE, "f4")
        gain[0, 0], gain[0, 1], gain[0, 2] = 0, -1, np.nan
        corrected = Detector(gain=gain).correct(np.full(SHAPE, 5, "u2"))
        assert np.isnan(corrected[0, :3]).all()
        assert set(np.unique(corrected[np.isfinite(corrected)])) == {5.0}

    def test_a_bad_pixel_of_the_gain_changes_no_other(self):
        gain = np.ones(SHAPE, "f4")
        gain[4, 7] = 1e6
        corrected = Detector(gain=gain, bad_pixels=BadPixels(pixels=((7, 4),))).correct(np.full(SHAPE, 5, "u2"))
        assert np.isnan(corrected[4, 7])
        assert np.nanmin(corrected) == np.nanmax(corrected) == 5

    def test_saturation_stays_visible(self):
        _, dark, gain, raw = recorded()
        raw = np.minimum(raw, np.quantile(raw, 0.97))
        assert (raw == raw.max()).mean() > 0.02
        corrected = Detector(dark=dark, gain=gain).correct(raw)
        assert (corrected[raw == raw.max()] == corrected.max()).all()
        assert (corrected == corrected.max()).mean() == pytest.approx((raw == raw.max()).mean(), abs=1e-3)

    def test_a_frame_that_is_not_saturated_keeps_its_highest_values(self):
        raw = rng().poisson(3, SHAPE).astype("u2")
        gain = rng().uniform(0.8, 1.2, SHAPE)
        corrected = Detector(gain=gain).correct(raw)
        np.testing.assert_allclose(corrected * gain / gain.mean(), raw, rtol=1e-5)

    def test_another_shape(self):
        detector = Detector(gain=np.ones((96, 128)), names={"gain": "gain.mrc"})
        with pytest.raises(errors.InvalidFrame, match=r"48 x 64 px, but gain .gain.mrc. has 96 x 128 px"):
            detector.correct(np.ones(SHAPE, "u1"))

    @pytest.mark.parametrize("image", [np.ones((2, *SHAPE)), np.ones(SHAPE, complex), [[1.0]], None])
    def test_what_is_no_frame(self, image):
        with pytest.raises(errors.InvalidFrame, match="frame"):
            Detector(dark=1.0).correct(image)

    def test_a_copy_corrects_alike(self):
        _, dark, gain, raw = recorded()
        detector = Detector(dark=dark, gain=gain)
        np.testing.assert_array_equal(copy.deepcopy(detector).correct(raw), detector.correct(raw))


class TestDetector:
    @pytest.mark.parametrize(
        "given, says",
        [
            ({"dark": np.ones(SHAPE), "gain": np.ones((9, 9))}, "gain has 9 x 9 px, dark 48 x 64 px"),
            ({"dark": np.ones((2, *SHAPE))}, "dark: an array"),
            ({"dark": "dark.mrc"}, "dark: 'dark.mrc'"),
            ({"gain": 2.0}, "gain: 2.0"),
            ({"gain": np.zeros(SHAPE)}, "gain: no pixel"),
            ({"bad_pixels": [(1, 2)]}, "bad_pixels: a list"),
            ({"dark": np.ones(SHAPE), "bad_pixels": BadPixels(pixels=((64, 0),))}, r"\[64, 0\] lies outside"),
            ({"dark": 3.0, "black_level": 3.0}, "black_level"),
            ({"gain": np.ones(SHAPE), "black_level": 3.0}, "black_level"),
            ({"counts_per_electron": -1.0}, "counts_per_electron"),
            ({"modulation_transfer": (1.0, 2.0)}, "modulation_transfer"),
        ],
        ids=str,
    )
    def test_what_cannot_be(self, given, says):
        with pytest.raises(errors.InvalidFrame, match=says):
            Detector(**given)

    def test_the_calibration_of_corrected_frames(self):
        detector = Detector(dark=30.0, counts_per_electron=18.0, modulation_transfer=(1.0, 0.5))
        taken = Calibration(0.1, counts_per_electron=1.0, dose_per_A2=500.0, beam_energy_kev=300.0)
        assert detector.calibration(taken) == Calibration(0.1, 18.0, 500.0, 300.0, None, 0.0, (1.0, 0.5))

    def test_a_black_level_alone_is_stated_and_not_subtracted(self):
        assert Detector(black_level=12.0).calibration(0.1).black_level == 12.0

    def test_nothing_known_changes_nothing(self):
        assert Detector().calibration(0.1) == Calibration(0.1)

    def test_its_repr(self):
        detector = Detector(dark=np.ones(SHAPE), names={"dark": "dark.mrc"}, modulation_transfer=(1.0, 0.5))
        assert repr(detector) == "Detector(dark='dark.mrc', shape=(48, 64), modulation_transfer='2 values')"


class TestProfile:
    def test_the_example(self):
        detector = Detector.load(EXAMPLE)
        assert (detector.dark, detector.counts_per_electron, detector.shape) == (32.0, 18.5, None)
        corrected = detector.correct(np.full(SHAPE, 50, "u2"))
        assert np.isnan(corrected[5, 3])
        assert np.isnan(corrected[:, 17]).all()
        assert corrected[0, 0] == 18

    def test_every_key(self, tmp_path):
        scene, dark, gain, raw = recorded()
        mask = np.zeros(SHAPE, "u1")
        mask[9, 9] = 1
        with mrcfile.new(tmp_path / "dark.mrc") as mrc:
            # Several of them: their mean counts.
            mrc.set_data(np.stack([dark - 1, dark + 1]))
            mrc.voxel_size = 1.0
        np.save(tmp_path / "gain.npy", gain)
        tifffile.imwrite(tmp_path / "bad.tif", mask)
        text = 'dark = "dark.mrc"\ngain = "gain.npy"\nbad_pixels = "bad.tif"\nmtf = [1, 0.5]\ncounts_per_electron = 18'
        detector = Detector.load(profile(tmp_path, text))
        corrected = detector.correct(raw)
        assert np.isnan(corrected[9, 9])
        np.testing.assert_allclose(corrected[mask == 0], 18 * scene[mask == 0], rtol=1e-4, atol=1e-2)
        assert detector.calibration(0.1) == Calibration(0.1, 18.0, black_level=0.0, modulation_transfer=(1.0, 0.5))

    def test_images_are_named_relative_to_the_profile(self, tmp_path, monkeypatch):
        (tmp_path / "profiles").mkdir()
        np.save(tmp_path / "dark.npy", np.ones(SHAPE, "f4"))
        path = profile(tmp_path / "profiles", 'dark = "../dark.npy"')
        monkeypatch.chdir("/")
        assert Detector.load(str(path)).shape == SHAPE

    def test_a_gaussians_modulation_transfer(self, tmp_path):
        values = Detector.load(profile(tmp_path, "mtf = { sigma_px = 0.5 }")).modulation_transfer
        assert values[0] == 1
        # Of a Gaussian's transform at the Nyquist frequency, 0.5 / px.
        assert values[-1] == pytest.approx(np.exp(-(np.pi**2) / 8), rel=1e-6)

    def test_other_sections_are_left_alone(self, tmp_path):
        path = tmp_path / "instrument.toml"
        path.write_text("[microscope]\nanything = 1\n[camera]\ndark = 2\n")
        assert Detector.load(path).dark == 2.0

    @pytest.mark.parametrize(
        "text, says",
        [
            ("drak = 3", r"\[camera\] drak: unknown; there is dark, gain"),
            ("dark = true", "dark: True is not a number"),
            ("dark = nan", "dark: nan is not a number"),
            ('dark = "missing.mrc"', "dark: .*missing.mrc: no such file"),
            ('dark = "k3.toml"', "dark: .*unknown format"),
            ("gain = 2.0", "gain: 2.0 is not the name of an image"),
            ("bad_pixels = [1, 2]", "bad_pixels: pixels: 1 is not a list"),
            ("bad_pixels = [[1, 2, 3]]", r"a list of \[x, y\]"),
            ("bad_pixels = [[1.5, 2]]", "whole number"),
            ("bad_pixels = 7", "neither the name of a mask nor a list"),
            ("bad_pixels = { lines = [1] }", "lines: unknown; there is columns"),
            ('bad_pixels = { rows = "all" }', "rows: 'all' is not a list"),
            ("mtf = { sigma = 0.4 }", "sigma: .* sigma_px alone"),
            ("mtf = { sigma_px = -1 }", "negative"),
            ("mtf = 0.4", "mtf: .* a row of numbers"),
            ("mtf = [0.5, 0.2]", "0.5 at zero frequency"),
            ("counts_per_electron = 0", "counts_per_electron"),
            ("counts_per_electron = '18'", "counts_per_electron: '18' is not a number"),
            ("dark = 3\nblack_level = 3", "black_level"),
            ("dark = ", "not a TOML file"),
        ],
    )
    def test_what_is_refused(self, tmp_path, text, says):
        with pytest.raises(errors.UnreadableFile, match=says) as caught:
            Detector.load(profile(tmp_path, text))
        assert "k3.toml" in str(caught.value)

    def test_no_profile(self, tmp_path):
        with pytest.raises(errors.InvalidType, match="the name of a detector's profile"):
            Detector.load({"dark": 3})
        with pytest.raises(errors.UnreadableFile, match="No such file"):
            Detector.load(tmp_path / "k3.toml")
        (tmp_path / "k3.toml").write_text("dark = 3\n")
        with pytest.raises(errors.UnreadableFile, match=r"no section \[camera\]"):
            Detector.load(tmp_path / "k3.toml")

    def test_images_that_do_not_fit_each_other(self, tmp_path):
        np.save(tmp_path / "dark.npy", np.ones(SHAPE, "f4"))
        np.save(tmp_path / "gain.npy", np.ones((9, 9), "f4"))
        text = 'dark = "dark.npy"\ngain = "gain.npy"'
        with pytest.raises(errors.UnreadableFile, match=r"gain .gain.npy. has 9 x 9 px, dark .dark.npy. 48 x 64 px"):
            Detector.load(profile(tmp_path, text))


class TestMovies:
    @pytest.fixture
    def movie(self, tmp_path):
        frames = np.stack([recorded(seed)[3].astype("u2") for seed in range(3)])
        with mrcfile.new(tmp_path / "movie.mrc") as mrc:
            mrc.set_data(frames)
            mrc.voxel_size = 0.1
        return tmp_path / "movie.mrc"

    def test_frames_are_corrected_one_by_one(self, movie):
        detector = Detector(dark=recorded()[1], counts_per_electron=18.0)
        with open_movie(movie) as raw, detector.open_movie(movie) as corrected:
            assert (len(corrected), corrected.shape, corrected.dtype) == (3, SHAPE, np.float32)
            assert corrected.calibration == Calibration(0.1, 18.0, black_level=0.0)
            assert corrected.header == raw.header
            for index, frame in enumerate(corrected):
                np.testing.assert_array_equal(frame, detector.correct(raw[index]))

    def test_numbers_alone_leave_the_pixels_alone(self, movie):
        with Detector(counts_per_electron=18.0).open_movie(movie, 0.12) as stated:
            assert stated.dtype == np.uint16
            assert stated.calibration == Calibration(0.12, 18.0)

    def test_another_shape(self, movie):
        with pytest.raises(errors.UnreadableFile, match=r"movie.mrc: frame: 48 x 64 px, but dark has 9 x 9 px"):
            Detector(dark=np.ones((9, 9))).open_movie(movie)
        with pytest.raises(errors.UnreadableFile, match=r"movie.mrc: bad_pixels: column 64 lies outside"):
            Detector(bad_pixels=BadPixels(columns=(64,))).open_movie(movie)

    def test_frames_that_are_too_large_once_corrected(self, movie, monkeypatch):
        with open_movie(movie) as raw:
            need = raw.frame(0).size * 4
            sent = raw.frame(0).nbytes
        assert sent < need
        monkeypatch.setattr("segdepth_protos.contract.FRAME_BYTES", need - 1)
        with pytest.raises(errors.UnreadableFile, match="binned"):
            Detector(dark=1.0).open_movie(movie)
        Detector(counts_per_electron=18.0).open_movie(movie).close()
