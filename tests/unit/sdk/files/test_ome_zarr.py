"""Zarr stores of both versions, with and without OME's multiscales."""

import gzip
import json
import tracemalloc

import numpy as np
import pytest
import zarr

from segdepth.errors import UnreadableFile
from segdepth.files import open_movie
from tests.unit.sdk.files.fuzz import damaged, outcome

SHAPE = (5, 24, 32)
VERSIONS = (2, 3)


def movie_of(dtype="u2", shape=SHAPE):
    return np.random.default_rng(1).integers(0, 120, shape).astype(dtype)


def ome(path, data, version=3, unit="nanometer", scale=0.01, names="tyx", parent=""):
    """A pyramid of two scales."""
    root = zarr.open_group(path, mode="a", zarr_format=version)
    group = root.require_group(parent) if parent else root
    levels = []
    for level, array in enumerate((data, data[..., ::2, ::2])):
        group.create_array(str(level), shape=array.shape, dtype=array.dtype, chunks=(2, 16, 16)[-data.ndim :])[:] = (
            array
        )
        factors = [0.5 if name == "t" else scale * 2**level for name in names]
        transformation = {"type": "scale", "scale": factors}
        levels.append({"path": str(level), "coordinateTransformations": [transformation]})
    kinds = {"t": ("time", "second"), "c": ("channel", None)}
    axes = [dict(zip(("name", "type", "unit"), (n, *kinds.get(n, ("space", unit))), strict=True)) for n in names]
    scales = [{"axes": axes, "datasets": levels}]
    group.attrs.update({"ome": {"version": "0.5", "multiscales": scales}} if version == 3 else {"multiscales": scales})
    return path


class TestOme:
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
    def test_frames_and_header(self, tmp_path, version, dtype):
        data = movie_of(dtype)
        with open_movie(ome(tmp_path / "m.zarr", data, version)) as movie:
            np.testing.assert_array_equal(np.stack(list(movie)), data)
            np.testing.assert_array_equal(movie.frame(1), data[1])
            assert movie.calibration.sampling_A == 0.1
            assert movie.header.source == "scale of the OME multiscales"
            assert movie.header.interval_s == 0.5

    @pytest.mark.parametrize("unit, scale", [("angstrom", 0.1), ("micrometer", 1e-5), ("picometer", 10.0)])
    def test_units(self, tmp_path, unit, scale):
        with open_movie(ome(tmp_path / "m.zarr", movie_of(), unit=unit, scale=scale)) as movie:
            assert movie.calibration.sampling_A == pytest.approx(0.1)

    def test_a_coarser_scale_by_its_path(self, tmp_path):
        data = movie_of()
        with open_movie(f"{ome(tmp_path / 'm.zarr', data)}::/1") as movie:
            np.testing.assert_array_equal(movie.frame(0), data[0, ::2, ::2])
            assert movie.calibration.sampling_A == 0.2

    def test_several_movies_are_listed_and_one_chosen(self, tmp_path):
        ome(tmp_path / "m.zarr", movie_of(), parent="a")
        ome(tmp_path / "m.zarr", movie_of("f4"), parent="b")
        with pytest.raises(UnreadableFile, match=r"(?=.*::/a/0 5x24x32 uint16)(?=.*::/b/0 5x24x32 float32)"):
            open_movie(tmp_path / "m.zarr")
        with open_movie(f"{tmp_path / 'm.zarr'}::/b/0") as movie:
            np.testing.assert_array_equal(movie.frame(4), movie_of("f4")[4])

    def test_channels_are_no_frames(self, tmp_path):
        with pytest.raises(UnreadableFile, match="colour picture of 5 channels"):
            open_movie(ome(tmp_path / "m.zarr", movie_of(), names="cyx"))


class TestPlain:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_an_array_needs_a_stated_sampling(self, tmp_path, version):
        data = movie_of("i2")
        zarr.create_array(tmp_path / "m.zarr", shape=SHAPE, dtype="i2", chunks=SHAPE, zarr_format=version)[:] = data
        with open_movie(tmp_path / "m.zarr", 0.1) as movie:
            np.testing.assert_array_equal(np.stack(list(movie)), data)
        with pytest.raises(UnreadableFile, match="no OME multiscales; state it"):
            open_movie(tmp_path / "m.zarr")

    def test_shards(self, tmp_path):
        data = movie_of()
        array = zarr.create_array(tmp_path / "m.zarr", shape=SHAPE, dtype="u2", chunks=(1, 24, 32), shards=(2, 24, 32))
        array[:] = data
        with open_movie(tmp_path / "m.zarr", 0.1) as movie:
            np.testing.assert_array_equal(np.stack(list(movie)), data)

    def test_chunks_that_are_not_there(self, tmp_path):
        array = zarr.create_array(tmp_path / "m.zarr", shape=SHAPE, dtype="u2", chunks=(1, 24, 32))
        with pytest.raises(UnreadableFile, match="no chunk was written"):
            open_movie(tmp_path / "m.zarr", 0.1)
        array[:3] = 7
        with open_movie(tmp_path / "m.zarr", 0.1) as movie:
            assert movie.header.notes == ("3 of 5 chunks were written; what is missing reads as 0",)

    def test_complex_numbers(self, tmp_path):
        zarr.create_array(tmp_path / "m.zarr", shape=SHAPE, dtype="c8")[:] = 1
        with pytest.raises(UnreadableFile, match="complex"):
            open_movie(tmp_path / "m.zarr", 0.1)

    def test_a_file_is_no_store(self, tmp_path):
        (tmp_path / "m.zarr").write_bytes(b"PK")
        with pytest.raises(UnreadableFile, match="that is a folder"):
            open_movie(tmp_path / "m.zarr", 0.1)

    def test_an_empty_folder(self, tmp_path):
        (tmp_path / "m.zarr").mkdir()
        with pytest.raises(UnreadableFile, match="not a Zarr store"):
            open_movie(tmp_path / "m.zarr", 0.1)


class TestDamaged:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_every_damage_is_refused_or_read(self, tmp_path, version):
        path = ome(tmp_path / "m.zarr", movie_of("u1", (3, 8, 9)), version)
        told = [file for file in path.rglob("*") if file.is_file()]
        outcomes = set()
        for number, file in enumerate(sorted(told)):
            raw = file.read_bytes()
            for data in damaged(raw, seed=number, cuts=3, flips=6):
                file.write_bytes(data)
                outcomes.add(outcome(path))
            file.write_bytes(raw)
        assert outcomes == {"refused", "read"}

    @pytest.mark.parametrize("codec", ["gzip", "zstd", "blosc"])
    def test_a_chunk_that_inflates_beyond_its_size(self, tmp_path, codec):
        compressors = {
            "gzip": zarr.codecs.GzipCodec(level=9),
            "zstd": zarr.codecs.ZstdCodec(),
            "blosc": zarr.codecs.BloscCodec(),
        }
        options = {"dtype": "u1", "compressors": compressors[codec], "fill_value": 1}
        large = zarr.create_array(tmp_path / "l.zarr", shape=(1, 64 << 10, 1024), chunks=(1, 64 << 10, 1024), **options)
        large[:] = 0
        small = zarr.create_array(tmp_path / "m.zarr", shape=(1, 32, 32), chunks=(1, 32, 32), **options)
        small[:] = 0
        (tmp_path / "m.zarr/c/0/0/0").write_bytes((tmp_path / "l.zarr/c/0/0/0").read_bytes())
        tracemalloc.start()
        with open_movie(tmp_path / "m.zarr", 0.1) as movie, pytest.raises(UnreadableFile, match="inflates beyond"):
            movie.frame(0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 20e6

    @pytest.mark.parametrize("chunks", [[1, 1 << 20, 1 << 20], [1, 1, 1]])
    def test_chunks_that_cannot_be_read(self, tmp_path, chunks):
        path = tmp_path / "m.zarr"
        zarr.create_array(path, shape=(1, 4096, 4096), dtype="u1", chunks=(1, 64, 64), zarr_format=2)[0, 0, 0] = 1
        told = json.loads((path / ".zarray").read_text())
        told["chunks"] = chunks
        if chunks[-1] > 1:
            told["shape"] = [1, 1 << 20, 1 << 20]
        (path / ".zarray").write_text(json.dumps(told))
        with pytest.raises(UnreadableFile, match="chunk"):
            open_movie(path, 0.1)

    def test_gzip_that_is_none(self, tmp_path):
        array = zarr.create_array(
            tmp_path / "m.zarr", shape=(1, 8, 9), dtype="u1", compressors=zarr.codecs.GzipCodec(), fill_value=1
        )
        array[:] = 0
        (tmp_path / "m.zarr/c/0/0/0").write_bytes(gzip.compress(bytes(72))[:-12])
        assert outcome(tmp_path / "m.zarr") == "refused"
