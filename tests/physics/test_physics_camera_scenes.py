"""Scenes of the detector simulator: a patch is what a hop makes of an image, the shipped file is what training makes.

The client's own imaging of them against training's: the camera shows what the noise chain expects of the exit wave.
"""

import numpy as np
import pytest
import torch

from segdepth.camera.scene import SHIPPED, Field, load_scene, scene_names
from segdepth_training.frames import camera_scenes
from segdepth_training.frames.camera_scenes import CELL_A, SUBJECTS, VIBRATION_A, drawn, hops_of, imaged, simulated
from segdepth_training.frames.imaging import Optics, expected, intensity
from segdepth_training.frames.multislice import exit_wave
from segdepth_training.recipes.recipe import Recipe, load_recipe
from segdepth_training.specimens.changes import APART_A, with_room
from segdepth_training.specimens.projection import project
from segdepth_training.specimens.specimen import Specimen
from tests.physics.conditions import exposure
from tests.physics.test_physics_bound import RECIPES

NAME = "particle"
SCENE = load_scene(NAME)
HOPS = (0, 3, 8)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return camera_scenes.of_camera(load_recipe(RECIPES / "ceo2-110.toml"))


@pytest.fixture(scope="module")
def specimen(recipe: Recipe) -> Specimen:
    return drawn(recipe, SUBJECTS[NAME])


@pytest.fixture(scope="module")
def optics() -> Optics:
    return Optics(**{name: torch.tensor([value]) for name, value in SCENE.optics.items()})


@pytest.mark.slow
def test_the_shipped_file_is_what_training_makes(recipe: Recipe) -> None:
    made = simulated(recipe, SUBJECTS[NAME])
    # Half precision: 2^-11 of the difference to vacuum.
    np.testing.assert_allclose(SCENE.base, made.base, atol=1.5e-3)
    np.testing.assert_allclose(SCENE.patches, made.patches, atol=5e-4)
    np.testing.assert_array_equal(SCENE.corners, made.corners)
    np.testing.assert_array_equal(np.stack([SCENE.hopping, SCENE.by], 1), made.hops)
    np.testing.assert_allclose(SCENE.xy_A, made.columns[:, :2], atol=1e-5)
    np.testing.assert_array_equal(np.stack([SCENE.atoms, SCENE.species], 1), made.columns[:, 2:4])
    assert set(scene_names()) == set(SUBJECTS)
    assert SHIPPED.stat().st_size < 1.5e6


def test_hopping_columns_are_chosen_as_shipped(specimen: Specimen) -> None:
    change = hops_of(np.random.default_rng([camera_scenes.SEED, SUBJECTS[NAME].index]), specimen)
    assert (np.flatnonzero(change) == SCENE.hopping).all()
    assert (change[SCENE.hopping] == SCENE.by).all()
    at = specimen.columns[SCENE.hopping, :2]
    apart_A = np.hypot(*np.moveaxis(at[:, None] - at[None], -1, 0))
    assert apart_A[~np.eye(len(at), dtype=bool)].min() >= APART_A


@pytest.mark.parametrize("index", HOPS)
def test_base_and_patch_are_the_image_of_the_changed_specimen(
    recipe: Recipe, specimen: Specimen, optics: Optics, index: int
) -> None:
    change = np.zeros(len(specimen.columns), np.int64)
    change[SCENE.hopping[index]] = SCENE.by[index]
    direct = imaged(specimen, change, recipe, optics)
    hopped = np.arange(len(SCENE.by)) == index
    hop = np.linalg.norm(direct - SCENE.base)
    assert np.linalg.norm(SCENE.image(hopped) - direct) < 0.03 * hop
    assert hop > 10 * np.linalg.norm(SCENE.base - SCENE.base.astype(np.float16))


@pytest.mark.parametrize("sampling_A", [0.08, 0.1, 0.16])
def test_the_camera_shows_what_the_noise_chain_expects(
    recipe: Recipe, specimen: Specimen, optics: Optics, sampling_A: float
) -> None:
    roomy = with_room(specimen, 2, project(recipe.crystal).period_A)
    wave = torch.from_numpy(np.asarray(exit_wave(roomy, recipe.multislice, recipe.microscope)))[None]
    seen = intensity(wave, CELL_A, optics, recipe.microscope)
    points = round(CELL_A / sampling_A)
    whole = expected(seen, CELL_A, points, exposure(vibration_A=VIBRATION_A, mtf_px=0.3))[0].numpy()
    size = round(30 / sampling_A)
    field = Field(SCENE, size, sampling_A, spread_px=0.3)
    first = round(field.first_A / sampling_A)
    shift_A = field.first_A - first * sampling_A
    shown = field.expected(SCENE.base, (shift_A, shift_A))
    theirs = whole[first : first + size, first : first + size]
    assert np.abs(shown - theirs).max() < 2e-3
    assert theirs.std() > 0.1
