"""`segdepth track` of what runs, against a real stack: a PV Access channel and a folder."""

import csv
import json
import threading

import mrcfile
import numpy as np
import pytest
from typer.testing import CliRunner

from segdepth.cli.app import app
from tests.models import lattice_frame
from tests.unit.sdk.live.cameras import NAME, Camera

SAMPLING_A, SHAPE = 0.1, (224, 240)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def camera(monkeypatch):
    """A channel on which one frame after the other comes, until the test is over."""
    camera, over = Camera(), threading.Event()
    for name, value in camera.conf.items():
        monkeypatch.setenv(name, value)
    pictures = [lattice_frame(3, SHAPE, SAMPLING_A, 300.0, noise=noise) for noise in range(4)]

    def run():
        number = 0
        while not over.wait(0.1):
            camera.channel.post(pictures[number % 4], number, attributes={"SamplingAngstromPerPx": SAMPLING_A})
            number += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    camera.stop = lambda: (over.set(), thread.join())
    yield camera
    camera.stop()
    camera.close()


def track(source, address, *arguments):
    return CliRunner().invoke(app, [str(one) for one in ("track", source, "--server", address, *arguments)])


def test_a_channel_to_tables_and_lines(address, camera, tmp_path):
    out = tmp_path / "out"
    done = track(f"pva://{NAME}", address, "--frames", 6, "--out", out, "--jsonl", "-")
    assert done.exit_code == 0, done.output
    *frames, state, account = map(json.loads, done.stdout.splitlines())
    assert [one["state"] for one in frames if one["state"] != "missing"] == ["tracked"] * 6
    assert (state["kind"], state["state"]) == ("state", "stopped")
    assert (account["kind"], account["sent"], account["under_way"]) == ("account", 6, 0)
    stem = NAME.replace(":", "_")
    with (out / f"{stem}.drift.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(frames)
    assert json.loads((out / f"{stem}.tracks.json").read_text())["end"] == "stopped"
    assert "6 of " in done.stderr


@pytest.mark.slow
def test_a_channel_that_dies_is_told_and_everything_before_is_kept(address, camera, tmp_path):
    def die():
        camera.stop()
        camera.channel.close()

    threading.Timer(5.0, die).start()
    done = track(f"pva://{NAME}", address, "--out", tmp_path, "--jsonl", tmp_path / "lines.jsonl")
    assert done.exit_code == 0, done.output
    *frames, state, account = map(json.loads, (tmp_path / "lines.jsonl").read_text().splitlines())
    assert any(one["state"] == "tracked" for one in frames)
    assert (state["state"], account["under_way"]) == ("died", 0)
    (summary,) = tmp_path.glob("*.tracks.json")
    assert json.loads(summary.read_text())["end"] == "died: away for more than 10 s"


def test_patience_with_a_channel(address, camera, tmp_path):
    camera.stop()
    done = track("pva://NOBODY:Image", address, "--patience", "0.3")
    assert done.exit_code == 1
    assert "no frame of NOBODY:Image within 0.3 s" in done.stderr


@pytest.fixture
def movies(tmp_path):
    movies = tmp_path / "movies"
    movies.mkdir()
    with mrcfile.new(movies / "a.mrc") as mrc:
        mrc.set_data(np.stack([lattice_frame(3, SHAPE, SAMPLING_A, 300.0, noise=noise) for noise in range(4)]))
        mrc.set_image_stack()
        mrc.voxel_size = SAMPLING_A
    return movies


def test_once_a_folder_ends_when_all_that_is_there_is_done(address, movies, tmp_path):
    done = track(movies, address, "--once", "--settle", "0.2", "--jsonl", tmp_path / "lines.jsonl")
    assert done.exit_code == 0, done.output
    *frames, state, account = map(json.loads, (tmp_path / "lines.jsonl").read_text().splitlines())
    assert [one["state"] for one in frames] == ["tracked"] * 4
    assert (state["state"], account["answered"]) == ("ended", {"ok": 4})


@pytest.mark.parametrize("source", ["pva://CAM1:Pva1:Image", "movie.mrc"])
def test_once_is_for_folders(address, source):
    done = track(source, address, "--once")
    assert done.exit_code == 2
    assert f"--once: {source} is no folder" in done.stderr


def test_a_folder(address, movies, tmp_path):
    done = track(movies, address, "--frames", 4, "--jsonl", tmp_path / "lines.jsonl")
    assert done.exit_code == 0, done.output
    *frames, state, account = map(json.loads, (tmp_path / "lines.jsonl").read_text().splitlines())
    assert [one["state"] for one in frames] == ["tracked"] * 4
    assert (state["state"], account["answered"], account["under_way"]) == ("stopped", {"ok": 4}, 0)
    assert "4 of 4 frames tracked" in done.stdout


def test_a_service_that_is_not_there_leaves_nothing_under_way(camera, tmp_path):
    done = track(f"pva://{NAME}", "127.0.0.1:1", "--jsonl", tmp_path / "lines.jsonl", "--out", tmp_path / "out")
    assert done.exit_code == 1
    (account,) = map(json.loads, (tmp_path / "lines.jsonl").read_text().splitlines())
    assert account["dropped"] == {"not answered": account["seen"]}
    assert "127.0.0.1:1" in json.loads(next((tmp_path / "out").glob("*.tracks.json")).read_text())["end"]
