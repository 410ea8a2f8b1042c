"""A pixel size that is a little wrong is measured by the crystal's own lattice; one that is very wrong is not."""

import json
import re
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import segdepth
from segdepth.cli.app import app
from segdepth.files import open_movie
from segdepth.lattice import LatticeSampling, NoLattice, lattice_sampling
from segdepth_training.frames.demo_movie import SAMPLING_A, make_movie


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.uint16]:
    """The frames of the shipped specimens at 500 e/Å² and more."""
    with mrcfile.open(make_movie(tmp_path_factory.mktemp("demo"), seed=3)) as movie:
        bright = movie.data.mean((1, 2)) > 300 * SAMPLING_A**2
        return np.array(movie.data[bright])[::3]


def stated(folder: Path, frames: NDArray[np.uint16], factor: float) -> Path:
    """A movie whose header is wrong by a factor."""
    path = folder / "movie.mrc"
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(frames)
        mrc.voxel_size = SAMPLING_A * factor
    return path


def measured(path: Path) -> LatticeSampling:
    with segdepth.connect("local") as client, open_movie(path) as movie:
        return lattice_sampling(client, movie)


@pytest.mark.parametrize("factor", [0.98, 1.0, 1.03])
def test_a_header_that_is_nearly_right_is_corrected(frames: NDArray[np.uint16], tmp_path: Path, factor: float) -> None:
    found = measured(stated(tmp_path, frames, factor))
    assert found.sampling_A == pytest.approx(SAMPLING_A, rel=0.004)
    assert found.uncertainty_A < 0.004 * SAMPLING_A
    assert found.frames >= 3


def test_a_header_that_is_far_off_is_not(frames: NDArray[np.uint16], tmp_path: Path) -> None:
    with pytest.raises(NoLattice, match="may be corrected"):
        measured(stated(tmp_path, frames, 1 / 0.93))


@pytest.mark.parametrize("factor", [2**0.5, 0.5**0.5, 2.0])
def test_an_order_of_the_lattice_is_not_taken_for_the_lattice(
    frames: NDArray[np.uint16], tmp_path: Path, factor: float
) -> None:
    """At 0.1414 Å/px a part of the reflections lies where all of them should, turned by a right angle."""
    with pytest.raises(NoLattice, match=r"implies 0\.(0995|0996|0997|0998|0999|1)\d* Å/px where"):
        measured(stated(tmp_path, frames, factor))


def test_a_pixel_size_that_is_7_percent_off_is_not_gold(frames: NDArray[np.uint16]) -> None:
    """Gold's lattice is that of ceria 7 % smaller, but for a third of the reflections."""
    with segdepth.connect("local") as client:
        for frame in frames:
            for model in ("ceo2-110", "auto"):
                answer = client.estimate(frame, 0.107, segdepth.Options(model))
                assert answer.refused
                # What the pixel size is if the crystal is ceria.
                assert re.search(r"0\.(099[6-9]|1)\d* Å/px", answer.domain.why())


def test_noise_has_no_lattice(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).poisson(5, (4, 512, 512)).astype(np.uint16)
    with pytest.raises(NoLattice, match="too few"):
        measured(stated(tmp_path, noise, 1.0))


def test_the_command_line_says_what_it_uses(frames: NDArray[np.uint16], tmp_path: Path) -> None:
    path = stated(tmp_path, frames[:3], 1.02)
    run = CliRunner()
    plain = run.invoke(app, ["estimate", str(path)])
    assert "auto-lattice" in plain.stdout, "a suspect frame names the way out"
    done = run.invoke(app, ["estimate", str(path), "--sampling", "auto-lattice"])
    assert done.exit_code == 0, done.output
    assert "where 0.102 is stated" in " ".join(done.stderr.split())
    assert "suspect" not in done.stdout
    wrong = run.invoke(app, ["estimate", str(path), "--sampling", "auto"])
    assert wrong.exit_code == 2
    assert "auto-lattice" in wrong.output


def test_a_file_without_a_pixel_size_begins_with_a_rough_one(frames: NDArray[np.uint16], tmp_path: Path) -> None:
    path = tmp_path / "movie.npy"
    np.save(path, frames[:3])
    run, by_lattice = CliRunner(), ["estimate", str(path), "--sampling", "auto-lattice"]
    without = run.invoke(app, by_lattice)
    assert without.exit_code == 2
    assert "--sampling-about" in without.stderr
    arguments = ["--sampling-about", "0.102", "--out", str(tmp_path), "--format", "json"]
    done = run.invoke(app, [*by_lattice, *arguments])
    assert done.exit_code == 0, done.output
    (first, *_) = json.loads((tmp_path / "movie.summary.json").read_text())["frames"]
    assert first["calibration"]["sampling_A"] == pytest.approx(SAMPLING_A, rel=0.004)
    assert first["status"] == "ok"
    far = run.invoke(app, [*by_lattice, "--sampling-about", str(SAMPLING_A * 1.07)])
    assert far.exit_code == 2
    assert "may be corrected" in far.stderr


def test_a_rough_pixel_size_alone_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["estimate", str(tmp_path / "m.npy"), "--sampling-about", "0.1"])
    assert done.exit_code == 2
    assert "auto-lattice" in done.stderr
