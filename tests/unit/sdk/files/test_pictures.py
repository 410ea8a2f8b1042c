"""PNG and JPEG: read for who states a pixel size, and with a word on what they are."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from segdepth.errors import UnreadableFile
from segdepth.files import open_movie
from tests.unit.sdk.files.movies import frames_of, movie_of


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_grey_levels_as_stored(tmp_path, dtype):
    image = movie_of(dtype)[0] * (1 if dtype == "u1" else 500)
    frames, sampling_A = frames_of(save(tmp_path / "m.png", image), 0.1)
    assert frames.dtype == dtype
    np.testing.assert_array_equal(frames[0], image)
    assert sampling_A == 0.1


@pytest.mark.parametrize("name, notes", [("m.png", 1), ("m.jpg", 2), ("M.JPEG", 2)])
def test_a_sampling_is_needed_and_what_it_is_is_said(tmp_path, name, notes):
    path = save(tmp_path / name, movie_of("u1")[0])
    with pytest.raises(UnreadableFile, match="display export has no pixel size"):
        open_movie(path)
    with open_movie(path, 0.1) as movie:
        assert (len(movie), movie.shape) == (1, (24, 32))
        assert len(movie.header.notes) == notes
        assert "not linear in the electrons" in movie.header.notes[0]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "CMYK"])
def test_colour_is_refused(tmp_path, mode):
    path = tmp_path / ("m.jpg" if mode == "CMYK" else "m.png")
    Image.fromarray(np.zeros((24, 32, 3), "u1")).convert(mode).save(path)
    with pytest.raises(UnreadableFile, match="save it as grey"):
        open_movie(path, 0.1)


def test_an_animation_is_refused(tmp_path):
    first, *others = (Image.fromarray(frame) for frame in movie_of("u1"))
    first.save(tmp_path / "m.png", save_all=True, append_images=others)
    with pytest.raises(UnreadableFile, match="animation of 5 frames"):
        open_movie(tmp_path / "m.png", 0.1)


@pytest.mark.parametrize("name", ["m.png", "m.jpg"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_picture_is_refused(tmp_path, name, share):
    path = save(tmp_path / name, movie_of("u1", (1, 64, 64))[0])
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(UnreadableFile):
        frames_of(path, 0.1)


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_bomb_is_not_inflated(tmp_path, side, recwarn):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    (tmp_path / "m.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))))
    with pytest.raises(UnreadableFile, match=r"binned|bomb"):
        open_movie(tmp_path / "m.png", 0.1)
