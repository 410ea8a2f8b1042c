"""Results "as Python": the program that `segdepth estimate` writes makes the same table, byte by byte."""

import os
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from tests.models import lattice_frame

SAMPLING_A = 0.1
COMMAND = [sys.executable, "-c", "from segdepth.cli import main; main()"]


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    """Frames of the small model's lattice, and one that it refuses."""
    frames = [*(lattice_frame(seed, (224, 240), SAMPLING_A) for seed in range(3)), np.ones((224, 240), np.uint16)]
    path = tmp_path_factory.mktemp("program") / "movie.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.stack(frames))
        # What the file says is not what is used: the program has to say it.
        mrc.voxel_size = SAMPLING_A * 1.005
    return path


def run(command, store, cwd=None):
    environment = os.environ | {"SEGDEPTH_STORE": str(store), "COLUMNS": "200"}
    command = [str(part) for part in command]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300)


def estimated(folder, store, movie, *options):
    out = folder / "out"
    arguments = ("estimate", movie, "--sampling", SAMPLING_A, "--out", out, "--format", "csv,python", *options)
    done = run([*COMMAND, *arguments], store)
    assert done.returncode == 0, done.stderr
    return out, done


def test_the_model_in_this_process(movie, store, tmp_path):
    out, done = estimated(tmp_path, store, movie)
    assert done.stderr == "", "no line of the model's log, no empty bar"
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{movie}: 3 frames answered")
    assert second == "  1 of 4 refused: pixels, the first: every pixel is 1: an empty frame"
    again = run([sys.executable, out / "movie.py", tmp_path / "again"], store)
    assert again.returncode == 0, again.stderr
    table = (out / "movie.columns.csv").read_bytes()
    assert table.count(b"\n") > 60
    assert (tmp_path / "again" / "movie.columns.csv").read_bytes() == table
    assert Path(again.stdout.strip()) == tmp_path / "again" / "movie.columns.csv"


@pytest.mark.slow
def test_a_server(movie, store, address, tmp_path):
    out, _ = estimated(tmp_path, store, movie, "--server", address)
    text = (out / "movie.py").read_text()
    assert f"segdepth.connect({address!r})" in text
    assert "Options(model='tiny', version='1')" in text
    # Without a folder that is named it goes below the present one.
    again = run([sys.executable, out / "movie.py"], store, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "movie.columns.csv").read_bytes() == (out / "movie.columns.csv").read_bytes()
