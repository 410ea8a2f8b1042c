"""SER series and the EMI file beside them."""

import os
import struct
from datetime import UTC, datetime

import numpy as np
import pytest

from segdepth.errors import UnreadableFile
from segdepth.files import open_movie
from tests.unit.sdk.files.fuzz import damaged, outcome
from tests.unit.sdk.files.ser_writer import emi_file, ser_file

SHAPE = (5, 24, 32)


def movie_of(dtype="u2", shape=SHAPE):
    return np.random.default_rng(1).integers(0, 120, shape).astype(dtype)


def write(path, *arguments, **options):
    path.write_bytes(ser_file(*arguments, **options))
    return path


class TestSeries:
    @pytest.mark.parametrize("version", [0x0210, 0x0220])
    @pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
    def test_frames_and_sampling(self, tmp_path, version, dtype):
        data = movie_of(dtype)
        with open_movie(write(tmp_path / "m_1.ser", data, version=version)) as movie:
            np.testing.assert_array_equal(np.stack(list(movie)), data)
            assert movie.calibration.sampling_A == pytest.approx(0.1)
            assert movie.header.source == "CalibrationDelta of the series"

    def test_an_image(self, tmp_path):
        data = movie_of("f4", (1, 24, 32))
        with open_movie(write(tmp_path / "m_1.ser", data)) as movie:
            np.testing.assert_array_equal(np.stack(list(movie)), data)

    def test_time_and_energy(self, tmp_path):
        path = write(tmp_path / "m_1.ser", movie_of(), start=1_700_000_000)
        emi_file(tmp_path / "m.emi")
        with open_movie(path) as movie:
            assert movie.calibration.beam_energy_kev == 200
            assert movie.header.start == datetime.fromtimestamp(1_700_000_000, UTC)
            assert movie.header.interval_s == 2

    @pytest.mark.parametrize("voltage", ["none", "-1", "inf", "<b>"])
    def test_a_damaged_emi_file_does_not_matter(self, tmp_path, voltage):
        path = write(tmp_path / "m_1.ser", movie_of())
        emi_file(tmp_path / "m.emi", voltage)
        with open_movie(path) as movie:
            assert movie.calibration.beam_energy_kev is None

    @pytest.mark.parametrize(
        "name, elements, options",
        [
            ("diffraction pattern \\(1/nm\\)", movie_of(), {"delta": (4e7, 4e7)}),
            ("a spectrum or profile", movie_of("i4", (1, 64)), {}),
            ("a spectrum image", movie_of("i4", (6, 64)), {"scan": 2}),
            ("a 4-D scan", movie_of("u2", (6, 8, 9)), {"scan": 2}),
            ("complex numbers", movie_of("c8"), {}),
        ],
    )
    def test_what_is_no_movie_is_named(self, tmp_path, name, elements, options):
        with pytest.raises(UnreadableFile, match=name):
            open_movie(write(tmp_path / "m_1.ser", elements, **options), 0.1)


class TestEmi:
    def test_it_opens_its_series(self, tmp_path):
        data = movie_of()
        write(tmp_path / "m_1.ser", data)
        emi_file(tmp_path / "m.emi", "80000")
        with open_movie(tmp_path / "m.emi") as movie:
            np.testing.assert_array_equal(np.stack(list(movie)), data)
            assert movie.calibration.beam_energy_kev == 80

    def test_several_series_are_listed_and_one_chosen(self, tmp_path):
        first, second = movie_of("u2"), movie_of("f4", (2, 16, 20))
        write(tmp_path / "m_1.ser", first)
        write(tmp_path / "m_2.ser", second)
        write(tmp_path / "m_3.ser", movie_of("i4", (1, 64)))
        emi_file(tmp_path / "m.emi")
        with pytest.raises(UnreadableFile, match=r"::1 5x24x32 uint16 \(m_1\.ser\), ::2 2x16x20 float32"):
            open_movie(tmp_path / "m.emi")
        with open_movie(f"{tmp_path / 'm.emi'}::2") as movie:
            np.testing.assert_array_equal(np.stack(list(movie)), second)

    def test_without_a_series_it_has_no_pixels(self, tmp_path):
        emi_file(tmp_path / "m.emi")
        with pytest.raises(UnreadableFile, match=r"put m_1\.ser"):
            open_movie(tmp_path / "m.emi")


class TestDamaged:
    def test_every_damage_is_refused_or_read(self, tmp_path):
        path = tmp_path / "m_1.ser"
        outcomes = []
        for data in damaged(ser_file(movie_of("u1", (3, 8, 9))), seed=1):
            path.write_bytes(data)
            outcomes.append(outcome(path))
        assert outcomes[:12] == ["refused"] * 12
        assert {"refused", "read"} == set(outcomes)

    @pytest.mark.parametrize("offset, form", [(18, "<i"), (22, "<q")])
    def test_counts_and_places_beyond_the_end(self, tmp_path, offset, form):
        raw = bytearray(ser_file(movie_of("u1", (3, 8, 9))))
        struct.pack_into(form, raw, offset, 2**31 - 1)
        (tmp_path / "m_1.ser").write_bytes(raw)
        with pytest.raises(UnreadableFile, match="truncated"):
            open_movie(tmp_path / "m_1.ser", 0.1)

    def test_images_larger_than_the_file(self, tmp_path):
        raw = bytearray(ser_file(movie_of("u1", (1, 8, 9))))
        place = raw.index(struct.pack("<ii", 9, 8))
        struct.pack_into("<ii", raw, place, 60_000, 60_000)
        (tmp_path / "m_1.ser").write_bytes(raw)
        with pytest.raises(UnreadableFile, match="truncated"):
            open_movie(tmp_path / "m_1.ser", 0.1)

    def test_a_file_that_is_cut_off_meanwhile(self, tmp_path):
        path = write(tmp_path / "m_1.ser", movie_of())
        with open_movie(path) as movie:
            os.truncate(path, 100)
            with pytest.raises(UnreadableFile, match="frame 4: truncated"):
                movie.frame(4)

    def test_a_frame_of_another_shape(self, tmp_path):
        raw = bytearray(ser_file(movie_of("u1", (2, 8, 9))))
        place = raw.rindex(struct.pack("<ii", 9, 8))
        struct.pack_into("<ii", raw, place, 8, 9)
        (tmp_path / "m_1.ser").write_bytes(raw)
        with open_movie(tmp_path / "m_1.ser", 0.1) as movie, pytest.raises(UnreadableFile, match=r"frame 1: .* shape"):
            list(movie)
