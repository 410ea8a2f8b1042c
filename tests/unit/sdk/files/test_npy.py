"""NPY: frames of an array, and a word where its axes are in another order."""

import numpy as np
import pytest

from segdepth.errors import UnreadableFile
from segdepth.files import open_movie
from tests.unit.sdk.files.movies import SHAPE, frames_of, movie_of


class TestNpy:
    @pytest.mark.parametrize("dtype, sent", [("u1", "u1"), (">i2", "i2"), ("f8", "f4"), ("u4", "f4"), ("?", "u1")])
    def test_pixels(self, tmp_path, dtype, sent):
        data = movie_of(dtype)
        np.save(tmp_path / "m.npy", data)
        frames, _ = frames_of(tmp_path / "m.npy", 0.1)
        assert frames.dtype == sent
        np.testing.assert_array_equal(frames, data)

    def test_integers_that_do_not_fit_are_refused(self, tmp_path):
        np.save(tmp_path / "m.npy", np.full(SHAPE, 2**24 + 1, "u4"))
        with pytest.raises(UnreadableFile, match="frame 0"):
            frames_of(tmp_path / "m.npy", 0.1)

    def test_numbers_that_do_not_fit_are_refused(self, tmp_path):
        np.save(tmp_path / "m.npy", np.full(SHAPE, 1e300))
        with pytest.raises(UnreadableFile, match="f32"):
            frames_of(tmp_path / "m.npy", 0.1)

    def test_nan_is_left_to_the_model(self, tmp_path):
        np.save(tmp_path / "m.npy", np.full(SHAPE, np.nan))
        assert np.isnan(frames_of(tmp_path / "m.npy", 0.1)[0]).all()

    def test_a_sampling_is_needed(self, tmp_path):
        np.save(tmp_path / "m.npy", movie_of())
        with pytest.raises(UnreadableFile, match="--sampling"):
            open_movie(tmp_path / "m.npy")

    def test_pickles_are_never_loaded(self, tmp_path):
        np.save(tmp_path / "m.npy", np.array([{}], dtype=object), allow_pickle=True)
        with pytest.raises(UnreadableFile):
            open_movie(tmp_path / "m.npy", 0.1)

    @pytest.mark.parametrize("kept", [0, 5, 100, 500])
    def test_a_truncated_file_is_refused(self, tmp_path, kept):
        path = tmp_path / "m.npy"
        np.save(path, movie_of())
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(UnreadableFile):
            open_movie(path, 0.1)

    @pytest.mark.parametrize("data", [movie_of(), movie_of(shape=(24, 32))[np.newaxis]])
    def test_fortrans_order(self, tmp_path, data):
        np.save(tmp_path / "m.npy", np.asfortranarray(data))
        np.testing.assert_array_equal(frames_of(tmp_path / "m.npy", 0.1)[0], data)

    @pytest.mark.parametrize("header", ["{'descr': '<u2', 'shape': (2", "{'shape': (2, 2)}", "(" * 200, "[1]"])
    def test_a_header_that_is_none(self, tmp_path, header):
        text = header.encode() + b"\n"
        (tmp_path / "m.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(100))
        with pytest.raises(UnreadableFile, match="not an NPY file"):
            open_movie(tmp_path / "m.npy", 0.1)

    def test_an_archive_under_that_name(self, tmp_path):
        with (tmp_path / "m.npy").open("wb") as file:
            np.savez(file, movie_of())
        with pytest.raises(UnreadableFile, match="NPZ"):
            open_movie(tmp_path / "m.npy", 0.1)

    @pytest.mark.parametrize("name", ["m.npy", "m.mrc", "m.tif", "m.png"])
    def test_a_folder_of_that_name(self, tmp_path, name):
        (tmp_path / name).mkdir()
        with pytest.raises(UnreadableFile, match="a folder"):
            open_movie(tmp_path / name, 0.1)


class TestOrderOfAxes:
    @pytest.mark.parametrize("shape", [(64, 96, 5), (96, 64, 16), (128, 128, 100), (512, 512, 32)])
    def test_frames_last_is_refused_and_says_how(self, tmp_path, shape):
        np.save(tmp_path / "m.npy", np.zeros(shape, "u1"))
        with pytest.raises(UnreadableFile, match=r"\[height, width, frame\].*np.moveaxis\(array, -1, 0\)"):
            open_movie(tmp_path / "m.npy", 0.1)

    def test_what_it_says_is_right(self, tmp_path):
        data = movie_of(shape=(5, 64, 96))
        np.save(tmp_path / "m.npy", np.moveaxis(np.moveaxis(data, 0, -1), -1, 0))
        np.testing.assert_array_equal(frames_of(tmp_path / "m.npy", 0.1)[0], data)

    @pytest.mark.parametrize("shape", [(512, 512, 3), (64, 96, 4), (8, 8, 3)])
    def test_colour_is_refused(self, tmp_path, shape):
        np.save(tmp_path / "m.npy", np.zeros(shape, "u1"))
        with pytest.raises(UnreadableFile, match=r"\[height, width, colour\]"):
            open_movie(tmp_path / "m.npy", 0.1)

    @pytest.mark.parametrize("shape", [(5, 64, 96), (200, 64, 64), (1000, 128, 64), (3, 64, 64), (256, 64, 40)])
    def test_movies_are_read_without_a_word(self, tmp_path, shape):
        np.save(tmp_path / "m.npy", np.zeros(shape, "u1"))
        with open_movie(tmp_path / "m.npy", 0.1) as movie:
            assert (len(movie), *movie.shape) == shape
            assert movie.header.notes == ()

    def test_what_may_be_either_is_read_with_a_word(self, tmp_path):
        np.save(tmp_path / "m.npy", np.zeros((64, 64, 90), "u1"))
        with open_movie(tmp_path / "m.npy", 0.1) as movie:
            assert "np.moveaxis" in movie.header.notes[0]
