"""Opening a movie: by its name, with a sampling that can be one."""

import errno
import os
from dataclasses import replace

import numpy as np
import pytest

from segdepth.errors import NoFrame, UnreadableFile
from segdepth.files import open_movie
from tests.unit.sdk.files.movies import movie_of, write_mrc


class TestOpening:
    @pytest.mark.parametrize("shape", [(0, 24, 32), (2, 0, 0), (2, 1, 9), (4,), (2, 2, 8, 8)])
    def test_shapes_that_are_no_movie(self, tmp_path, shape):
        np.save(tmp_path / "m.npy", np.zeros(shape, "u1"))
        with pytest.raises(UnreadableFile):
            open_movie(tmp_path / "m.npy", 0.1)

    def test_a_frame_larger_than_a_message(self, tmp_path):
        np.lib.format.open_memmap(tmp_path / "m.npy", "w+", "f4", (1, 20_000, 20_000))
        with pytest.raises(UnreadableFile, match="binned"):
            open_movie(tmp_path / "m.npy", 0.1)

    @pytest.mark.parametrize("sampling_A", [0.0, 1.0, -0.1, 50.0, float("nan")])
    def test_a_stated_sampling_that_can_be_none(self, tmp_path, sampling_A):
        np.save(tmp_path / "m.npy", movie_of())
        with pytest.raises(UnreadableFile, match="sampling"):
            open_movie(tmp_path / "m.npy", sampling_A)

    def test_no_such_file(self, tmp_path):
        with pytest.raises(UnreadableFile, match="no such file"):
            open_movie(tmp_path / "m.mrc")

    @pytest.mark.parametrize("name", ["m.mrc", "m.tif", "m.npy", "m.dm4", "m.ser", "m.h5", "m.png", "m.zarr"])
    def test_a_pipe_is_not_waited_for(self, tmp_path, name):
        os.mkfifo(tmp_path / name)
        with pytest.raises(UnreadableFile, match="not a file"):
            open_movie(tmp_path / name, 0.1)

    def test_what_the_disk_says_has_the_file_s_name(self, tmp_path):
        with pytest.raises(UnreadableFile, match=r"m+\.mrc: File name too long"):
            open_movie(tmp_path / f"{'m' * 300}.mrc")

    def test_unknown_formats_name_the_known(self, tmp_path):
        with pytest.raises(UnreadableFile, match=r"\.mrc, \.mrcs, \.tif"):
            open_movie(tmp_path / "m.xyz")

    @pytest.mark.parametrize("name", ["m.mrc", "m.tif", "m.npy"])
    def test_something_else_under_that_name(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"<html>not found</html>" * 100)
        with pytest.raises(UnreadableFile):
            open_movie(tmp_path / name, 0.1)


class TestFrames:
    @pytest.mark.parametrize("index", [-1, 5, 2**64])
    def test_there_is_none_before_the_first_or_behind_the_last(self, tmp_path, index):
        # Small enough for the one before the first to be bytes of the header.
        path = write_mrc(tmp_path / "m.mrc", movie_of("u1", (5, 8, 8)))
        with open_movie(path) as movie, pytest.raises(NoFrame, match="there are 0 to 4") as caught:
            movie[index]
        assert isinstance(caught.value, IndexError)

    def test_a_disk_that_fails_is_an_unreadable_file(self, tmp_path):
        def read(_):
            raise OSError(errno.EIO, "Input/output error")

        with open_movie(write_mrc(tmp_path / "m.mrc", movie_of())) as movie:
            movie._stack = replace(movie._stack, read=read)
            with pytest.raises(UnreadableFile, match=r"frame 2: .*Input/output error"):
                movie.frame(2)
