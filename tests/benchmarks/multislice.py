"""Exit waves of the CeO2 recipe's specimens (57.6 Å, sampled at 0.1 Å), one thread: ours, and abTEM's where it is.

    python -m tests.benchmarks.multislice

In turn, specimen by specimen, and told by the thread's own time, so that what else the machine does falls on both.
"""

import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from segdepth_training.frames.multislice import exit_wave
from segdepth_training.recipes.recipe import Microscope, Multislice, Recipe, load_recipe
from segdepth_training.specimens.projection import project
from segdepth_training.specimens.specimen import Specimen, draw
from tests.physics.abtem_reference import abtem_wave

RECIPE = Path(__file__).parents[2] / "training" / "recipes" / "ceo2-110.toml"
THICKNESSES = (3, 8, 20)
ROUNDS = 5

Method = Callable[[Specimen, Multislice, Microscope], NDArray[np.complex64]]


def measure() -> dict[str, float]:
    """multislice_s_ATOMS of specimens of so many atoms a column, abtem_s_ATOMS, and the ratio of the two."""
    torch.set_num_threads(1)
    recipe = load_recipe(RECIPE)
    methods: dict[str, Method] = {"multislice": exit_wave}
    if importlib.util.find_spec("abtem"):
        methods["abtem"] = abtem_wave
    figures: dict[str, float] = {}
    for atoms in THICKNESSES:
        one = flat(recipe, atoms)
        times: dict[str, list[float]] = {name: [] for name in methods}
        for measured in (False, *[True] * ROUNDS):
            for name, method in methods.items():
                started = time.process_time()
                method(one, recipe.multislice, recipe.microscope)
                times[name] += [time.process_time() - started] * measured
        figures |= {f"{name}_s_{atoms}": median(seconds) for name, seconds in times.items()}
        if "abtem" in methods:
            figures[f"multislice_over_abtem_{atoms}"] = median(np.divide(times["abtem"], times["multislice"]).tolist())
    return figures


def flat(recipe: Recipe, atoms: int) -> Specimen:
    """Of one thickness, filling the cell or not as the recipe draws it."""
    weights = dict.fromkeys(recipe.specimens.kinds, 0.0) | {"flat": 1.0}
    limits = recipe.specimens.model_copy(update={"atoms": (atoms, atoms), "thick_share": 0.0, "kinds": weights})
    return draw(np.random.default_rng(atoms), project(recipe.crystal), limits)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
