"""Movies from files: pixels as stored, the sampling of the header, and a clear word on what is damaged."""

import logging

import mrcfile
import numpy as np
import pytest
import tifffile

from segdepth.errors import UnreadableFile
from segdepth.files import open_movie

SHAPE = (5, 24, 32)


@pytest.fixture(autouse=True)
def _tifffile_may_grumble(caplog):
    caplog.set_level(logging.CRITICAL, "tifffile")


def movie_of(dtype="u2", shape=SHAPE, seed=1):
    return np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)


def write_mrc(path, data, sampling=0.1):
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
        if sampling is not None:
            mrc.voxel_size = sampling
    return path


def frames_of(path, sampling_A=None):
    with open_movie(path, sampling_A) as movie:
        return np.stack(list(movie)), movie.calibration.sampling_A


class TestMrc:
    @pytest.mark.parametrize("dtype, sent", [("i1", "i2"), ("i2", "i2"), ("u2", "u2"), ("f4", "f4"), ("f2", "f2")])
    def test_pixels_and_sampling(self, tmp_path, dtype, sent):
        data = movie_of(dtype)
        frames, sampling_A = frames_of(write_mrc(tmp_path / "m.mrc", data))
        assert frames.dtype == sent
        np.testing.assert_array_equal(frames, data)
        assert sampling_A == 0.1

    def test_a_single_image_is_a_movie_of_one(self, tmp_path):
        frames, _ = frames_of(write_mrc(tmp_path / "m.mrcs", movie_of("f4", (24, 32))))
        assert frames.shape == (1, 24, 32)

    def test_imods_unsigned_bytes(self, tmp_path):
        path = write_mrc(tmp_path / "m.mrc", np.full((2, 8, 8), -1, "i1"))
        raw = bytearray(path.read_bytes())
        raw[152:160] = np.array([1146047817, 0], "<i4").tobytes()
        path.write_bytes(raw)
        frames, _ = frames_of(path)
        assert frames.dtype == "u1"
        assert (frames == 255).all()

    @pytest.mark.parametrize("sampling, says", [(None, "no cell size"), (0.0, "no cell size"), (1.0, "exactly 1.0")])
    def test_no_sampling_is_refused(self, tmp_path, sampling, says):
        path = write_mrc(tmp_path / "m.mrc", movie_of("f4"), sampling)
        with pytest.raises(UnreadableFile, match=says):
            open_movie(path)

    def test_the_stated_sampling_wins(self, tmp_path):
        path = write_mrc(tmp_path / "m.mrc", movie_of("f4"), 1.0)
        with open_movie(path, 0.08) as movie:
            assert movie.calibration.sampling_A == 0.08
            assert movie.header.sampling_A == 1.0

    def test_pixels_that_are_not_square_are_refused(self, tmp_path):
        path = write_mrc(tmp_path / "m.mrc", movie_of("f4"), (0.1, 0.2, 0.1))
        with pytest.raises(UnreadableFile, match="not square"):
            open_movie(path)

    @pytest.mark.parametrize("kept", [0, 10, 1000, 1024, 2000, -1])
    def test_a_truncated_file_is_refused(self, tmp_path, kept):
        path = write_mrc(tmp_path / "m.mrc", movie_of("f4"))
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(UnreadableFile, match=r"m\.mrc"):
            open_movie(path)

    def test_complex_pixels_are_refused(self, tmp_path):
        path = write_mrc(tmp_path / "m.mrc", movie_of("c8"))
        with pytest.raises(UnreadableFile, match="complex64"):
            open_movie(path)


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
            for size in (8, 8, 9):
                writer.write(np.zeros((size, size), "u1"), contiguous=False, metadata=None)
        with pytest.raises(UnreadableFile, match="different shapes"):
            open_movie(tmp_path / "m.tif", 0.1)

    def test_colour_is_refused(self, tmp_path):
        tifffile.imwrite(tmp_path / "m.tif", np.zeros((16, 16, 3), "u1"), photometric="rgb")
        with pytest.raises(UnreadableFile, match="grey"):
            open_movie(tmp_path / "m.tif", 0.1)


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
