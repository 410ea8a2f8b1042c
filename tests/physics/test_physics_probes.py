"""The public benchmark comes out as it was published: the pixels kept with its digest."""

from dataclasses import replace
from pathlib import Path

import torch

from segdepth_training.benchmark.definition import Size, digest, plan_of
from segdepth_training.benchmark.probes import SPECIMENS, Probes, kept_probes
from segdepth_training.frames.exit_waves import compute, load, prepare_store
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.recipe import load_recipe

TRAINING = Path(__file__).parents[2] / "training"


def test_published_probes_come_out(tmp_path: Path):
    recipe = load_recipe(TRAINING / "recipes" / "ceo2-110.toml")
    published = kept_probes(TRAINING / "released" / "benchmark" / "ceo2-110.json")
    assert published is not None
    published.check_digest(digest(recipe))
    plan = replace(plan_of(recipe, Size.FULL), specimens=len(SPECIMENS))
    storage = Storage.at(tmp_path / "waves.zarr")
    prepare_store(storage, plan)
    compute(storage, plan, list(SPECIMENS))
    found = Probes.of(load(storage, plan, torch.device("cpu")), plan)
    published.check(found)
    for index in SPECIMENS:
        ours, theirs = (torch.tensor(probes.intensities[index]) for probes in (found, published))
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
