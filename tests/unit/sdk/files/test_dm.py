"""DM3 and DM4 files: pixels as stored, what the tags say, and a name for what is no movie."""

import os
import struct
import tracemalloc
from datetime import UTC, datetime

import numpy as np
import pytest

from segdepth.errors import UnreadableFile
from segdepth.files import open_movie
from tests.unit.sdk.files.dm_writer import RGB, dm_file, dm_image
from tests.unit.sdk.files.fuzz import damaged, outcome

SHAPE = (5, 24, 32)
VERSIONS = (3, 4)


def movie_of(dtype="u2", shape=SHAPE):
    return np.random.default_rng(1).integers(0, 120, shape).astype(dtype)


def write(path, *images, version=4, **options):
    path.write_bytes(dm_file(list(images), version, **options))
    return path


class TestPixels:
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", "b1"])
    def test_frames_and_sampling(self, tmp_path, version, dtype):
        data = movie_of(dtype)
        with open_movie(write(tmp_path / f"m.dm{version}", dm_image(data), version=version)) as movie:
            np.testing.assert_array_equal(np.stack(list(movie)), data)
            assert movie.shape == SHAPE[1:]
            assert movie.calibration.sampling_A == 0.1
            assert movie.header.source == "ImageData.Calibrations.Dimension"

    @pytest.mark.parametrize("thumbnail", [True, False])
    def test_an_image_is_a_movie_of_one(self, tmp_path, thumbnail):
        data = movie_of("f4", SHAPE[1:])
        with open_movie(write(tmp_path / "m.dm4", dm_image(data), thumbnail=thumbnail)) as movie:
            np.testing.assert_array_equal(movie.frame(0), data)
            assert len(movie) == 1

    def test_several_images_are_listed_and_one_chosen(self, tmp_path):
        first, second = movie_of("u2", (24, 32)), movie_of("f4", (16, 20))
        path = write(tmp_path / "m.dm3", dm_image(first), dm_image(second), version=3)
        with pytest.raises(UnreadableFile, match=r"::2 24x32 uint16 \(picture\), ::3 16x20 float32"):
            open_movie(path)
        with open_movie(f"{path}::3") as movie:
            np.testing.assert_array_equal(movie.frame(0), second)
        with pytest.raises(UnreadableFile, match="no dataset 7"):
            open_movie(f"{path}::7")

    def test_a_plot_beside_the_image_does_not_matter(self, tmp_path):
        data = movie_of("u2", (24, 32))
        with open_movie(write(tmp_path / "m.dm3", dm_image(data), dm_image(movie_of("f4", (9,))), version=3)) as movie:
            np.testing.assert_array_equal(movie.frame(0), data)


class TestHeader:
    @pytest.mark.parametrize(
        "scale, unit", [(0.01, "nm"), (10.0, "pm"), (0.1, "Å"), (0.1, "A"), (1e-5, "µm"), (1e-5, "um"), (1e-11, "m")]
    )
    def test_units(self, tmp_path, scale, unit):
        image = dm_image(movie_of(), (scale, scale, 1.0), (unit, unit, ""))
        with open_movie(write(tmp_path / "m.dm4", image)) as movie:
            assert movie.calibration.sampling_A == pytest.approx(0.1, rel=1e-6)

    def test_no_unit_is_no_sampling(self, tmp_path):
        path = write(tmp_path / "m.dm4", dm_image(movie_of(), (1.0, 1.0, 1.0), ("", "", "")))
        with pytest.raises(UnreadableFile, match=r"Dimension has no unit; state it"):
            open_movie(path)

    def test_pixels_that_are_not_square_need_a_stated_sampling(self, tmp_path):
        path = write(tmp_path / "m.dm4", dm_image(movie_of(), (0.1, 2.0, 1.0), ("nm", "Å", "")))
        with pytest.raises(UnreadableFile, match=r"1 x 2 Å .* not square"):
            open_movie(path)
        with open_movie(path, 0.1) as movie:
            assert movie.calibration.sampling_A == 0.1

    def test_microscope_camera_and_clock(self, tmp_path):
        taken = datetime(2023, 4, 5, 6, 7, 8, tzinfo=UTC)
        ticks = (taken - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds() * 1e7
        image = dm_image(
            movie_of(),
            (0.01, 0.01, 25.0),
            ("nm", "nm", "ms"),
            brightness=(0.125, "e-"),
            **{
                "Microscope Info": {"Voltage": 300e3, "Cs(mm)": -0.012},
                "DataBar": {"Acquisition Time (OS)": ticks},
            },
        )
        with open_movie(write(tmp_path / "m.dm4", image)) as movie:
            calibration = movie.calibration
            assert calibration.beam_energy_kev == 300
            assert calibration.spherical_aberration_um == pytest.approx(-12)
            assert calibration.counts_per_electron == 8
            assert movie.header.interval_s == pytest.approx(0.025)
            assert abs((movie.capture_time(2) - taken).total_seconds() - 0.05) < 1e-3

    def test_what_no_tag_says_is_not_made_up(self, tmp_path):
        with open_movie(write(tmp_path / "m.dm4", dm_image(movie_of(), brightness=(2.0, "counts")))) as movie:
            header = movie.header
            assert (header.counts_per_electron, header.beam_energy_kev, header.spherical_aberration_um) == (None,) * 3
            assert (header.dose_per_A2, header.start, header.interval_s) == (None,) * 3


REFUSED = {
    "a diffraction pattern \\(1/nm\\)": dm_image(movie_of(), (0.1, 0.1, 1.0), ("1/nm", "1/nm", "")),
    "a spectrum or profile": dm_image(movie_of("f4", (64,)), (0.1,), ("eV",)),
    "a spectrum \\(1 x 64\\)": dm_image(movie_of("f4", (1, 64)), **{"Meta Data": {"Format": "Spectrum"}}),
    "a spectrum image": dm_image(movie_of("f4", (64, 6, 8)), (1.0, 1.0, 0.5), ("nm", "nm", "eV")),
    "complex numbers": dm_image(movie_of("c8", (8, 8))),
    "a colour \\(RGB\\) picture": dm_image(movie_of("u4", (8, 8)), data_type=RGB),
    "a 4-D scan": dm_image(movie_of("u1", (3, 4, 8, 9)), (1.0,) * 4, ("nm",) * 4),
    "pixels of DM type 99": dm_image(movie_of("u1"), data_type=99),
}


class TestRefused:
    @pytest.mark.parametrize("name", REFUSED)
    def test_by_its_name(self, tmp_path, name):
        with pytest.raises(UnreadableFile, match=name):
            open_movie(write(tmp_path / "m.dm4", REFUSED[name]), 0.1)

    def test_big_endian_files(self, tmp_path):
        raw = bytearray(dm_file([dm_image(movie_of())], 3))
        raw[8:12] = bytes(4)
        (tmp_path / "m.dm3").write_bytes(raw)
        with pytest.raises(UnreadableFile, match="Little Endian"):
            open_movie(tmp_path / "m.dm3", 0.1)


class TestDamaged:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_every_damage_is_refused_or_read(self, tmp_path, version):
        path = tmp_path / f"m.dm{version}"
        raw = dm_file([dm_image(movie_of("u1", (3, 8, 9)))], version)
        outcomes = []
        for data in damaged(raw, seed=version):
            path.write_bytes(data)
            outcomes.append(outcome(path))
        # What is cut off is never a movie: only the last eight bytes hold nothing.
        assert outcomes[:12] == ["refused"] * 12
        assert {"refused", "read"} == set(outcomes)

    def test_a_file_that_is_cut_off_meanwhile(self, tmp_path):
        path = write(tmp_path / "m.dm4", dm_image(movie_of()))
        with open_movie(path) as movie:
            os.truncate(path, 100)
            with pytest.raises(UnreadableFile, match="frame 0: truncated"):
                movie.frame(0)

    def test_pixels_beyond_the_end(self, tmp_path):
        image = dm_image(movie_of("u1"))
        image["ImageData"]["Dimensions"][2] = np.uint32(4_000_000_000)
        with pytest.raises(UnreadableFile, match="truncated"):
            open_movie(write(tmp_path / "m.dm4", image), 0.1)

    @pytest.mark.parametrize("bomb", ["names", "tags", "nesting"])
    def test_tags_cannot_fill_the_memory(self, tmp_path, bomb):
        tag = struct.pack(">BHQ", 21, 0, 20) + b"%%%%" + struct.pack(">QQ", 1, 8) + b"\0"
        group = struct.pack(">BHQ", 20, 0, 0) + struct.pack(">bbQ", 1, 0, 1)
        head = struct.pack(">IQIbbQ", 4, 0, 1, 1, 0, 2**62)
        if bomb == "names":
            # A tag is kept by the names of all groups around it.
            long = struct.pack(">BH", 20, 60_000) + b"n" * 60_000 + struct.pack(">QbbQ", 0, 1, 0, 2**62)
            raw = head + long * 20 + tag * 2_000
        else:
            raw = head + (tag * 50_000 if bomb == "tags" else group * 50_000)
        (tmp_path / "m.dm4").write_bytes(raw)
        tracemalloc.start()
        with pytest.raises(UnreadableFile, match=r"tags|truncated|damaged"):
            open_movie(tmp_path / "m.dm4", 0.1)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 150e6

    def test_nothing_is_printed(self, tmp_path, capfd, recwarn):
        raw = dm_file([dm_image(movie_of("u1", (3, 8, 9)))])
        for data in damaged(raw, seed=3, cuts=2, flips=6):
            (tmp_path / "m.dm4").write_bytes(data)
            outcome(tmp_path / "m.dm4")
        assert capfd.readouterr() == ("", "")
        assert not recwarn.list
