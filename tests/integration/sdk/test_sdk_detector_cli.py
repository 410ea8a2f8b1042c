"""`--detector`: a movie as a detector with a dark image and a gain records it is counted as one without."""

import csv

import mrcfile
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from segdepth.cli.app import app
from tests.models import lattice_frame

SHAPE = (224, 240)
SAMPLING_A = 0.1


@pytest.fixture
def run(store, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEPTH_STORE", str(store))

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def movies(tmp_path):
    """clean.mrc, and recorded.mrc: the same with the detector's dark and gain on it; and detector.toml."""
    rng = np.random.default_rng(11)
    clean = np.stack([lattice_frame(seed, SHAPE, SAMPLING_A) for seed in range(2)]).astype("f4")
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    gain = (1 + 0.5 * x / SHAPE[1] + rng.uniform(-0.2, 0.2, SHAPE)).astype("f4")
    dark = (500 + 400 * y / SHAPE[0]).astype("f4")
    for name, frames in {"clean": clean, "recorded": clean * gain / gain.mean() + dark}.items():
        with mrcfile.new(tmp_path / f"{name}.mrc") as mrc:
            mrc.set_data(frames.astype("f4"))
            mrc.voxel_size = SAMPLING_A
    np.save(tmp_path / "dark.npy", dark)
    np.save(tmp_path / "gain.npy", gain)
    (tmp_path / "detector.toml").write_text('[camera]\ndark = "dark.npy"\ngain = "gain.npy"\n')
    return tmp_path


def counted(folder, stem):
    with (folder / f"{stem}.columns.csv").open() as file:
        return [(row["frame"], round(float(row["x_A"]), 1), row["count"]) for row in csv.DictReader(file)]


def test_estimate_corrects_the_frames_and_draws_them_corrected(run, movies):
    with_profile = ("--detector", movies / "detector.toml")
    for stem, more in (("clean", ()), ("recorded", with_profile)):
        done = run("estimate", movies / f"{stem}.mrc", "--out", movies / "out", "--format", "csv,png", *more)
        assert done.exit_code == 0, done.output
    clean, recorded = counted(movies / "out", "clean"), counted(movies / "out", "recorded")
    assert len(clean) > 40
    assert len(set(clean) & set(recorded)) > 0.95 * len(clean)
    # The frame's own panel, left in the picture, is as bright and as even as that of the clean movie.
    panels = []
    for stem in ("clean", "recorded"):
        with Image.open(movies / "out" / f"{stem}.0.png") as picture:
            panels.append(np.asarray(picture.convert("L"), float)[:, : picture.width // 4])
    assert np.abs(panels[0] - panels[1]).mean() < 2


def test_without_the_profile_it_is_another_answer(run, movies):
    run("estimate", movies / "clean.mrc", "--out", movies / "out", "--format", "csv")
    run("estimate", movies / "recorded.mrc", "--out", movies / "out", "--format", "csv")
    clean, recorded = counted(movies / "out", "clean"), counted(movies / "out", "recorded")
    assert len(set(clean) & set(recorded)) < 0.5 * len(clean)


def test_stream_takes_one_too(run, movies):
    done = run("stream", movies / "recorded.mrc", "--detector", movies / "detector.toml")
    assert done.exit_code == 0, done.output
    assert "2 frames" in done.output


def test_a_profile_that_does_not_fit_ends_the_command(run, movies):
    np.save(movies / "gain.npy", np.ones((9, 9), "f4"))
    for command in ("estimate", "stream"):
        done = run(command, movies / "recorded.mrc", "--detector", movies / "detector.toml")
        assert done.exit_code == 2
        assert "gain (gain.npy) has 9 x 9 px, dark (dark.npy) 224 x 240 px" in done.output
