"""Results as files: exact rows, a page for every frame, all files or none."""

import csv
import errno
import io
import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from segdepth.errors import CannotWrite
from segdepth.export import MovieExport, csv_rows
from segdepth.export.atomic import AtomicFile
from segdepth.files import open_movie
from segdepth.results import Gap, GapReason
from tests.answers import SHAPE, result, write_movie

HEADER = "frame,x_px,y_px,x_A,y_A,species,count,p_count,lo90,hi90,abstained,status"


def interrupted(folder, movie):
    with MovieExport(folder, movie) as export:
        export.add(result(0))
        raise KeyboardInterrupt


class TestRows:
    def test_exactly_as_specified(self):
        assert csv_rows(result(7)) == (
            "7,3.000,1.000,0.369,0.123,O,5,0.6236,4,6,1,ok\n"
            "7,12.346,1.000,1.519,0.123,Ce,5,0.6236,4,6,0,ok\n"
            "7,0.000,9.000,0.000,1.107,Ce,5,0.6236,4,6,0,ok\n"
        )

    def test_sorted_as_printed(self):
        rng = np.random.default_rng(5)
        found = result(x=tuple(rng.uniform(0, 40, 3)), y=(1.0004, 1.0001, 1.0003))
        rows = list(csv.reader(io.StringIO(csv_rows(found))))
        keys = [(float(row[2]), float(row[1])) for row in rows]
        assert keys == sorted(keys)

    def test_a_suspect_frame_says_so_in_every_row(self):
        rows = csv_rows(result(suspect=True)).splitlines()
        assert [row.rsplit(",", 1)[1] for row in rows] == ["suspect"] * 3

    def test_a_refused_frame_has_no_rows(self):
        assert csv_rows(result(refused=True)) == ""


class TestMovieExport:
    def test_all_files(self, tmp_path):
        with write_movie(tmp_path, 4) as movie, MovieExport(tmp_path / "out", movie) as export:
            export.add(result(0))
            export.add(result(1, refused=True))
            export.add(Gap(2, 2, GapReason.FAILED, "gave up"))
            export.add(result(3))
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert names == {
            "m.columns.csv",
            "m.depth.tif",
            "m.confidence.tif",
            "m.summary.json",
            "m.0.png",
            "m.1.png",
            "m.3.png",
        }

    def test_columns_csv(self, tmp_path):
        with write_movie(tmp_path) as movie, MovieExport(tmp_path, movie, ("csv",)) as export:
            for answer in (result(0), result(1, refused=True), result(2)):
                export.add(answer)
        raw = (tmp_path / "m.columns.csv").read_bytes()
        assert b"\r" not in raw
        lines = raw.decode("utf-8").splitlines()
        assert lines[0] == HEADER
        assert [line.split(",")[0] for line in lines[1:]] == ["0"] * 3 + ["2"] * 3

    def test_maps_have_a_page_for_every_frame(self, tmp_path):
        with write_movie(tmp_path, 4) as movie, MovieExport(tmp_path, movie, ("tiff",)) as export:
            for answer in (result(0), result(1, refused=True), Gap(2, 3, GapReason.FAILED)):
                export.add(answer)
        depth = tifffile.imread(tmp_path / "m.depth.tif")
        assert (depth.dtype, depth.shape) == (np.uint8, (4, *SHAPE))
        assert [set(np.unique(page)) for page in depth] == [{3}, {255}, {255}, {255}]
        confidence = tifffile.imread(tmp_path / "m.confidence.tif")
        assert confidence.dtype == np.float32
        assert [bool(np.isnan(page).all()) for page in confidence] == [False, True, True, True]

    def test_maps_carry_the_sampling(self, tmp_path):
        with write_movie(tmp_path, 1) as movie, MovieExport(tmp_path, movie, ("tiff",)) as export:
            export.add(result(0))
        for name in ("m.depth.tif", "m.confidence.tif"):
            with open_movie(tmp_path / name) as again:
                assert again.calibration.sampling_A == pytest.approx(0.123, rel=1e-6)

    def test_summary_json(self, tmp_path):
        with write_movie(tmp_path, 4) as movie, MovieExport(tmp_path, movie, ("json",)) as export:
            for answer in (result(0), result(1, refused=True), Gap(2, 3, GapReason.DEADLINE, "late")):
                export.add(answer)
        summary = json.loads((tmp_path / "m.summary.json").read_text("utf-8"))
        assert summary["model"] == {"family": "f", "version": "7", "sha256": "cd" * 32, "engine": "torch-fp32"}
        assert summary["counts"] == {"ok": 1, "suspect": 0, "refused": 1, "unanswered": 2}
        assert [frame["frame"] for frame in summary["frames"]] == [0, 1, 2, 3]
        check = summary["frames"][0]["checks"][0]
        assert (check["name"], check["value"], check["lower"], check["upper"]) == ("snr", 3.5, 1.5, None)
        assert summary["frames"][0]["conditions"]["vibration_A"] == {"value": 0.3, "error": 0.04}
        assert summary["frames"][1]["checks"][0]["value"] is None
        assert summary["frames"][1]["conditions"] is None
        assert summary["frames"][3]["why"] == "deadline"

    def test_a_single_frame_has_a_picture_of_its_own_name(self, tmp_path):
        with write_movie(tmp_path, 1) as movie, MovieExport(tmp_path, movie, ("png",)) as export:
            export.add(result(0))
        with Image.open(tmp_path / "m.png") as picture:
            assert min(picture.size) > 400

    def test_only_as_many_pictures_as_asked_for(self, tmp_path):
        with write_movie(tmp_path) as movie, MovieExport(tmp_path, movie, ("png",), pictures=1) as export:
            for sequence in range(3):
                export.add(result(sequence))
        assert [path.name for path in tmp_path.glob("*.png")] == ["m.0.png"]

    def test_after_an_error_there_is_nothing(self, tmp_path):
        out = tmp_path / "out"
        with write_movie(tmp_path) as movie, pytest.raises(KeyboardInterrupt):
            interrupted(out, movie)
        assert list(out.iterdir()) == []

    def test_earlier_results_survive_a_failed_run(self, tmp_path):
        (tmp_path / "m.columns.csv").write_text("earlier")
        with write_movie(tmp_path) as movie, pytest.raises(KeyboardInterrupt):
            interrupted(tmp_path, movie)
        assert (tmp_path / "m.columns.csv").read_text() == "earlier"

    @pytest.mark.parametrize("formats", [("csv",), ("tiff",), ("json",), ("png",)])
    def test_a_full_disk_is_said_and_leaves_nothing(self, tmp_path, monkeypatch, formats):
        def full(self):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("segdepth.export.atomic.os.fsync", lambda _: full(None))
        out = tmp_path / "out"
        with write_movie(tmp_path, 1) as movie, pytest.raises(CannotWrite, match="No space left"):  # noqa: SIM117
            with MovieExport(out, movie, formats) as export:
                export.add(result(0))
        assert list(out.iterdir()) == []

    def test_a_folder_that_cannot_be(self, tmp_path):
        (tmp_path / "out").write_text("a file")
        with (
            write_movie(tmp_path) as movie,
            pytest.raises(CannotWrite, match="out"),
            MovieExport(tmp_path / "out", movie),
        ):
            pass


def test_dev_full_refuses_the_bytes_themselves(tmp_path):
    file = AtomicFile(tmp_path / "x")
    file.handle.close()
    file.handle = open("/dev/full", "wb")  # noqa: SIM115, PTH123
    with pytest.raises(CannotWrite, match="x"):
        file.write(bytes(1 << 20))
    file.discard()
    assert list(tmp_path.iterdir()) == []
