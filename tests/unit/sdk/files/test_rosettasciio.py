"""Formats of the extra segdepth[rosettasciio]: with it they are read, without it the error says what to install."""

import sys

import numpy as np
import pytest

from segdepth.errors import NotInstalled, UnreadableFile
from segdepth.files import open_movie

SHAPE = (5, 24, 32)


@pytest.mark.parametrize("suffix", [".tvips", ".mib", ".prz"])
def test_without_it_the_error_says_what_to_install(tmp_path, monkeypatch, suffix):
    monkeypatch.setitem(sys.modules, "rsciio", None)
    (tmp_path / f"m{suffix}").write_bytes(bytes(100))
    with pytest.raises(NotInstalled, match=r"pip install 'segdepth\[rosettasciio\]'"):
        open_movie(tmp_path / f"m{suffix}", 0.1)


class TestInstalled:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("rsciio", reason="the extra segdepth[rosettasciio] is not installed")

    def test_frames(self, tmp_path):
        from rsciio.pantarhei import file_writer

        data = np.random.default_rng(1).integers(0, 120, SHAPE).astype("u2")
        axes = [
            {"size": size, "index_in_array": index, "name": "tyx"[index], "scale": 1.0, "navigate": index == 0}
            | {"offset": 0.0, "units": "nm"}
            for index, size in enumerate(SHAPE)
        ]
        metadata = {"General": {"title": "movie"}, "Signal": {"signal_type": ""}}
        file_writer(
            str(tmp_path / "m.prz"), {"data": data, "axes": axes, "metadata": metadata, "original_metadata": {}}
        )
        with open_movie(tmp_path / "m.prz", 0.1) as movie:
            np.testing.assert_array_equal(np.stack(list(movie)), data)
        # What this reader does not tell is not made up.
        with pytest.raises(UnreadableFile, match="no sampling"):
            open_movie(tmp_path / "m.prz")

    @pytest.mark.parametrize("suffix", [".tvips", ".mib", ".prz"])
    def test_something_else_under_that_name(self, tmp_path, suffix):
        (tmp_path / f"m{suffix}").write_bytes(b"<html>not found</html>" * 100)
        with pytest.raises(UnreadableFile):
            open_movie(tmp_path / f"m{suffix}", 0.1)
