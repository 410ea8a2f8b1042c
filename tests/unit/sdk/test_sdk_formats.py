"""Each format of the results, read by the library that people read it with."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr

from segdepth import TLS, Options
from segdepth.errors import CannotWrite, InvalidFrame
from segdepth.export import MovieExport, Request
from segdepth.export.atomic import AtomicFolder
from segdepth.export.picture import _title, png
from segdepth.export.program import program
from segdepth.export.smoothing import smoothed
from segdepth.export.xyz import PERIODS_A
from segdepth.files import open_movie
from segdepth.results import Gap, GapReason
from tests.answers import SHAPE, result, write_movie

ANSWERS = (result(0), result(1, refused=True), Gap(2, 3, GapReason.FAILED), result(4, suspect=True))


def exported(folder, *formats, answers=ANSWERS, sampling_A=0.123, **options):
    frames = sum(len(answer) if isinstance(answer, Gap) else 1 for answer in answers)
    with (
        write_movie(folder, frames, sampling_A) as movie,
        MovieExport(folder, movie, formats, pictures=0, **options) as export,
    ):
        for answer in answers:
            export.add(answer)
    return folder


class TestParquet:
    def test_holds_what_columns_csv_holds(self, tmp_path):
        exported(tmp_path, "csv", "parquet")
        table = pd.read_parquet(tmp_path / "m.columns.parquet")
        rows = pd.read_csv(tmp_path / "m.columns.csv")
        assert list(table.columns) == list(rows.columns)
        for name in rows.columns:
            assert table[name].tolist() == rows[name].tolist(), name
        assert table["status"].tolist() == ["ok"] * 3 + ["suspect"] * 3

    def test_types_units_and_what_it_was_made_with(self, tmp_path):
        schema = pq.read_schema(exported(tmp_path, "parquet") / "m.columns.parquet")
        assert {str(schema.field(name).type) for name in ("x_px", "y_A", "p_count")} == {"double"}
        assert (str(schema.field("count").type), str(schema.field("abstained").type)) == ("uint8", "bool")
        assert schema.field("x_A").metadata == {b"unit": "Å".encode()}
        about = json.loads(pq.read_metadata(tmp_path / "m.columns.parquet").metadata[b"segdepth"])
        assert about["sampling_A_per_px"] == 0.123
        assert about["models"] == [{"family": "f", "version": "7", "sha256": "cd" * 32}]

    def test_rows_are_written_as_they_come(self, tmp_path, monkeypatch):
        monkeypatch.setattr("segdepth.export.parquet.ROW_GROUP", 6)
        exported(tmp_path, "parquet", answers=[result(number) for number in range(5)])
        written = pq.ParquetFile(tmp_path / "m.columns.parquet")
        assert [written.metadata.row_group(number).num_rows for number in range(written.num_row_groups)] == [6, 6, 3]

    def test_a_movie_without_columns_is_a_table_without_rows(self, tmp_path):
        table = pd.read_parquet(exported(tmp_path, "parquet", answers=[result(0, refused=True)]) / "m.columns.parquet")
        assert (len(table), table.columns[-1]) == (0, "status")


class TestZarr:
    def test_maps_of_every_frame(self, tmp_path):
        maps = zarr.open_group(exported(tmp_path, "zarr") / "m.maps.zarr", mode="r")
        depth, confidence = np.asarray(maps["depth"]), np.asarray(maps["confidence"])
        assert (depth.shape, depth.dtype, confidence.dtype) == ((5, *SHAPE), np.uint8, np.float16)
        assert [set(np.unique(page)) for page in depth] == [{3}, {255}, {255}, {255}, {3}]
        assert [bool(np.isnan(page).all()) for page in confidence] == [False, True, True, True, False]

    def test_a_viewer_finds_the_scale(self, tmp_path):
        maps = zarr.open_group(exported(tmp_path, "zarr", "csv") / "m.maps.zarr", mode="r")
        assert maps.metadata.zarr_format == 3
        ome = maps.attrs["ome"]
        assert ome["version"] == "0.5"
        for image in ome["multiscales"]:
            (dataset,) = image["datasets"]
            array = maps[dataset["path"]]
            assert array.metadata.dimension_names == tuple(axis["name"] for axis in image["axes"]) == ("t", "y", "x")
            assert [axis.get("unit") for axis in image["axes"]] == [None, "angstrom", "angstrom"]
            assert dataset["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 0.123, 0.123]}]
        assert (tmp_path / "m.maps.zarr" / maps.attrs["columns"]).resolve() == tmp_path / "m.columns.csv"

    def test_our_own_reader_reads_it(self, tmp_path):
        exported(tmp_path, "zarr")
        with open_movie(f"{tmp_path / 'm.maps.zarr'}::/depth") as again:
            assert (len(again), again.calibration.sampling_A) == (5, 0.123)

    def test_frames_are_written_as_they_come(self, tmp_path, monkeypatch):
        monkeypatch.setattr("segdepth.export.ngff.CHUNK_PIXELS", 2 * SHAPE[0] * SHAPE[1])
        maps = zarr.open_group(exported(tmp_path, "zarr") / "m.maps.zarr", mode="r")
        assert maps["depth"].chunks == (2, *SHAPE)
        assert [int(page[0, 0]) for page in np.asarray(maps["depth"])] == [3, 255, 255, 255, 3]

    def test_takes_the_place_of_an_earlier_one_only_when_it_is_whole(self, tmp_path):
        exported(tmp_path, "zarr", answers=[result(0, refused=True)])
        with (
            write_movie(tmp_path, 1) as movie,
            pytest.raises(KeyboardInterrupt),
            MovieExport(tmp_path, movie, ("zarr",)),
        ):
            raise KeyboardInterrupt
        assert np.asarray(zarr.open_group(tmp_path / "m.maps.zarr", mode="r")["depth"])[0, 0, 0] == 255
        exported(tmp_path, "zarr", answers=[result(0)])
        assert np.asarray(zarr.open_group(tmp_path / "m.maps.zarr", mode="r")["depth"])[0, 0, 0] == 3
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m.maps.zarr", "m.npy"]

    def test_what_a_killed_run_of_the_same_process_number_left_is_no_hindrance(self, tmp_path):
        for name in ("part", "earlier"):
            (tmp_path / f".m.maps.zarr.{os.getpid()}.{name}" / "depth").mkdir(parents=True)
        exported(tmp_path, "zarr", answers=[result(0, refused=True)])
        exported(tmp_path, "zarr", answers=[result(0)])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m.maps.zarr", "m.npy"]

    def test_an_earlier_one_is_put_back_where_the_new_one_cannot_take_its_place(self, tmp_path):
        exported(tmp_path, "zarr", answers=[result(0)])
        folder = AtomicFolder(tmp_path / "m.maps.zarr")
        folder.part.rmdir()
        with pytest.raises(CannotWrite):
            folder.publish()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m.maps.zarr", "m.npy"]


class TestTiff:
    # 0.0123 Å/px is beyond what 32 bits of pixels per centimetre hold.
    @pytest.mark.parametrize("sampling_A", [0.123, 0.0123, 0.0947381])
    @pytest.mark.parametrize("answers", [ANSWERS, ANSWERS[:1]], ids=["movie", "frame"])
    def test_imagej_reads_nanometres(self, tmp_path, sampling_A, answers):
        exported(tmp_path, "tiff", sampling_A=sampling_A, answers=answers)
        for name in ("m.depth.tif", "m.confidence.tif"):
            with tifffile.TiffFile(tmp_path / name) as tiff:
                assert tiff.imagej_metadata["unit"] == "nm"
                assert tiff.series[0].axes == ("TYX" if len(answers) > 1 else "YX")
                numerator, denominator = tiff.pages.first.tags["XResolution"].value
                assert denominator / numerator == pytest.approx(sampling_A / 10, rel=1e-8)
            with open_movie(tmp_path / name) as again:
                assert again.calibration.sampling_A == pytest.approx(sampling_A, rel=1e-6)
                assert len(again) == (5 if len(answers) > 1 else 1)

    def test_more_than_classic_tiff_holds(self, tmp_path, monkeypatch):
        monkeypatch.setattr("segdepth.export.maps._CLASSIC_TIFF_BYTES", 1000)
        exported(tmp_path, "tiff")
        with tifffile.TiffFile(tmp_path / "m.depth.tif") as tiff:
            assert tiff.is_bigtiff
            assert [int(page[0, 0]) for page in tiff.asarray()] == [3, 255, 255, 255, 3]


class TestXyz:
    def test_a_column_has_as_many_atoms_as_were_counted_evenly_spaced(self, tmp_path):
        exported(tmp_path, "xyz", answers=[result(0, family="ceo2-110")])
        atoms = ase.io.read(tmp_path / "m.model.xyz")
        assert atoms.get_chemical_symbols() == ["Ce"] * 5 + ["O"] * 5 + ["Ce"] * 5
        assert PERIODS_A["ceo2-110"] == pytest.approx(3.8264, abs=1e-4)
        middles = set()
        for column in range(3):
            x_A, y_A, z_A = atoms.positions[atoms.arrays["column"] == column].T
            assert (np.ptp(x_A), np.ptp(y_A)) == (0, 0)
            np.testing.assert_allclose(np.diff(z_A), PERIODS_A["ceo2-110"], atol=1e-6)
            middles.add(round(float(z_A.mean()), 4))
        assert middles == {round(atoms.cell.lengths()[2] / 2, 4)}
        np.testing.assert_allclose(atoms.positions[0, :2], [12.3456 * 0.123, 1.0004 * 0.123], atol=1e-6)
        assert atoms.info["model"] == "atoms are placed by count, not measured"
        assert atoms.arrays["abstained"].tolist() == [False] * 5 + [True] * 5 + [False] * 5

    def test_an_instruments_family_has_its_crystals_period(self, tmp_path):
        exported(tmp_path, "xyz", answers=[result(0, family="ceo2-110@titan")])
        info = ase.io.read(tmp_path / "m.model.xyz").info
        assert (info["family"], info["period_A"]) == ("ceo2-110@titan", pytest.approx(3.8264, abs=1e-4))

    def test_a_column_of_no_known_element_is_an_x(self, tmp_path):
        answer = result(0, family="ceo2-110")
        answer.message.columns.species = bytes([0, 2, 1])
        exported(tmp_path, "xyz", answers=[answer])
        symbols = ase.io.read(tmp_path / "m.model.xyz").get_chemical_symbols()
        assert (symbols.count("X"), symbols.count("O"), symbols.count("Ce")) == (5, 5, 5)

    def test_frame_i_of_the_file_is_frame_i_of_the_movie(self, tmp_path):
        exported(tmp_path, "xyz", period_A=3.0)
        frames = ase.io.read(tmp_path / "m.model.xyz", ":")
        assert [(int(one.info["frame"]), one.info["status"], len(one)) for one in frames] == [
            *((0, "ok", 15), (1, "refused", 0), (2, "unanswered", 0), (3, "unanswered", 0), (4, "suspect", 15))
        ]

    def test_a_family_whose_period_is_not_known_needs_it_said(self, tmp_path):
        with pytest.raises(InvalidFrame, match="--period"):
            exported(tmp_path, "xyz")
        assert [path.name for path in tmp_path.iterdir()] == ["m.npy"]


class TestProgram:
    def text(self, tmp_path, request, *models):
        with write_movie(tmp_path) as movie:
            return program(movie, request, list(models))

    def test_never_a_token(self, tmp_path):
        tls = TLS(ca=tmp_path / "ca.pem")
        text = self.text(tmp_path, Request(server="gateway.lab:50051", tls=tls, token=True), result().model)
        compile(text, "m.py", "exec")
        connect = f"segdepth.connect('gateway.lab:50051', token=os.environ[\"SEGDEPTH_TOKEN\"], tls=TLS(ca='{tls.ca}'))"
        assert connect in text

    def test_one_model_is_pinned_and_several_are_not(self, tmp_path):
        assert "Options(model='f', version='7')" in self.text(tmp_path, Request(), result().model)
        text = self.text(tmp_path, Request(Options(model="auto")), result().model, result(family="g").model)
        assert "Options(model='auto')" in text
        assert "Not of one version" in text

    def test_a_detectors_profile_corrects_the_frames_again(self, tmp_path):
        text = self.text(tmp_path, Request(detector=tmp_path / "k3.toml"), result().model)
        compile(text, "m.py", "exec")
        assert "from segdepth import Detector, Options\n" in text
        assert f"Detector.load({str(tmp_path / 'k3.toml')!r}).open_movie(MOVIE, SAMPLING_A) as movie" in text

    def test_a_dataset_in_a_file_is_named(self, tmp_path):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            for name in ("a", "b"):
                file["entry/" + name] = np.ones((2, 24, 24), "u2")
        with open_movie(f"{tmp_path / 'm.h5'}::/entry/b", 0.1) as movie:
            assert f"MOVIE = '{tmp_path / 'm.h5'}::/entry/b'" in program(movie, Request(), [])

    def test_certificates_are_found_from_any_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        text = self.text(tmp_path, Request(server="g:1", tls=TLS(ca=Path("ca.pem"))), result().model)
        assert f"TLS(ca='{tmp_path / 'ca.pem'}')" in text

    def test_what_a_name_says_is_not_run(self, tmp_path):
        folder = tmp_path / 'a\'"""\nraise SystemExit(7)'
        folder.mkdir()
        text = self.text(folder, Request(server="x'); raise SystemExit(7)#:1"), result().model)
        probe = text.partition("\nwith (")[0].replace("import segdepth", "#").replace("from segdepth", "#")
        probe = probe.replace("Options(", "dict(")
        done = subprocess.run(
            [sys.executable, "-c", f"{probe}\nprint(MOVIE == {str(folder / 'm.npy')!a})"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
        compile(text, "m.py", "exec")


class TestPicture:
    def noisy(self, answer, dose):
        answer.message.domain.checks[0].value = dose
        return answer

    def test_a_noisy_frame_has_a_smoothed_one_beside_it(self):
        image = np.random.default_rng(0).poisson(1.0, SHAPE).astype("u1")
        sizes = [_size(png(image, self.noisy(result(), dose))) for dose in (200.0, 20_000.0)]
        assert sizes[0][1] > 1.5 * sizes[1][1]

    def test_a_wide_field_has_more_pixels(self):
        image = np.random.default_rng(0).poisson(1.0, SHAPE).astype("u1")
        narrow, wide = (_size(png(image, result(sampling_A=value))) for value in (0.25, 5.0))
        assert wide[0] > 2 * narrow[0]

    def test_the_reason_of_a_refusal_is_whole(self):
        answer = result(refused=True)
        answer.message.domain.checks[0].message = " ".join(f"reason{number}" for number in range(60))
        lines = _title("movie.mrc frame 0", answer, 92)
        assert max(map(len, lines)) <= 92
        assert " ".join(lines).endswith(answer.message.domain.checks[0].message)

    def test_smoothing_keeps_the_mean_and_spreads_a_point_by_sigma(self):
        image = np.zeros((101, 121))
        image[50, 60] = 1.0
        seen = smoothed(image, 0.1)
        y, x = np.mgrid[:101, :121]
        assert seen.sum() == pytest.approx(1, abs=1e-9)
        for axis, centre in ((y, 50), (x, 60)):
            assert np.sqrt((seen * (axis - centre) ** 2).sum()) == pytest.approx(4, rel=1e-3)

    def test_smoothing_bears_what_is_no_number(self):
        image = np.ones((20, 30), "f4")
        image[3, 4], image[5, 6] = np.nan, np.inf
        np.testing.assert_allclose(smoothed(image, 0.1), 1)


def _size(picture):
    return tuple(int.from_bytes(picture[start : start + 4]) for start in (16, 20))


def test_the_dataset_of_a_file_is_said_with_its_name(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for name in ("a", "b"):
            file["entry/" + name] = np.ones((1, *SHAPE), "u2")
    source = f"{tmp_path / 'm.h5'}::/entry/b"
    with (
        open_movie(source, 0.1) as movie,
        MovieExport(tmp_path, movie, ("json", "parquet", "zarr"), pictures=0) as export,
    ):
        export.add(result(0))
    assert json.loads((tmp_path / "m.summary.json").read_text())["input"] == source
    assert json.loads(pq.read_metadata(tmp_path / "m.columns.parquet").metadata[b"segdepth"])["source"] == source
    assert zarr.open_group(tmp_path / "m.maps.zarr", mode="r").attrs["source"] == "m.h5::/entry/b"


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["csv", "parquet", "zarr"])
def test_whatever_ends_the_last_write_leaves_nothing(tmp_path, monkeypatch, name, error):
    def ended(_):
        raise error

    monkeypatch.setattr("segdepth.export.atomic.os.fsync", ended)
    with pytest.raises(error):
        exported(tmp_path, name)
    assert [path.name for path in tmp_path.iterdir()] == ["m.npy"]


@pytest.mark.parametrize("name", ["parquet", "zarr", "xyz", "python"])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch, name):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("segdepth.export.atomic.os.fsync", full)
    with pytest.raises(CannotWrite, match="No space left"):
        exported(tmp_path, name, period_A=3.0)
    assert [path.name for path in tmp_path.iterdir()] == ["m.npy"]


def test_a_run_that_is_interrupted_leaves_and_says_nothing(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tests.answers import result, write_movie\n"
        "from segdepth.export import FORMATS, MovieExport\n"
        "try:\n"
        "    folder = Path(sys.argv[1]); movie = write_movie(folder)\n"
        "    with MovieExport(folder, movie, FORMATS, period_A=3.0) as e:\n"
        "        e.add(result(0)); raise KeyboardInterrupt\n"
        "except KeyboardInterrupt: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["m.npy"]
