"""TIFF: pages as stored, the pixel size wherever it stands, and what is refused by its name."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from segdepth.errors import UnreadableFile
from segdepth.files import open_movie
from tests.unit.sdk.files.movies import frames_of, movie_of


@pytest.fixture(autouse=True)
def _tifffile_may_grumble(caplog):
    caplog.set_level(logging.CRITICAL, "tifffile")


def _ome(path, data):
    metadata = {"axes": "TYX", "PhysicalSizeX": 0.01, "PhysicalSizeXUnit": "nm"}
    tifffile.imwrite(path, data, ome=True, metadata=metadata)


def _ome_micrometres(path, data):
    tifffile.imwrite(path, data, ome=True, metadata={"axes": "TYX", "PhysicalSizeX": 1e-5, "PhysicalSizeY": 1e-5})


def _imagej(path, data):
    tifffile.imwrite(path, data, imagej=True, resolution=(100, 100), metadata={"unit": "nm", "axes": "TYX"})


def _resolution(path, data):
    tifffile.imwrite(path, data, resolution=(1e9, 1e9), resolutionunit="CENTIMETER", photometric="minisblack")


def _pages(path, data, compression=None):
    with tifffile.TiffWriter(path) as writer:
        for page in data:
            writer.write(
                page,
                contiguous=False,
                metadata=None,
                compression=compression,
                resolution=(1e9, 1e9),
                resolutionunit="CENTIMETER",
            )


def _compressed(path, data):
    _pages(path, data, "zlib")


WRITERS = [_ome, _ome_micrometres, _imagej, _resolution, _pages, _compressed]


class TestTiff:
    @pytest.mark.parametrize("write", WRITERS)
    @pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
    def test_pixels_and_sampling(self, tmp_path, write, dtype):
        data = movie_of(dtype)
        write(tmp_path / "m.tif", data)
        frames, sampling_A = frames_of(tmp_path / "m.tif")
        assert frames.dtype == dtype
        np.testing.assert_array_equal(frames, data)
        assert sampling_A == pytest.approx(0.1, rel=1e-6)

    @pytest.mark.parametrize("write", WRITERS)
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9])
    def test_a_truncated_file_is_never_a_short_movie(self, tmp_path, write, share):
        path = tmp_path / "m.tif"
        write(path, movie_of())
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * share)])
        with pytest.raises(UnreadableFile, match=r"m\.tif"):
            frames_of(path, 0.1)

    def test_big_endian(self, tmp_path):
        data = movie_of("u2")
        tifffile.imwrite(tmp_path / "m.tif", data, byteorder=">", photometric="minisblack")
        frames, _ = frames_of(tmp_path / "m.tif", 0.1)
        np.testing.assert_array_equal(frames, data)

    @pytest.mark.parametrize("dpi", [72, 96, 300])
    def test_the_resolution_of_a_printer_is_no_sampling(self, tmp_path, dpi):
        tifffile.imwrite(tmp_path / "m.tif", movie_of(), resolution=(dpi, dpi), resolutionunit="INCH")
        with pytest.raises(UnreadableFile, match="no sampling"):
            open_movie(tmp_path / "m.tif")

    def test_no_calibration_is_refused(self, tmp_path):
        tifffile.imwrite(tmp_path / "m.tif", movie_of())
        with pytest.raises(UnreadableFile, match="--sampling"):
            open_movie(tmp_path / "m.tif")

    def test_pages_of_different_shapes_are_refused(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "m.tif") as writer:
            for size in (8, 9, 8):
                writer.write(np.zeros((size, size), "u1"), contiguous=False, metadata=None)
        with pytest.raises(UnreadableFile, match=r"say which: .*::0 2x8x8 uint8, ::1 9x9 uint8"):
            open_movie(tmp_path / "m.tif", 0.1)

    def test_colour_is_refused(self, tmp_path):
        tifffile.imwrite(tmp_path / "m.tif", np.zeros((16, 16, 3), "u1"), photometric="rgb")
        with pytest.raises(UnreadableFile, match="grey"):
            open_movie(tmp_path / "m.tif", 0.1)

    @pytest.mark.parametrize(
        "codec, predictor",
        [(None, None), ("lzw", None), ("lzw", 2), ("zlib", None), ("zlib", 2), ("zstd", None), ("packbits", None)],
    )
    def test_every_codec(self, tmp_path, codec, predictor):
        data = movie_of("u2")
        tifffile.imwrite(
            tmp_path / "m.tif", data, photometric="minisblack", compression=codec, predictor=predictor, rowsperstrip=7
        )
        np.testing.assert_array_equal(frames_of(tmp_path / "m.tif", 0.1)[0], data)

    def test_jpeg_is_read_with_a_word(self, tmp_path):
        data = np.full((2, 32, 32), 90, "u1")
        tifffile.imwrite(tmp_path / "m.tif", data, photometric="minisblack", compression="jpeg")
        with open_movie(tmp_path / "m.tif", 0.1) as movie:
            np.testing.assert_array_equal(movie[1], data[1])
            assert "JPEG" in movie.header.notes[0]

    def test_a_missing_codec_is_named(self, tmp_path):
        tifffile.imwrite(tmp_path / "m.tif", movie_of(), photometric="minisblack", compression="lzw")
        program = (
            "import sys; sys.modules['imagecodecs'] = None\n"
            "from segdepth.errors import NotInstalled\nfrom segdepth.files import open_movie\n"
            f"try: open_movie({str(tmp_path / 'm.tif')!r}, 0.1)\nexcept NotInstalled as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert "compression LZW (5) needs imagecodecs: pip install" in done.stdout

    def test_twelve_bits(self, tmp_path):
        data = movie_of("u2") * 34
        tifffile.imwrite(tmp_path / "m.tif", data, photometric="minisblack", bitspersample=12)
        np.testing.assert_array_equal(frames_of(tmp_path / "m.tif", 0.1)[0], data)


class TestRefused:
    @pytest.mark.parametrize("photometric, name", [("miniswhite", "MINISWHITE"), ("cfa", "CFA")])
    def test_photometric_interpretations_by_name(self, tmp_path, photometric, name):
        tifffile.imwrite(tmp_path / "m.tif", movie_of("u1")[0], photometric=photometric)
        with pytest.raises(UnreadableFile, match=f"photometric interpretation {name}"):
            open_movie(tmp_path / "m.tif", 0.1)

    def test_a_palette(self, tmp_path):
        colours = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype("u2")
        tifffile.imwrite(tmp_path / "m.tif", movie_of("u1"), photometric="palette", colormap=colours)
        with pytest.raises(UnreadableFile, match="PALETTE"):
            open_movie(tmp_path / "m.tif", 0.1)

    def test_a_palette_of_greys_is_grey(self, tmp_path):
        greys = np.broadcast_to(np.arange(256, dtype="u2") * 257, (3, 256))
        data = movie_of("u1")
        tifffile.imwrite(tmp_path / "m.tif", data, photometric="palette", colormap=greys)
        np.testing.assert_array_equal(frames_of(tmp_path / "m.tif", 0.1)[0], data)

    def test_complex_pixels(self, tmp_path):
        tifffile.imwrite(tmp_path / "m.tif", movie_of("c8"), photometric="minisblack")
        with pytest.raises(UnreadableFile, match="complex"):
            open_movie(tmp_path / "m.tif", 0.1)

    def test_other_compressions_by_name(self, tmp_path):
        tifffile.imwrite(tmp_path / "m.tif", movie_of(), photometric="minisblack", compression="jpeg2000")
        with pytest.raises(UnreadableFile, match="compression JPEG2000"):
            open_movie(tmp_path / "m.tif", 0.1)

    def test_channels_and_planes_are_frames_with_a_word(self, tmp_path):
        tifffile.imwrite(tmp_path / "m.tif", movie_of("u2", (2, 3, 24, 32)), imagej=True, metadata={"axes": "TCYX"})
        with open_movie(tmp_path / "m.tif", 0.1) as movie:
            assert len(movie) == 6
            assert "3 channels" in movie.header.notes[0]


class TestSeries:
    @pytest.fixture
    def path(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "m.tif") as writer:
            writer.write(movie_of("u1", (2, 16, 16)), photometric="minisblack")
            writer.write(movie_of("u2", (3, 8, 24)), photometric="minisblack")
            writer.write(np.zeros((16, 16, 3), "u1"), photometric="rgb")
        return tmp_path / "m.tif"

    def test_several_are_named(self, path):
        with pytest.raises(UnreadableFile, match="::0 2x16x16 uint8, ::1 3x8x24 uint16"):
            open_movie(path, 0.1)

    def test_one_is_chosen(self, path):
        np.testing.assert_array_equal(frames_of(f"{path}::1", 0.1)[0], movie_of("u2", (3, 8, 24)))

    @pytest.mark.parametrize("name, says", [("2", "grey"), ("7", "no dataset 7"), ("x", "no dataset x")])
    def test_none_of_that_name(self, path, name, says):
        with pytest.raises(UnreadableFile, match=says):
            open_movie(f"{path}::{name}", 0.1)

    def test_a_coloured_thumbnail_is_no_choice(self, tmp_path):
        data = movie_of("u2", (16, 16))
        with tifffile.TiffWriter(tmp_path / "m.tif") as writer:
            writer.write(np.zeros((8, 8, 3), "u1"), photometric="rgb")
            writer.write(data, photometric="minisblack")
        np.testing.assert_array_equal(frames_of(tmp_path / "m.tif", 0.1)[0][0], data)
