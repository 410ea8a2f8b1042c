"""Training: a broken run ends with the weights of an unbroken one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from segdepth_core.weights import load_network
from segdepth_training.fitting.loop import Run
from segdepth_training.fitting.optimisation import CHECKPOINT, NonFiniteLoss, Optimisation, steps_done
from segdepth_training.fitting.train import train
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.recipe import Recipe
from tests.models import tiny_model
from tests.unit.training.small import filled, recipe

CPU = torch.device("cpu")


def silent(step: int, steps: int, figures: dict[str, float]) -> None:
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    run = Run(recipe(), Storage(""), Storage(""), 5)
    return filled(tmp_path_factory.mktemp("data") / "train.zarr", run.plan)


def run_of(data: Storage, folder: Path, small: Recipe | None = None, minutes: float | None = None) -> Run:
    return Run(small or recipe(), data, Storage.at(folder), 5, minutes)


def weights(checkpoint: Storage) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.folder / CHECKPOINT)


def test_resumed_run_ends_with_the_same_weights(data: Storage, tmp_path: Path):
    whole = train(run_of(data, tmp_path / "whole"), silent)
    assert steps_done(whole.folder) == 6
    seen = []
    while not seen or seen[-1] < 6:
        broken = train(run_of(data, tmp_path / "broken", minutes=0.0), silent)  # one step, then out of time
        seen.append(steps_done(broken.folder))
    assert seen == [1, 2, 3, 4, 5, 6]
    ours, theirs = weights(broken), weights(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_finished_run_returns_at_once(data: Storage, tmp_path: Path):
    folder = train(run_of(data, tmp_path / "run"), silent).folder
    before = (folder / CHECKPOINT).stat().st_mtime_ns
    train(run_of(Storage.at(tmp_path / "no-data-needed"), tmp_path / "run"), silent)
    assert (folder / CHECKPOINT).stat().st_mtime_ns == before


def test_weights_change_and_average_follows(data: Storage, tmp_path: Path):
    start = Optimisation(recipe().training, 5, CPU).network.state_dict()
    end = weights(train(run_of(data, tmp_path / "run"), silent))
    name = "head.weight"
    assert not torch.equal(start[name], end[f"network.{name}"])
    assert not torch.equal(end[f"average.{name}"], end[f"network.{name}"])


def test_not_a_number_leaves_no_checkpoint(data: Storage, tmp_path: Path):
    wild = recipe(training__learning_rate=1e30, training__checkpoint_every=6)
    with pytest.raises(NonFiniteLoss, match="learning_rate"):
        train(run_of(data, tmp_path / "run", wild), silent)
    assert not (tmp_path / "run" / "checkpoint" / CHECKPOINT).exists()


def test_another_seed_trains_another_network():
    first, second = (Optimisation(recipe().training, seed, CPU).network.state_dict() for seed in (5, 6))
    assert not torch.equal(first["head.weight"], second["head.weight"])


def test_training_goes_on_from_a_released_model(data: Storage, tmp_path: Path):
    manifest = tiny_model(tmp_path / "model")
    released = load_network(tmp_path / "model", manifest).state_dict()
    alike = recipe(training__network=manifest.network.arguments, training__learning_rate=1e-9)
    run = Run(alike, data, Storage.at(tmp_path / "run"), 5, minutes=0.0, start=Storage.at(tmp_path / "model"))
    after = weights(train(run, silent))  # one step, too small to move a weight
    kernels = [name for name, value in released.items() if value.ndim == 4]
    assert kernels
    for name in kernels:
        for kept in ("network", "average"):
            torch.testing.assert_close(after[f"{kept}.{name}"], released[name], atol=1e-6, rtol=0)


def test_training_does_not_go_on_from_another_network(tmp_path: Path):
    tiny_model(tmp_path)
    with pytest.raises(ValueError, match="its network is another"):
        Optimisation(recipe().training, 5, CPU, tmp_path)
