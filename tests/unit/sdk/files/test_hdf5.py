"""HDF5 files: EMD as NCEM and Velox write it, HyperSpy's, and any dataset by its path."""

import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from segdepth.errors import UnreadableFile
from segdepth.files import open_movie
from tests.unit.sdk.files.fuzz import damaged, outcome

SHAPE = (5, 24, 32)


def movie_of(dtype="u2", shape=SHAPE):
    return np.random.default_rng(1).integers(0, 120, shape).astype(dtype)


def frames_of(path, sampling_A=None):
    with open_movie(path, sampling_A) as movie:
        return np.stack(list(movie))


def emd(path, data, dims, name="movie", **options):
    """NCEM's: a group with the dataset and a list of places for each axis (name, unit, step)."""
    with h5py.File(path, "a") as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        group = file.require_group("data").create_group(name)
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", data=data, **options)
        for number, (size, (label, unit, step)) in enumerate(zip(data.shape, dims, strict=True)):
            values = group.create_dataset(f"dim{number + 1}", data=(np.arange(size) * step).astype("f4"))
            values.attrs.update({"name": label, "units": unit})
    return path


MOVIE = (("t", "[s]", 0.5), ("y", "[n_m]", 0.01), ("x", "[n_m]", 0.01))


def velox(path: Path, images: dict[str, np.ndarray], unit="m", step=1e-11, **told) -> Path:
    """Velox's: frames are the last axis, and JSON in bytes says the rest."""
    with h5py.File(path, "w") as file:
        for name, data in images.items():
            group = file.create_group(f"Data/Image/{name}")
            group.create_dataset("Data", data=np.moveaxis(data, 0, -1), chunks=(*data.shape[1:], 1))
            text = json.dumps(
                {
                    "BinaryResult": {
                        "Detector": f"Camera-{name}",
                        "PixelSize": {"width": str(step), "height": str(step)},
                        "PixelUnitX": unit,
                        "PixelUnitY": unit,
                    },
                    "Optics": {"AccelerationVoltage": "300000"},
                    "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1575540224"}},
                    **told,
                }
            ).encode()
            metadata = np.zeros((6000, len(data)), "u1")
            metadata[: len(text)] = np.frombuffer(text, "u1")[:, np.newaxis]
            group.create_dataset("Metadata", data=metadata)
    return path


class TestEmd:
    @pytest.mark.parametrize(
        "dtype, options",
        [
            ("u1", {}),
            ("<f4", {"chunks": (2, 16, 16), "compression": "gzip", "shuffle": True, "fletcher32": True}),
            ("u2", {"chunks": (1, 24, 32), "compression": "lzf"}),
            ("u2", {"chunks": (1, 24, 32), **hdf5plugin.Bitshuffle()}),
            ("u2", {"chunks": (1, 24, 32), **hdf5plugin.Zstd()}),
            ("u2", {"chunks": (1, 24, 32), **hdf5plugin.Blosc()}),
        ],
    )
    def test_frames_and_header(self, tmp_path, dtype, options):
        data = movie_of(dtype)
        with open_movie(emd(tmp_path / "m.emd", data, MOVIE, **options)) as movie:
            np.testing.assert_array_equal(np.stack(list(movie)), data)
            # In any order, over chunks of several frames.
            np.testing.assert_array_equal(movie.frame(1), data[1])
            assert movie.calibration.sampling_A == 0.1
            assert movie.header.source == "dimN of the EMD group"
            assert movie.header.interval_s == 0.5

    def test_axes_by_their_names(self, tmp_path):
        # As simulations write it: x, y and what was detected.
        data = movie_of("f4", (6, 8, 3))
        path = emd(tmp_path / "m.emd", data, (("R_x", "[n_m]", 0.01), ("R_y", "[n_m]", 0.01), ("angle", "[mrad]", 1.0)))
        np.testing.assert_array_equal(frames_of(path), data.transpose())

    @pytest.mark.parametrize("names", ["tyx", "txy", "yxt", "xyt", "ytx"])
    def test_time_stands_anywhere_among_them(self, tmp_path, names):
        data = movie_of("u2")
        told = {"t": ("t", "[s]", 0.5), "y": ("y", "[n_m]", 0.01), "x": ("x", "[n_m]", 0.01)}
        stored = data.transpose(["tyx".index(name) for name in names])
        path = emd(tmp_path / "m.emd", stored, [told[name] for name in names])
        np.testing.assert_array_equal(frames_of(path), data)

    @pytest.mark.parametrize(
        "unit, step, says", [("", 0.01, "has no unit"), ("[px]", 1, "'\\[px\\]', which is no"), ("[n_m]", 0, "is 0")]
    )
    def test_the_axis_without_a_size_is_the_one_complained_of(self, tmp_path, unit, step, says):
        path = emd(tmp_path / "m.emd", movie_of(), (MOVIE[0], ("y", unit, step), MOVIE[2]))
        with pytest.raises(UnreadableFile, match=says):
            open_movie(path)

    def test_a_frame_that_is_written_into_is_read_anew(self, tmp_path):
        data = movie_of()
        with open_movie(emd(tmp_path / "m.emd", data, MOVIE, chunks=(1, 24, 32))) as movie:
            movie.frame(0)[:] = 7
            np.testing.assert_array_equal(movie.frame(0), data[0])

    def test_several_datasets_are_listed_and_one_chosen(self, tmp_path):
        path, data = tmp_path / "m.emd", movie_of("f4")
        emd(path, movie_of("u1", (24, 32)), MOVIE[1:], "survey")
        emd(path, data, MOVIE, "movie")
        with pytest.raises(UnreadableFile, match=r"::/data/movie/data 5x24x32 float32"):
            open_movie(path)
        np.testing.assert_array_equal(frames_of(f"{path}::/data/movie/data"), data)
        with pytest.raises(UnreadableFile, match=r"/data/movie is a group of data, dim1"):
            open_movie(f"{path}::/data/movie")
        with pytest.raises(UnreadableFile, match="no dataset /data/other"):
            open_movie(f"{path}::/data/other")

    @pytest.mark.parametrize(
        "name, shape, dims",
        [
            ("diffraction pattern \\(nm\\^-1\\)", (8, 9), (("y", "[n_m^-1]", 0.1), ("x", "[n_m^-1]", 0.1))),
            ("a spectrum image", (4, 5, 64), (*MOVIE[1:], ("E", "[eV]", 0.1))),
            ("a 4-D scan", (3, 4, 8, 9), (*MOVIE[1:], ("Qy", "A^-1", 0.1), ("Qx", "A^-1", 0.1))),
        ],
    )
    def test_what_is_no_movie_is_named(self, tmp_path, name, shape, dims):
        with pytest.raises(UnreadableFile, match=name):
            open_movie(emd(tmp_path / "m.emd", movie_of("f4", shape), dims), 0.1)


class TestVelox:
    def test_frames_and_header(self, tmp_path):
        data = movie_of("i2")
        camera = "Detectors[Camera-a]"
        path = velox(
            tmp_path / "m.emd",
            {"a": data},
            Scan={"FrameTime": "0.25"},
            CustomProperties={f"{camera}.CountsToElectrons": {"value": "0.125"}},
        )
        with open_movie(path) as movie:
            np.testing.assert_array_equal(np.stack(list(movie)), data)
            assert movie.calibration.sampling_A == 0.1
            assert movie.calibration.beam_energy_kev == 300
            assert movie.calibration.counts_per_electron == 8
            assert movie.header.start == datetime(2019, 12, 5, 10, 3, 44, tzinfo=UTC)
            assert movie.header.interval_s == 0.25

    def test_several_images_are_listed_by_their_detectors(self, tmp_path):
        first, second = movie_of("u2"), movie_of("u2", (1, 16, 20))
        path = velox(tmp_path / "m.emd", {"a": first, "b": second})
        with pytest.raises(UnreadableFile, match=r"::/Data/Image/a/Data 24x32x5 uint16 \(Camera-a\)"):
            open_movie(path)
        np.testing.assert_array_equal(frames_of(f"{path}::/Data/Image/b"), second)

    def test_a_diffraction_pattern(self, tmp_path):
        with pytest.raises(UnreadableFile, match=r"diffraction pattern \(1/m\)"):
            open_movie(velox(tmp_path / "m.emd", {"a": movie_of()}, "1/m", 1e8), 0.1)

    def test_complex_numbers(self, tmp_path):
        data = np.zeros((1, 8, 9), [("realFloat", "f4"), ("imagFloat", "f4")])
        with pytest.raises(UnreadableFile, match="complex"):
            open_movie(velox(tmp_path / "m.emd", {"a": data}), 0.1)

    def test_damaged_metadata_leave_the_pixels(self, tmp_path):
        path = velox(tmp_path / "m.emd", {"a": movie_of()})
        with h5py.File(path, "a") as file:
            file["Data/Image/a/Metadata"][0] = ord("[")
        with pytest.raises(UnreadableFile, match=r"no BinaryResult\.PixelSize"):
            open_movie(path)
        assert len(frames_of(path, 0.1)) == 5


class TestByPath:
    def test_hyperspys_axes(self, tmp_path):
        data = movie_of()
        with h5py.File(tmp_path / "m.hspy", "w") as file:
            group = file.create_group("Experiments/movie")
            group.create_dataset("data", data=data)
            for number, (scale, unit) in enumerate(((2.0, "s"), (10.0, "pm"), (10.0, "pm"))):
                axis = {"name": "", "scale": scale, "units": unit, "navigate": number == 0}
                group.create_group(f"axis-{number}").attrs.update(axis)
            group.create_group("metadata/Acquisition_instrument/TEM").attrs["beam_energy"] = 80.0
        with open_movie(tmp_path / "m.hspy") as movie:
            np.testing.assert_array_equal(np.stack(list(movie)), data)
            assert (movie.calibration.sampling_A, movie.calibration.beam_energy_kev) == (0.1, 80)
            assert movie.header.interval_s == 2

    def test_the_only_movie_needs_no_path(self, tmp_path):
        data = movie_of(">i4")
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file["entry/data"] = data
            file["entry/time"] = np.arange(5.0)
        np.testing.assert_array_equal(frames_of(tmp_path / "m.h5", 0.1), data)
        with pytest.raises(UnreadableFile, match="no place of its own for it; state it"):
            open_movie(tmp_path / "m.h5")

    def test_a_colour_picture_is_no_movie(self, tmp_path):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file["picture"] = movie_of("u1", (64, 48, 3))
        with pytest.raises(UnreadableFile, match=r"colour \(RGB\)"):
            open_movie(tmp_path / "m.h5", 0.1)

    def test_links_are_not_followed_into_other_files(self, tmp_path):
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["data"] = movie_of()
        (tmp_path / "secret").write_bytes(bytes(24 * 32))
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/data")
            file["soft"] = h5py.SoftLink("/link")
            file["circle"] = h5py.SoftLink("/circle")
            file.create_dataset("raw", (24, 32), "u1", external=[(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)])
        for name in ("link", "soft"):
            with pytest.raises(UnreadableFile, match=r"lies in another file, .*other\.h5"):
                open_movie(f"{tmp_path / 'm.h5'}::/{name}", 0.1)
        with pytest.raises(UnreadableFile, match="in other files"):
            open_movie(tmp_path / "m.h5", 0.1)
        with pytest.raises(UnreadableFile, match="no dataset"):
            open_movie(f"{tmp_path / 'm.h5'}::/circle", 0.1)


class TestDamaged:
    def test_every_damage_is_refused_or_read(self, tmp_path):
        path = emd(tmp_path / "m.emd", movie_of("u1", (3, 8, 9)), MOVIE)
        raw, outcomes = path.read_bytes(), []
        for data in damaged(raw, seed=1, cuts=4, flips=14):
            path.write_bytes(data)
            outcomes.append(outcome(path))
        assert outcomes[:4] == ["refused"] * 4
        assert {"refused", "read"} == set(outcomes)

    def test_a_file_on_which_the_library_comes_to_no_end(self, tmp_path):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file["data"] = movie_of("u1", (24, 32))
            file["data"].attrs["units"] = "a text whose length may vary"
        raw = bytearray((tmp_path / "m.h5").read_bytes())
        # The heap of such texts: the text, of 28 bytes padded to 32, then free space. That of no size never ends.
        free = raw.index(b"GCOL") + 16 + 16 + 32
        assert raw[free : free + 8] == bytes(8)
        raw[free + 8 : free + 16] = bytes(8)
        (tmp_path / "m.h5").write_bytes(raw)
        assert outcome(tmp_path / "m.h5") == "refused"

    @pytest.mark.parametrize("chunks", [None, (1, 24, 32)])
    def test_numbers_that_were_never_written(self, tmp_path, chunks):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            frames = file.create_dataset("data", SHAPE, "u2", chunks=chunks)
            if chunks:
                frames[:3] = 1
        with pytest.raises(UnreadableFile, match="3 of 5 chunks" if chunks else "never written"):
            open_movie(tmp_path / "m.h5", 0.1)

    def test_a_chunk_that_inflates_beyond_its_size(self, tmp_path):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            bomb = file.create_dataset("data", (1, 64 * 1024, 1024), "u1", chunks=(1, 64 * 1024, 1024), compression=9)
            bomb[:] = 0
            _, packed = bomb.id.read_direct_chunk((0, 0, 0))
            small = file.create_dataset("small", (2, 64, 64), "u1", chunks=(1, 64, 64), compression=9)
            for index in range(2):
                small.id.write_direct_chunk((index, 0, 0), packed[:8000])
        tracemalloc.start()
        with (
            open_movie(f"{tmp_path / 'm.h5'}::/small", 0.1) as movie,
            pytest.raises(UnreadableFile, match=r"larger compressed|inflates"),
        ):
            movie.frame(0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 20e6

    def test_chunks_of_many_frames_are_refused(self, tmp_path):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            data = file.create_dataset("data", (600, 1024, 1024), "u1", chunks=(600, 1024, 1024), compression=9)
            data[0, 0, 0] = 1
        with pytest.raises(UnreadableFile, match="chunks"):
            open_movie(tmp_path / "m.h5", 0.1)


def test_a_dataset_without_chunks_is_read_whatever_its_size(tmp_path):
    """As h5py writes an array where nothing is said."""
    data = np.random.default_rng(3).integers(0, 200, (3, 300, 260)).astype("u2")
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["entry/data"] = data
    with open_movie(f"{tmp_path / 'm.h5'}::/entry/data", 0.1) as movie:
        np.testing.assert_array_equal(np.stack(list(movie)), data)
