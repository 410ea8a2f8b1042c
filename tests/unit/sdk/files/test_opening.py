"""Opening a movie: by its name, with a sampling that can be one."""

import numpy as np
import pytest

from segdepth.errors import UnreadableFile
from segdepth.files import open_movie
from tests.unit.sdk.files.movies import movie_of


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

    def test_unknown_formats_name_the_known(self, tmp_path):
        with pytest.raises(UnreadableFile, match=r"\.mrc, \.mrcs, \.tif"):
            open_movie(tmp_path / "m.xyz")

    @pytest.mark.parametrize("name", ["m.mrc", "m.tif", "m.npy"])
    def test_something_else_under_that_name(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"<html>not found</html>" * 100)
        with pytest.raises(UnreadableFile):
            open_movie(tmp_path / name, 0.1)
