"""MRC: pixels and sampling as the header says, in either byte order, and a cause for what is refused."""

import struct

import mrcfile
import numpy as np
import pytest

from segdepth.errors import UnreadableFile
from segdepth.files import open_movie
from tests.unit.sdk.files.movies import frames_of, movie_of, write_mrc

LITTLE, BIG = b"\x44\x44\0\0", b"\x11\x11\0\0"


def raw_mrc(path, data, mode, order="<", **changes):
    """A file written field by field: `changes` name fields of the standard."""
    sections, rows, columns = data.shape
    fields = np.zeros(1, mrcfile.dtypes.HEADER_DTYPE.newbyteorder(order))[0]
    standard = {
        "nx": columns,
        "ny": rows,
        "nz": sections,
        "mode": mode,
        "mx": columns,
        "my": rows,
        "mz": sections,
        "cella": (0.1 * columns, 0.1 * rows, 0.1 * sections),
        "cellb": (90, 90, 90),
        "mapc": 1,
        "mapr": 2,
        "maps": 3,
        "map": b"MAP ",
    }
    extended = changes.pop("extended", b"")
    for name, value in {**standard, "nsymbt": len(extended), **changes}.items():
        fields[name] = value
    if "machst" not in changes:
        fields["machst"] = np.frombuffer(LITTLE if order == "<" else BIG, "u1")
    path.write_bytes(fields.tobytes() + extended + data.astype(data.dtype.newbyteorder(order)).tobytes())
    return path


def stamp(raw):
    return np.frombuffer(raw, "u1")


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
        with pytest.raises(UnreadableFile, match="mode 4, complex"):
            open_movie(path)


class TestByteOrders:
    @pytest.mark.parametrize("order", "<>")
    @pytest.mark.parametrize("mode, dtype", [(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")])
    def test_every_mode_in_both(self, tmp_path, order, mode, dtype):
        data = movie_of(dtype)
        frames, sampling_A = frames_of(raw_mrc(tmp_path / "m.mrc", data, mode, order))
        np.testing.assert_array_equal(frames, data)
        assert sampling_A == 0.1

    @pytest.mark.parametrize("order", "<>")
    def test_imods_unsigned_bytes(self, tmp_path, order):
        path = raw_mrc(tmp_path / "m.mrc", np.full((2, 8, 8), 200, "u1"), 0, order)
        raw = bytearray(path.read_bytes())
        raw[152:160] = struct.pack(f"{order}2i", 1146047817, 0)
        path.write_bytes(raw)
        assert (frames_of(path)[0] == 200).all()

    @pytest.mark.parametrize("order", "<>")
    @pytest.mark.parametrize("machst", [bytes(4), b"\x44\x20\x20\x20", b"\x44\x11\0\0", b"\x11\0\0\0"])
    def test_an_odd_machine_stamp_where_one_order_fits(self, tmp_path, order, machst):
        data = movie_of("i2")
        path = raw_mrc(tmp_path / "m.mrc", data, 1, order, machst=stamp(machst))
        np.testing.assert_array_equal(frames_of(path)[0], data)
        with open_movie(path) as movie:
            assert "machine stamp" in movie.header.notes[0]

    @pytest.mark.parametrize("machst", [LITTLE, BIG])
    def test_the_stamp_of_the_other_order(self, tmp_path, machst):
        data = movie_of("f4")
        order = ">" if machst == LITTLE else "<"
        path = raw_mrc(tmp_path / "m.mrc", data, 2, order, machst=stamp(machst))
        np.testing.assert_array_equal(frames_of(path)[0], data)

    @pytest.mark.parametrize("letters", [b"", b"MRC "])
    def test_no_map_stamp(self, tmp_path, letters):
        data = movie_of("f4")
        path = raw_mrc(tmp_path / "m.mrc", data, 2, map=letters)
        np.testing.assert_array_equal(frames_of(path)[0], data)
        with open_movie(path) as movie:
            assert "MAP stamp is missing" in movie.header.notes[0]

    @pytest.mark.parametrize("changes", [{"map": b""}, {"machst": stamp(bytes(4))}])
    def test_neither_stamp_nor_size_fits(self, tmp_path, changes):
        path = raw_mrc(tmp_path / "m.mrc", movie_of("f4"), 2, **changes)
        path.write_bytes(path.read_bytes() + b"x")
        with pytest.raises(UnreadableFile, match=r"stamp.*do not fit the file's 16385 bytes"):
            open_movie(path)


class TestRefused:
    @pytest.mark.parametrize(
        "mode, name", [(3, "complex"), (4, "complex"), (16, "colour"), (101, "4-bit"), (7, "mode 7")]
    )
    @pytest.mark.parametrize("order", "<>")
    def test_modes_by_their_name(self, tmp_path, mode, name, order):
        with pytest.raises(UnreadableFile, match=name):
            open_movie(raw_mrc(tmp_path / "m.mrc", movie_of("c8"), mode, order))

    @pytest.mark.parametrize("field", ["nx", "ny", "nz"])
    @pytest.mark.parametrize("size", [0, -1, -(2**31)])
    def test_no_size(self, tmp_path, field, size):
        with pytest.raises(UnreadableFile, match=f"{field} = {size}"):
            open_movie(raw_mrc(tmp_path / "m.mrc", movie_of("f4"), 2, **{field: size}))

    def test_how_much_is_there(self, tmp_path):
        path = raw_mrc(tmp_path / "m.mrc", movie_of("f4"), 2)
        path.write_bytes(path.read_bytes()[:-4000])
        with pytest.raises(UnreadableFile, match="5 frames announced, 3 there"):
            open_movie(path)

    def test_a_stack_of_volumes(self, tmp_path):
        with pytest.raises(UnreadableFile, match="volumes"):
            open_movie(raw_mrc(tmp_path / "m.mrc", movie_of("f4"), 2, ispg=401))

    def test_a_file_that_is_cut_off_meanwhile(self, tmp_path):
        path = raw_mrc(tmp_path / "m.mrc", movie_of("f4"), 2)
        with open_movie(path) as movie:
            path.write_bytes(path.read_bytes()[:-4])
            assert movie[3].shape == (24, 32)
            with pytest.raises(UnreadableFile, match="frame 4: truncated"):
                movie.frame(4)


class TestAxes:
    def test_frames_that_the_header_does_not_count(self, tmp_path):
        path = write_mrc(tmp_path / "m.mrc", movie_of("u2"))
        path.write_bytes(path.read_bytes() + movie_of("u2", (2, 24, 32)).tobytes())
        with open_movie(path) as movie:
            assert len(movie) == 5
            assert movie.header.notes == ("2 frames stand behind the 5 that the header announces, and are not read",)

    def test_columns_along_y_are_turned(self, tmp_path):
        data = movie_of("f4")
        path = raw_mrc(tmp_path / "m.mrc", data, 2, mapc=2, mapr=1, mx=24, my=32, cella=(2.4, 3.2, 1))
        frames, sampling_A = frames_of(path)
        np.testing.assert_array_equal(frames, data.transpose(0, 2, 1))
        assert sampling_A == 0.1

    @pytest.mark.parametrize("axes", [(3, 2, 1), (1, 3, 2), (2, 3, 1), (3, 1, 2)])
    def test_sections_along_x_or_y_are_refused(self, tmp_path, axes):
        with pytest.raises(UnreadableFile, match=f"sections run along {'XYZ'[axes[2] - 1]}"):
            open_movie(raw_mrc(tmp_path / "m.mrc", movie_of("f4"), 2, mapc=axes[0], mapr=axes[1], maps=axes[2]))

    @pytest.mark.parametrize("axes, notes", [((0, 0, 0), 0), ((1, 1, 3), 1), ((7, -1, 0), 1)])
    def test_axes_that_are_none(self, tmp_path, axes, notes):
        data = movie_of("f4")
        path = raw_mrc(tmp_path / "m.mrc", data, 2, mapc=axes[0], mapr=axes[1], maps=axes[2])
        with open_movie(path) as movie:
            np.testing.assert_array_equal(movie[1], data[1])
            assert len(movie.header.notes) == notes


class TestSampling:
    NAN = float("nan")

    @pytest.mark.parametrize(
        "changes",
        [
            {"mx": 0},
            {"my": 0},
            {"mx": -32, "my": -24},
            {"cella": (0, 0, 0)},
            {"cella": (3.2, 0, 0)},
            {"cella": (-3.2, -2.4, 0)},
            {"cella": (NAN, NAN, NAN)},
            {"cella": (3.2, NAN, 1)},
            {"cella": (float("inf"),) * 3},
            {"cella": (32.0, 24.0, 5.0)},
            {"cella": (6.4, 2.4, 1.0)},
            {"cellb": (90, 90, 120)},
        ],
    )
    def test_a_header_that_says_none_leaves_it_to_the_user(self, tmp_path, changes):
        path = raw_mrc(tmp_path / "m.mrc", movie_of("f4"), 2, **changes)
        with pytest.raises(UnreadableFile, match="sampling"):
            open_movie(path)
        assert frames_of(path, 0.08)[1] == 0.08

    def test_a_grid_of_one_is_a_pixel(self, tmp_path):
        path = raw_mrc(tmp_path / "m.mrc", movie_of("f4"), 2, mx=1, my=1, mz=1, cella=(0.1, 0.1, 0.1))
        with open_movie(path) as movie:
            assert movie.calibration.sampling_A == 0.1
            assert "grid is 1" in movie.header.notes[0]

    def test_the_crop_of_a_larger_frame(self, tmp_path):
        path = raw_mrc(tmp_path / "m.mrc", movie_of("f4"), 2, mx=4096, my=4096, cella=(409.6, 409.6, 1))
        assert frames_of(path)[1] == pytest.approx(0.1)


def fei(order="<", **fields):
    dtype = mrcfile.dtypes.get_ext_header_dtype(b"FEI1", order)
    record = np.zeros(1, dtype)
    for name, value in fields.items():
        record[name.replace("_", " ")] = value
    return {"extended": record.tobytes(), "exttyp": b"FEI1"}


class TestFeiHeader:
    @pytest.mark.parametrize("order", "<>")
    @pytest.mark.parametrize("cella", [(0, 0, 0), (32.0, 24.0, 5.0)])
    def test_where_the_header_says_nothing(self, tmp_path, order, cella):
        more = fei(order, Pixel_size_X=2e-11, Pixel_size_Y=2e-11, HT=300e3)
        with open_movie(raw_mrc(tmp_path / "m.mrc", movie_of("f4"), 2, order, cella=cella, **more)) as movie:
            assert movie.calibration.sampling_A == pytest.approx(0.2)
            assert movie.calibration.beam_energy_kev == pytest.approx(300)
            assert "FEI1" in movie.header.source

    def test_the_header_wins_and_a_difference_is_said(self, tmp_path):
        more = fei(Pixel_size_X=2e-11, Pixel_size_Y=2e-11)
        with open_movie(raw_mrc(tmp_path / "m.mrc", movie_of("f4"), 2, **more)) as movie:
            assert movie.calibration.sampling_A == 0.1
            assert "0.2 Å/px" in movie.header.notes[0]

    def test_a_diffraction_pattern(self, tmp_path):
        more = fei(Pixel_size_X=5e7, Pixel_size_Y=5e7)
        with pytest.raises(UnreadableFile, match="diffraction pattern"):
            open_movie(raw_mrc(tmp_path / "m.mrc", movie_of("f4"), 2, **more), 0.1)


def test_a_growing_file_has_the_frames_that_are_whole(tmp_path):
    data = np.random.default_rng(0).integers(0, 99, (4, 5, 6)).astype("u2")
    path = raw_mrc(tmp_path / "m.mrc", data, 6, extended=b"x" * 100)
    whole = path.read_bytes()
    path.write_bytes(whole[: 1124 + 2 * data[0].nbytes - 1])
    with pytest.raises(UnreadableFile, match="truncated"):
        open_movie(path)
    with open_movie(path, growing=True) as movie:
        assert len(movie) == 1
        assert np.array_equal(movie[0], data[0])
    path.write_bytes(whole[:1100])
    with pytest.raises(UnreadableFile, match="no frames"):
        open_movie(path, growing=True)
    # Behind what is announced there may be anything.
    path.write_bytes(whole + bytes(data[0].nbytes))
    with open_movie(path, growing=True) as movie:
        assert len(movie) == len(data)
