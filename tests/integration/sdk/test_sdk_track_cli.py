"""`segdepth track` against a real stack: what it says, what it writes, and its exit status."""

import csv
import json

import mrcfile
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from segdepth.cli.app import app
from tests.models import lattice_frame

SAMPLING_A, SHAPE = 0.1, (224, 240)
DARK = 3
"""A frame of nothing among the others."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def run():
    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def write(path, frames):
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.stack(frames))
        mrc.set_image_stack()
        mrc.voxel_size = SAMPLING_A
    return path


@pytest.fixture
def movie(tmp_path):
    """Eight frames of one specimen, that drifts by 0.2 Å a frame along x."""
    wide = (SHAPE[0], SHAPE[1] + 16)
    frames = [lattice_frame(3, wide, SAMPLING_A, 300.0, noise=n)[:, 16 - 2 * n :][:, : SHAPE[1]] for n in range(8)]
    frames[DARK] = np.zeros(SHAPE, np.uint16)
    return write(tmp_path / "movie.mrc", frames)


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_files_and_report(run, address, movie, tmp_path):
    out = tmp_path / "out"
    formats, region = "csv,json,png,gif,parquet", "left=0,0,10,30"
    done = run("track", movie, "--server", address, "--out", out, "--format", formats, "--region", region)
    assert done.exit_code == 0, done.output
    assert "movie.mrc: 7 of 8 frames tracked, 1 refused" in done.stdout
    drift = rows(out / "movie.drift.csv")
    assert [line["state"] for line in drift] == ["tracked"] * DARK + ["refused"] + ["tracked"] * 4
    assert float(drift[-1]["drift_x_A"]) == pytest.approx(1.4, abs=0.15)
    tracks = rows(out / "movie.tracks.csv")
    assert {line["frame"] for line in tracks} == set("0124567")
    regions = {line["region"] for line in rows(out / "movie.occupancy.csv")}
    assert regions == {"all", "left"}
    assert json.loads((out / "movie.tracks.json").read_text())["frames"]["tracked"] == 7
    with Image.open(out / "movie.tracks.gif") as gif:
        assert gif.n_frames == 8
    assert not list(out.glob(".*"))


def test_lines_to_stdout_and_the_report_to_stderr(run, address, movie):
    done = run("track", movie, "--server", address, "--live", "--jsonl", "-")
    assert done.exit_code == 0, done.output
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["sequence"] for line in said] == list(range(8))
    assert said[DARK]["state"] == "refused"
    assert "7 of 8 frames tracked" in done.stderr


def test_the_first_frames_alone(run, address, movie, tmp_path):
    done = run("track", movie, "--server", address, "--frames", 3, "--out", tmp_path, "--format", "csv,gif")
    assert done.exit_code == 0, done.output
    assert "movie.mrc: 3 of 3 frames tracked" in done.stdout
    with Image.open(tmp_path / "movie.tracks.gif") as gif:
        assert gif.n_frames == 3


def test_lines_to_a_file_and_no_folder(run, address, movie, tmp_path):
    done = run("track", movie, "--server", address, "--jsonl", tmp_path / "lines.jsonl")
    assert done.exit_code == 0, done.output
    assert len((tmp_path / "lines.jsonl").read_text().splitlines()) == 8
    assert {path.name for path in tmp_path.iterdir()} == {"movie.mrc", "lines.jsonl"}


def test_of_a_movie_no_more_frames_than_asked_for(run, address, movie, tmp_path):
    done = run("track", movie, "--server", address, "--frames", "3", "--out", tmp_path / "out", "--format", "csv,gif")
    assert done.exit_code == 0, done.output
    assert "3 of 3 frames tracked" in done.stdout
    with Image.open(tmp_path / "out" / "movie.tracks.gif") as gif:
        assert gif.n_frames == 3


def test_a_folder_loses_no_frame_to_a_slow_service(run, address, tmp_path):
    (tmp_path / "today").mkdir()
    frame = lattice_frame(3, SHAPE, SAMPLING_A, 300.0, noise=1)
    write(tmp_path / "today" / "a.mrc", [frame] * 60)
    done = run("track", tmp_path / "today", "--server", address, "--frames", "60", "--settle", "0.5", "--summed", "0")
    assert done.exit_code == 0, done.output
    assert "60 of 60 frames tracked" in done.stdout
    assert "dropped" not in done.stdout


def test_the_lattice_gives_no_pixel_size_of_what_still_runs(run, address, movie):
    done = run("track", movie.parent, "--server", address, "--sampling", "auto-lattice")
    assert done.exit_code == 2
    assert "segdepth doctor" in done.stderr


def test_nothing_tracked_is_3(run, address, tmp_path):
    dark = write(tmp_path / "dark.mrc", [np.zeros(SHAPE, np.uint16)] * 2)
    done = run("track", dark, "--server", address, "--out", tmp_path / "out")
    assert done.exit_code == 3
    assert "0 of 2 frames tracked, 2 refused" in done.stdout
    assert len(rows(tmp_path / "out" / "dark.drift.csv")) == 2


def test_no_such_file_is_2(run, address, tmp_path):
    done = run("track", tmp_path / "no.mrc", "--server", address)
    assert done.exit_code == 2
    assert "no such file" in done.stderr


def test_a_folder_that_cannot_be_is_2(run, address, movie, tmp_path):
    (tmp_path / "out").write_text("a file")
    done = run("track", movie, "--server", address, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "out" in done.stderr
