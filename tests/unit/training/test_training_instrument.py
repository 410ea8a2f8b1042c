"""An instrument measured by frames: a short training tells more than its prior, and what is written reads back."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from segdepth.detector.correction import Detector
from segdepth_training.fitting.conditions import (
    CONTRAST,
    VIBRATION_A,
    Conditions,
    Measured,
    Regressor,
    Simulation,
    simulated,
    together,
    trained,
)
from segdepth_training.frames.motif import Motif
from segdepth_training.frames.movie_files import MovieFile
from segdepth_training.frames.recorded import Recorded
from segdepth_training.frames.unit_cell import UnitCell
from segdepth_training.recipes.profile import Profile
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.runs.instrument import Asked, Group, averaged, regressor, tell, with_known
from segdepth_training.runs.profile_check import print_outside
from segdepth_training.runs.profile_text import ranges, text_of
from tests.unit.training.small import recipe

pytestmark = pytest.mark.timeout(600)


def silent(*_: object) -> None:
    pass


@contextmanager
def no_bar(_: str):
    yield silent


@pytest.fixture(scope="module")
def ours() -> Recipe:
    """Of few thicknesses and displacements, so that its waves take a second."""
    return recipe(
        specimens={
            "cell_A": 24.0,
            "kinds": {"flat": 0.5, "stepped": 0.3, "particle": 0.2},
            "thick_share": 0.0,
            "thick_atoms": 10,
            "atoms": [3, 9],
        }
    )


@pytest.fixture(scope="module")
def simulation(ours: Recipe) -> Simulation:
    return Simulation(UnitCell.of(ours), ours, 0.1)


@pytest.fixture(scope="module")
def learnt(simulation: Simulation) -> Regressor:
    draws = simulated(simulation, silent, images=12_000)
    return trained(simulation, draws, silent, steps=1200)


def motifs(simulation: Simulation, seed: int, number: int, variance: float) -> tuple[list[Motif], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draws = simulation.draw(generator, number)
    values = simulation.seen(draws, torch.full((number,), float(np.log(variance))), generator)
    every = np.full(values.shape[-1], variance)
    found = [Motif(one[0].numpy().astype(complex), every, 1000.0, 0.1, 0.0) for one in values]
    return found, torch.stack([draws.contrast, draws.vibration_A], 1)


@pytest.mark.slow
def test_a_short_training_tells_more_than_its_prior(simulation: Simulation, learnt: Regressor):
    found, truth = motifs(simulation, 7, 300, 1e-6)
    said = [learnt.of([one]) for one in found]
    answer = torch.tensor([[one.contrast.mean, one.vibration_A.mean] for one in said])
    off = (answer - truth).square().mean(0).sqrt() / truth.std(0)
    assert off[0] < 0.85
    assert off[1] < 0.4
    errors = torch.tensor([[one.contrast.error, one.vibration_A.error] for one in said])
    assert ((answer - truth).abs() < 1.64 * errors).float().mean() == pytest.approx(0.93, abs=0.06)


@pytest.mark.slow
def test_noise_makes_it_less_sure(simulation: Simulation, learnt: Regressor):
    clear, _ = motifs(simulation, 7, 100, 1e-7)
    noisy, _ = motifs(simulation, 7, 100, 3e-5)
    errors = [np.mean([learnt.of([one]).vibration_A.error for one in each]) for each in (clear, noisy)]
    assert errors[1] > 1.1 * errors[0]


def posterior(contrast: float, error: float) -> Conditions:
    log = -(((CONTRAST - contrast) / error) ** 2) / 2
    both = (log[:, None] - ((VIBRATION_A - 0.3) / 0.05) ** 2 / 2).flatten().log_softmax(0)
    return Conditions(both.reshape(len(CONTRAST), len(VIBRATION_A)), Measured(torch.tensor([10.0]), torch.ones(1)))


def test_several_specimens_say_more_and_one_cannot_mislead():
    one = posterior(0.6, 0.1)
    many = Conditions(together([one] * 9), one.defocus)
    assert many.contrast.mean == pytest.approx(0.6, abs=0.01)
    assert many.contrast.error < 0.45 * one.contrast.error
    misled = Conditions(together([one] * 9 + [posterior(1.0, 0.01)]), one.defocus)
    assert misled.contrast.mean == pytest.approx(0.6, abs=0.05)


def test_frames_of_one_specimen_are_averaged_by_their_noise():
    value, other = np.array([0.1 + 0.02j]), np.array([0.14 - 0.02j])
    first = Motif(value, np.array([1e-6]), 900.0, 0.1, 0.2)
    upside_down = Motif(other, np.array([3e-6]), 900.0, 0.1, 0.2 + np.pi)
    mean = averaged([first, upside_down])
    np.testing.assert_allclose(mean.values, [0.11 + 0.02j])
    np.testing.assert_allclose(mean.variance, [0.75e-6])


@pytest.fixture
def group(simulation: Simulation, tmp_path: Path) -> Group:
    """Two frames of one specimen, of which one has no motif."""
    np.save(tmp_path / "movie.npy", np.ones((2, 20, 20), np.float32))
    (found,), _ = motifs(simulation, 11, 1, 1e-6)
    frames = (
        Recorded(500.0, 18.0, 2.0, 1.0, 0.5, found),
        Recorded(480.0, 18.5, 2.0, 1.0, 0.52, None, "its columns lie on no lattice"),
    )
    return Group(MovieFile.open(tmp_path / "movie.npy", 0.1), (0, 1), frames)


@pytest.mark.slow
def test_a_measured_profile_reads_back_and_says_what_is_left(
    group: Group, learnt: Regressor, ours: Recipe, tmp_path: Path
):
    told = tell([group], learnt, Asked())
    known = tmp_path / "known.toml"
    known.write_text('name = "known"\ndescription = ""\n[microscope]\nc30_um = -8.0\n[imaging]\ndrift_A = 0.1\n')
    stated = Profile.load(known)
    path = tmp_path / "titan.toml"
    path.write_text(text_of(told, with_known(ours, stated), "titan", stated, Asked()))
    profile = Profile.load(path)
    of_it = profile.applied_to(ours)
    assert of_it.family == "small@titan"
    assert of_it.camera.contrast == ranges(told)["contrast"]
    assert of_it.camera.vibration_A == ranges(told)["vibration_A"]
    assert of_it.camera.mtf_px == pytest.approx((0.41, 0.61))
    assert of_it.microscope.c30_um == -8
    assert of_it.camera.drift_A == 0.1
    assert "# dose = [20.0, 5000.0]  # the recipe's; state yours" in path.read_text()
    assert profile.microscope.model_fields_set == {"c30_um"}
    assert Detector.load(path).counts_per_electron == pytest.approx(18.25)
    text = path.read_text()
    assert "confounded" in text
    assert "# coma_A = 300.0  # not told by frames; the recipe's, state yours" in text
    assert "on 1 frames of movie.npy" in text
    assert f"± {told.contrast.error:.3f}" in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.slow
def test_frames_outside_a_profile_are_named(
    group: Group, learnt: Regressor, ours: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    told = tell([group], learnt, Asked())
    still = told.vibration_A.mean < 0.3
    beyond = "[0.55, 0.6]" if still else "[0.0, 0.05]"
    path = tmp_path / "titan.toml"
    path.write_text(
        f'name = "titan"\ndescription = ""\n[imaging]\nvibration_A = {beyond}\n'
        "samplings_A = [0.2]\ndose = [900, 2000]\n"
    )
    profile = Profile.load(path)
    assert print_outside([group], learnt, profile, profile.applied_to(ours), Asked()) == 2
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("movie.npy frame 0: dose 500 e/Å², 900 to 2000 stated; pixel size 0.1 Å/px, 0.2 stated")
    assert "vibration" in first
    assert "not measured: its columns lie on no lattice" in second
    assert last == "2 of 2 frames outside titan"


def test_without_a_lattice_it_says_what_to_record(group: Group, ours: Recipe):
    empty = Group(group.movie, (1,), (group.frames[1],))
    with pytest.raises(ValueError, match=r"no frame tells .*on no lattice.*zone axis.*is --sampling right\?"):
        regressor(ours, [empty], Asked(), no_bar)
