"""A tracked movie as files: exact rows, a line for every frame, all files or none; live, all that was before."""

import csv
import io
import json
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from segdepth.errors import CannotWrite, InvalidFrame, NotInstalled
from segdepth.export import track_tables
from segdepth.export.growing import GrowingFile
from segdepth.export.track_lines import track_line
from segdepth.export.tracks import TracksExport
from segdepth.tracks.regions import Region, Regions
from segdepth.tracks.results import TrackState
from segdepth.tracks.settings import Tracking
from tests.tracked import FRAMES, MODEL, at_most, change, columns, movie, tracked, without, write_movie

TABLES = ("csv", "json")


def exported(folder, frames, formats=TABLES, **given):
    """The export of a movie of no file."""
    with TracksExport(folder, "m", formats, **given) as export:
        for frame in frames:
            export.add(frame)
    return export


def rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))


def ending_with(error):
    """All frames of a movie, then an error."""
    yield from movie(FRAMES)
    raise error


def watched(frames, seen):
    """The frames, whose numbers are kept."""
    for frame in frames:
        seen.append(frame.sequence)
        yield frame


class TestRows:
    def test_of_tracks(self):
        frame = tracked(7, 2)
        found = replace(
            frame.columns,
            x_px=np.array([1.23456, -0.0001]),
            y_px=np.array([2.0, 3.0]),
            probabilities=np.array([[0, 0, 0.8, 0.2] + [0] * 7, [0.6, 0.3, 0.1] + [0] * 8]),
            p_changed=np.array([0.00004, np.nan]),
        )
        assert track_tables.track_rows(track_tables.track_fields(replace(frame, columns=found))) == (
            "0,7,1.235,2.000,0.247,0.400,Ce,2,0.8000,2,3,0.0000\n1,7,0.000,3.000,0.000,0.600,O,0,0.6000,0,1,0.0000\n"
        )

    def test_of_drift_with_a_reason_that_needs_quotes(self):
        assert track_tables.drift_row(tracked(3)) == "3,tracked,0,0.0300,-0.0600,0.0200,0.1000,\n"
        refused = without(4, TrackState.REFUSED, 'dose 9, "too low"', 2)
        assert track_tables.drift_row(refused) == '4,refused,,,,,,"dose 9, ""too low"""\n'

    def test_of_changes(self):
        one = replace(change(3, 10, 5, 3), x_px=4.0, y_px=5.5)
        assert track_tables.change_rows([one]) == "3,10,9,12,O,5,3,0.9700,4.000,5.500\n"

    def test_headers_are_of_as_many_fields_as_rows(self):
        frame = tracked()
        for header, text in (
            (track_tables.TRACKS, track_tables.track_rows(track_tables.track_fields(frame))),
            (track_tables.DRIFT, track_tables.drift_row(frame)),
            (track_tables.CHANGES, track_tables.change_rows([change(3, 10, 5, 3)])),
            (track_tables.OCCUPANCY, track_tables.occupancy_rows(0, Regions().sums(frame))),
        ):
            assert {line.count(",") for line in text.splitlines()} == {header.count(",")}

    def test_a_frame_that_is_not_tracked_has_no_rows_of_tracks(self):
        fields = track_tables.track_fields(without(1, TrackState.LOST, "turned"))
        assert track_tables.track_rows(fields) == ""
        assert list(fields) == track_tables.TRACKS.strip().split(",")


class TestTables:
    def test_every_frame_has_a_line_of_drift(self, tmp_path):
        exported(tmp_path, movie(FRAMES))
        lines = rows(tmp_path / "m.drift.csv")
        assert [int(line["frame"]) for line in lines] == list(range(FRAMES))
        states = {line["frame"]: line["state"] for line in lines if line["state"] != "tracked"}
        assert states == {"5": "refused", "6": "refused", "13": "missing", "30": "lost"}
        assert {line["segment"] for line in lines} == {"0", "1", ""}

    def test_tracks_are_sorted_by_frame_then_track(self, tmp_path):
        exported(tmp_path, movie(FRAMES))
        keys = [(int(row["frame"]), int(row["track"])) for row in rows(tmp_path / "m.tracks.csv")]
        assert keys == sorted(keys)
        assert len(keys) == (FRAMES - 4) * 30

    def test_occupancy_of_regions(self, tmp_path):
        regions = Regions([Region("corner", 0, 0, 4, 4)])
        exported(tmp_path, movie(FRAMES), regions=regions)
        lines = rows(tmp_path / "m.occupancy.csv")
        assert len(lines) == (FRAMES - 4) * 4
        corner = [line for line in lines if (line["region"], line["species"]) == ("corner", "Ce")]
        assert {line["columns"] for line in corner} == {"1"}
        assert float(corner[0]["atoms"]) == pytest.approx(2.0, abs=0.4)
        total = float(lines[0]["atoms"])
        assert total == pytest.approx((columns(0).probabilities[::2] @ np.arange(11)).sum(), rel=0.1)

    def test_changes(self, tmp_path):
        exported(tmp_path, movie(FRAMES))
        found = [(row["track"], row["frame"], row["before"], row["after"]) for row in rows(tmp_path / "m.changes.csv")]
        assert found == [("3", "10", "5", "3"), ("8", "20", "3", "4")]

    def test_summary(self, tmp_path):
        settings = Tracking(hop_rate=0.01, lag_frames=3)
        exported(tmp_path, movie(FRAMES), settings=settings, regions=Regions([Region("corner", 0, 0, 4, 4)]))
        said = json.loads((tmp_path / "m.tracks.json").read_text("utf-8"))
        assert said["frames"] == {"tracked": 36, "refused": 2, "missing": 1, "lost": 1}
        assert said["settings"] == {
            "hop_rate": 0.01,
            "false_alarms": Tracking().false_alarms,
            "lag_frames": 3,
            "summed_frames": Tracking().summed_frames,
            "regions": ["corner=0,0,4,4"],
            "column_correlation": Regions().correlation,
        }
        assert said["model"]["family"] == MODEL.family
        assert (said["tracks"], said["changes"]) == ({"Ce": 30, "O": 30}, {"O": 1, "Ce": 1})
        assert [(one["segment"], one["first"], one["last"]) for one in said["segments"]] == [(0, 0, 29), (1, 31, 39)]
        assert said["why"][0] == {
            "state": "refused",
            "why": 'dose 9 e/Å², "too low", permitted from 10',
            "frames": 2,
        }
        assert (said["end"], said["drift_A"]["furthest"]) == ("complete", pytest.approx(0.39 * np.sqrt(5)))

    def test_parquet_is_the_csv_with_types_and_units(self, tmp_path, monkeypatch):
        monkeypatch.setattr("segdepth.export.parquet.ROW_GROUP", 100)
        exported(tmp_path, movie(FRAMES), ("csv", "parquet"))
        table = pq.read_table(tmp_path / "m.tracks.parquet")
        assert table.column_names == track_tables.TRACKS.strip().split(",")
        units = {field.name: (field.metadata or {}).get(b"unit") for field in table.schema}
        assert (units["x_px"], units["y_A"], units["count"], units["p_changed"]) == (
            b"px",
            "Å".encode(),
            b"atoms",
            None,
        )
        said = rows(tmp_path / "m.tracks.csv")
        assert table["count"].to_pylist() == [int(row["count"]) for row in said]
        assert table["x_A"].to_pylist() == [float(row["x_A"]) for row in said]
        assert pq.ParquetFile(tmp_path / "m.tracks.parquet").num_row_groups > 5
        about = json.loads(pq.ParquetFile(tmp_path / "m.tracks.parquet").metadata.metadata[b"segdepth"])
        assert (about["input"], about["settings"]["lag_frames"]) == ("m", 100)

    def test_an_empty_movie(self, tmp_path):
        exported(tmp_path, [], ("csv", "json", "parquet", "png"))
        assert (tmp_path / "m.tracks.csv").read_text() == track_tables.TRACKS
        assert pq.read_table(tmp_path / "m.tracks.parquet").num_rows == 0
        said = json.loads((tmp_path / "m.tracks.json").read_text())
        assert (said["frames"]["tracked"], said["drift_A"], said["segments"]) == (0, None, [])
        assert not list(tmp_path.glob("*.png"))

    def test_a_movie_of_refused_frames_alone(self, tmp_path):
        exported(tmp_path, [without(n, TrackState.REFUSED, "noise") for n in range(5)], ("csv", "json", "png"))
        assert len(rows(tmp_path / "m.drift.csv")) == 5
        assert (tmp_path / "m.occupancy.csv").read_text() == track_tables.OCCUPANCY

    def test_without_a_folder_it_is_only_counted(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        export = exported(None, movie(FRAMES))
        assert export.tally.states[TrackState.TRACKED] == 36
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("given", [{"formats": ("csv", "gif")}, {"formats": ("xyz",)}, {"plot": "twelve"}])
    def test_what_there_is_not(self, tmp_path, given):
        with pytest.raises(InvalidFrame, match=r"format|plot"):
            TracksExport(tmp_path, "m", **given)

    @pytest.mark.parametrize("format_, library", [("mp4", "imageio_ffmpeg"), ("png", "matplotlib"), ("gif", "PIL")])
    def test_a_library_that_is_missing_is_said_before_any_frame(self, tmp_path, monkeypatch, format_, library):
        monkeypatch.setitem(sys.modules, library, None)
        with write_movie(tmp_path, 2) as file, pytest.raises(NotInstalled, match="pip install"):
            TracksExport(tmp_path / "out", file, (format_,)).__enter__()
        assert not (tmp_path / "out").exists()


class TestAllOrNothing:
    def test_nothing_is_there_before_the_end(self, tmp_path):
        with TracksExport(tmp_path, "m", TABLES) as export:
            export.add(tracked())
            assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
        assert len(list(tmp_path.iterdir())) == 5

    def test_after_an_error_there_is_nothing_and_earlier_results_stay(self, tmp_path):
        (tmp_path / "m.tracks.csv").write_text("earlier")
        with pytest.raises(KeyboardInterrupt):
            exported(tmp_path, ending_with(KeyboardInterrupt()), (*TABLES, "parquet", "png"))
        assert [path.name for path in tmp_path.iterdir()] == ["m.tracks.csv"]
        assert (tmp_path / "m.tracks.csv").read_text() == "earlier"

    @pytest.mark.parametrize("formats", [TABLES, ("parquet",), ("png",)])
    def test_a_full_disk_is_said_and_leaves_nothing(self, tmp_path, formats):
        out = tmp_path / "out"
        with at_most(10_000), pytest.raises(CannotWrite, match="too large"):
            exported(out, movie(FRAMES), formats, plot="1,2")
        assert list(out.iterdir()) == []

    def test_a_folder_that_cannot_be(self, tmp_path):
        (tmp_path / "out").write_text("a file")
        with pytest.raises(CannotWrite, match="out"):
            exported(tmp_path / "out", [])


class TestLive:
    def test_rows_are_there_as_soon_as_their_frame(self, tmp_path):
        with TracksExport(tmp_path, "cam", TABLES, live=True) as export:
            for frame in movie(FRAMES):
                export.add(frame)
                lines = rows(tmp_path / "cam.drift.csv")
                assert int(lines[-1]["frame"]) == frame.sequence
        assert json.loads((tmp_path / "cam.tracks.json").read_text())["end"] == "complete"

    def test_the_tables_are_those_of_a_file(self, tmp_path):
        exported(tmp_path / "a", movie(FRAMES), (*TABLES, "parquet"))
        exported(tmp_path / "b", movie(FRAMES), (*TABLES, "parquet"), live=True)
        for path in (tmp_path / "a").iterdir():
            assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes(), path.name

    def test_an_earlier_run_is_not_written_over(self, tmp_path):
        first = exported(tmp_path, movie(8), live=True)
        again = exported(tmp_path, movie(16), live=True)
        assert (first.stem, again.stem) == ("m", "m-2")
        assert len(rows(tmp_path / "m.drift.csv")) == 8
        assert len(rows(tmp_path / "m-2.drift.csv")) == 16

    def test_a_full_disk_keeps_all_frames_before_it(self, tmp_path):
        seen = []
        with at_most(20_000), pytest.raises(CannotWrite, match="too large"):
            exported(tmp_path, watched(movie(FRAMES), seen), live=True)
        text = (tmp_path / "m.tracks.csv").read_text()
        assert text.endswith("\n")
        assert len(text) > 15_000
        assert len({line.count(",") for line in text.splitlines()}) == 1
        assert int(rows(tmp_path / "m.drift.csv")[-1]["frame"]) == seen[-2]
        assert int(rows(tmp_path / "m.tracks.csv")[-1]["frame"]) == seen[-2]
        assert "m.tracks.csv" in json.loads((tmp_path / "m.tracks.json").read_text())["end"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("the camera died")])
    def test_whatever_ends_it_what_was_written_stays(self, tmp_path, error):
        with pytest.raises(type(error)):
            exported(tmp_path, ending_with(error), (*TABLES, "parquet"), live=True)
        assert len(rows(tmp_path / "m.drift.csv")) == FRAMES
        assert pq.read_table(tmp_path / "m.tracks.parquet").num_rows == 30 * 36
        assert json.loads((tmp_path / "m.tracks.json").read_text())["end"] == (str(error) or "stopped")
        assert not list(tmp_path.glob(".*"))


class TestGrowingFile:
    def test_appends_to_what_is_there(self, tmp_path):
        for number in range(2):
            file = GrowingFile(tmp_path / "x", append=True)
            file.write(f"{number}\n".encode())
            file.finish()
        assert (tmp_path / "x").read_text() == "0\n1\n"

    def test_a_header_is_written_over(self, tmp_path):
        file = GrowingFile(tmp_path / "x")
        for text in (b"0 frames\n", b"first\n"):
            file.write(text)
        file.begin_with(b"1")
        file.write(b"second\n")
        assert (tmp_path / "x").read_bytes() == b"1 frames\nfirst\nsecond\n"

    def test_never_over_a_file_that_is_there(self, tmp_path):
        (tmp_path / "x").touch()
        with pytest.raises(CannotWrite, match="exists"):
            GrowingFile(tmp_path / "x")

    def test_half_a_line_is_taken_off(self, tmp_path):
        file = GrowingFile(tmp_path / "x")
        with at_most(100):
            file.write(b"a" * 59 + b"\n")
            with pytest.raises(CannotWrite):
                file.write(b"b" * 59 + b"\n")
        assert (tmp_path / "x").stat().st_size == 60
        file.write(b"c\n")
        assert (tmp_path / "x").read_bytes() == b"a" * 59 + b"\nc\n"


class TestLines:
    def test_of_a_tracked_frame(self):
        frame = tracked(12, changes=(change(3, 10, 5, 3),))
        said = json.loads(track_line(frame, Regions().sums(frame), "CAM"))
        assert (said["kind"], said["sequence"], said["state"], said["tracks"]) == ("tracked", 12, "tracked", 30)
        assert said["drift_A"] == [0.12, -0.24]
        assert (said["changes"][0]["track"], said["changes"][0]["after"]) == (3, 3)
        assert [one["species"] for one in said["occupancy"]] == ["Ce", "O"]

    def test_of_a_refused_one_without_nan(self):
        line = track_line(without(4, TrackState.REFUSED, "noise"), [], "CAM")
        said = json.loads(line)
        assert line.count("\n") == 1
        assert said == {
            "kind": "tracked",
            "sequence": 4,
            "source": "CAM",
            "state": "refused",
            "why": "noise",
            "changes": [],
        }
