"""Exit waves against abTEM's: specimens of the recipes, thin and thick."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray

from segdepth_training.frames.multislice import exit_wave
from segdepth_training.frames.scattering import scattering_factor
from segdepth_training.recipes.recipe import Multislice, Recipe, load_recipe
from segdepth_training.specimens.projection import project
from segdepth_training.specimens.specimen import Specimen, draw
from tests.physics.abtem_reference import abtem, abtem_wave

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
PER_V_A2 = 1 / 47.87801
"""Scattering factor [Å] over the transform of a projected potential [V Å²] (Kirkland)."""


@cache
def recipe(name: str) -> Recipe:
    return load_recipe(RECIPES / f"{name}.toml")


def specimen(name: str, atoms: int, cell_A: float) -> Specimen:
    """One of a recipe, displaced, tilted and with defects as there, but of one thickness."""
    limits = recipe(name).specimens
    weights = dict.fromkeys(limits.kinds, 0.0) | {"flat": 0.5, "stepped": 0.5}
    drawn = limits.model_copy(
        update={"atoms": (atoms, atoms), "thick_share": 0.0, "cell_A": cell_A, "kinds": weights, "tilt_share": 1.0}
    )
    return draw(np.random.default_rng(atoms), project(recipe(name).crystal), drawn)


def difference(wave: NDArray[np.complex64], reference: NDArray[np.complex64]) -> float:
    """Root mean square of the intensities' difference over the reference's contrast."""
    ours, theirs = np.abs(wave) ** 2, np.abs(reference) ** 2
    return float(np.sqrt(((ours - theirs) ** 2).mean()) / theirs.std())


@pytest.mark.parametrize("name", ["ceo2-110", "au-110"])
@pytest.mark.parametrize("atoms", [1, 5, 10, 20])
def test_exit_waves_are_abtems(name: str, atoms: int):
    thing, made = specimen(name, atoms, 28.8), recipe(name)
    reference = abtem_wave(thing, made.multislice, made.microscope)
    wave = exit_wave(thing, made.multislice, made.microscope)
    assert np.std(np.abs(reference) ** 2) > 0.01
    assert difference(wave, reference) < 1e-3
    assert np.abs(wave - reference).max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ceo2-110", "au-110"])
def test_atoms_placed_exactly_come_near_abtem_on_a_fine_grid(name: str):
    """What sharing atoms among four samples does, which a finer grid undoes, and exact placing too."""
    thing, made = specimen(name, 5, 14.4), recipe(name)
    fine = abtem_wave(thing, Multislice(sampling_A=0.025), made.microscope)
    shared, exact = (
        difference(exit_wave(thing, Multislice(placing=placing), made.microscope), fine)
        for placing in ("bilinear", "exact")
    )
    assert exact < 0.5 * shared


@pytest.mark.parametrize("element", chemical_symbols[1:104])
def test_scattering_factors_are_those_of_abtems_table(element: str):
    k_square = torch.linspace(0, 25, 60, dtype=torch.float64)
    parametrization = abtem().parametrizations.KirklandParametrization()
    theirs = parametrization.projected_scattering_factor(element)(k_square.numpy()) * PER_V_A2
    assert scattering_factor(element, k_square).numpy() == pytest.approx(theirs, rel=2e-5)
