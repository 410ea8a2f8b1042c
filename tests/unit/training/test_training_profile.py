"""Profiles: what is stated is the instrument's, what is left out the recipe's, and what cannot be is named."""

from pathlib import Path

import numpy as np
import pytest

from segdepth.detector.correction import Detector
from segdepth.detector.profile import gaussian_mtf
from segdepth_training.recipes.profile import Profile
from segdepth_training.recipes.recipe import Camera, Microscope, Recipe, load_recipe
from tests.unit.training.small import recipe

TRAINING = Path(__file__).parents[3] / "training"
SHIPPED = sorted((TRAINING / "profiles").glob("*.toml"))
HEAD = 'name = "titan"\ndescription = "ours"\n'


def profile(tmp_path: Path, text: str) -> Profile:
    path = tmp_path / "titan.toml"
    path.write_text(HEAD + text)
    return Profile.load(path)


@pytest.fixture(scope="module")
def ceria() -> Recipe:
    return load_recipe(TRAINING / "recipes" / "ceo2-110.toml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_profiles_are_of_their_names_and_one_file_for_both(path: Path, ceria: Recipe):
    shipped = Profile.load(path)
    assert shipped.name == path.stem
    of_it = shipped.applied_to(ceria)
    assert of_it.family == f"ceo2-110@{path.stem}"
    assert (of_it.crystal, of_it.specimens, of_it.training) == (ceria.crystal, ceria.specimens, ceria.training)
    transfer = Detector.load(path).modulation_transfer
    assert (transfer is None) == (shipped.spread_px() is None)


def test_the_reference_states_the_recipes_own_conditions_in_full(ceria: Recipe):
    reference = Profile.load(TRAINING / "profiles" / "reference.toml")
    of_it = reference.applied_to(ceria)
    assert (of_it.microscope, of_it.camera) == (ceria.microscope, ceria.camera)
    assert reference.microscope.model_fields_set == set(Microscope.model_fields)
    assert reference.imaging.model_fields_set == set(Camera.model_fields) - {"noise_free_share"}


def test_what_is_left_out_is_the_recipes(tmp_path: Path):
    ours = recipe(microscope__coma_A=100.0, microscope__c30_um=-6.0, camera__contrast=[0.5, 0.7])
    of_it = profile(tmp_path, "[microscope]\nc30_um = -5\n[imaging]\nvibration_A = [0.1, 0.2]\n").applied_to(ours)
    assert (of_it.microscope.c30_um, of_it.microscope.coma_A) == (-5, 100)
    assert (of_it.camera.vibration_A, of_it.camera.contrast) == ((0.1, 0.2), (0.5, 0.7))
    assert of_it.camera.samplings_A == ours.camera.samplings_A
    assert of_it.family == "small@titan"
    with pytest.raises(ValueError, match="small@titan: the recipe is an instrument's already"):
        profile(tmp_path, "").applied_to(of_it)


@pytest.mark.parametrize(
    "text, said",
    [
        ("[imaging]\ncontrast = [50, 60]", "- imaging.contrast: .*%"),
        ("[imaging]\ncontrast = [0.6, 0.5]", "- imaging.contrast: .*lower bound comes first"),
        ("[imaging]\ncontrasts = [0.5, 0.6]", "- imaging.contrasts: no such field; misspelt?"),
        ("[imaging]\nnoise_free_share = 0.1", "- imaging: noise_free_share: how a model is trained"),
        ("[microscope]\nc30_um = -0.009", "- microscope.c30_um: .*mm"),
        ("[optics]\nc30_um = -9", "- optics: no such field"),
        ("[camera]\nmtf = { sigma = 1 }", "sigma_px = 0.4"),
        ("[camera]\nmtf = [1.0, 0.5, 0.0]", "values above 0"),
        ("[camera]\nmtf = [0.5, 0.4, 0.3]", "from zero frequency \\(1\\)"),
        ("[camera]\nmtf = { sigma_px = -1 }", "a width, 0 or more"),
        ("[imaging", "not TOML"),
    ],
)
def test_a_slip_is_named_with_file_section_and_field(tmp_path: Path, text: str, said: str):
    with pytest.raises(ValueError, match=rf"(?s)titan\.toml:.*{said}"):
        profile(tmp_path, text)


@pytest.mark.parametrize("name", ["Titan", "titan@x", "", "-titan", "ti tan", "t" * 65])
def test_a_name_goes_into_a_familys(tmp_path: Path, name: str):
    path = tmp_path / "profile.toml"
    path.write_text(f'name = "{name}"\ndescription = ""\n')
    with pytest.raises(ValueError, match="- name: "):
        Profile.load(path)


def test_what_profile_and_recipe_together_cannot_be_is_named(tmp_path: Path):
    """C3 of the other sign: its own defocus is asked for, or balances it; the profile alone is no fault."""
    positive = profile(tmp_path, "[microscope]\nc30_um = 5\n")
    with pytest.raises(ValueError, match=r"(?s)titan\.toml, with recipe small:\n- microscope: .*some underfocus"):
        positive.applied_to(recipe())
    balanced = recipe(microscope__c30_um=9.0, microscope__defocus_A=[-90.0, -10.0])
    assert positive.applied_to(balanced).microscope.c30_um == 5
    blurred = profile(tmp_path, "[camera]\nmtf = { sigma_px = 9 }\n")
    with pytest.raises(ValueError, match=r"- imaging\.mtf_px: 9 px: .*µm"):
        blurred.applied_to(recipe())


def test_the_detectors_mtf_is_the_spread_unless_imaging_states_it(tmp_path: Path):
    sigma = profile(tmp_path, "[camera]\nmtf = { sigma_px = 0.4 }\nblack_level = 3\n")
    assert sigma.applied_to(recipe()).camera.mtf_px == (0.4, 0.4)
    curve = profile(tmp_path, f"[camera]\nmtf = {list(gaussian_mtf(0.7))}\n")
    np.testing.assert_allclose(curve.applied_to(recipe()).camera.mtf_px, (0.7, 0.7), rtol=1e-6)
    stated = profile(tmp_path, "[imaging]\nmtf_px = [0.3, 0.5]\n[camera]\nmtf = { sigma_px = 0.4 }\n")
    assert stated.applied_to(recipe()).camera.mtf_px == (0.3, 0.5)


def test_a_curve_with_tails_gives_the_widths_it_lies_between(tmp_path: Path):
    """Half of each electron's signal spread by 0.4 px, half by 1.2 px: no one Gaussian, but two that enclose it."""
    tailed = (np.array(gaussian_mtf(0.4)) + gaussian_mtf(1.2)) / 2
    low, high = profile(tmp_path, f"[camera]\nmtf = {tailed.tolist()}\n").applied_to(recipe()).camera.mtf_px
    assert 0.4 < low < 0.7 < high < 1.2
    per_px = np.linspace(0, 0.5, len(tailed))
    narrow, wide = (np.exp(-2 * (np.pi * width * per_px) ** 2) for width in (low, high))
    judged = per_px >= 0.1
    assert (wide[judged] - 1e-9 <= tailed[judged]).all()
    assert (tailed[judged] <= narrow[judged] + 1e-9).all()


def test_a_second_stage_is_refitted_in_less_time_and_without_bars_of_another_instrument(tmp_path: Path, ceria: Recipe):
    of_it, stage = profile(tmp_path, "[imaging]\ncontrast = [0.5, 0.6]\n").applied_to(ceria), ceria.second_stage
    assert of_it.second_stage.widened_share == 0
    assert (of_it.second_stage.specimens, of_it.second_stage.steps) == (stage.profile_specimens, stage.profile_steps)
    assert of_it.benchmark.specimens == stage.profile_benchmark
    assert (of_it.gates.paper_accuracy, of_it.gates.ece) == ({}, ceria.gates.ece)


def test_sets_keep_the_doses_that_the_instrument_has(tmp_path: Path, ceria: Recipe):
    of_it = profile(tmp_path, "[imaging]\ndose = [150, 800]\n").applied_to(ceria)
    assert of_it.calibration.doses == (200, 500, "noise-free")
    assert of_it.benchmark.doses == (200, 500, "noise-free")
    assert of_it.camera.dose == (150, 800)
    with pytest.raises(ValueError, match=r"titan\.toml, with .*\n- imaging\.dose: \(210, 490\).* 20, 50, 100"):
        profile(tmp_path, "[imaging]\ndose = [210, 490]\n").applied_to(ceria)
