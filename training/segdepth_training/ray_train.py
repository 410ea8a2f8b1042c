"""The training loop under Ray Train V2: several workers, checkpoints that survive a killed worker or driver."""

import math
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")

import ray
import ray.train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device, prepare_model

from segdepth_training.optimisation import Optimisation
from segdepth_training.train import Progress, Run, loop

WORKER_FAILURES = 3


def worker(config: dict[str, Any]) -> None:
    """What each Ray Train worker does; rank 0 keeps the checkpoints."""
    run: Run = config["run"]
    context = ray.train.get_context()
    rank = context.get_world_rank()
    optimisation = Optimisation(run.recipe.training, run.seed, get_device(), run.start)
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            optimisation.restore(Path(folder))
    if context.get_world_size() > 1:
        optimisation.forward = prepare_model(optimisation.network)

    def keep(metrics: dict[str, float]) -> None:
        metrics = {"step": optimisation.step, **metrics}
        if rank != 0:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as scratch:
            optimisation.save(Path(scratch))
            ray.train.report(metrics, checkpoint=Checkpoint.from_directory(scratch))

    def progress(step: int, steps: int, metrics: dict[str, float]) -> None:
        if rank == 0:
            print(f"step {step}/{steps} loss {metrics['loss']:.3f} {metrics['steps_per_s']:.2f} steps/s", flush=True)

    loop(run, optimisation, rank, keep, progress)


def scaling(workers: int) -> ScalingConfig:
    """A GPU for each worker where there are any, else an even share of each machine's cores."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if any(resources.get("GPU") for resources in machines):
        return ScalingConfig(num_workers=workers, use_gpu=True)
    cores = min(int(resources["CPU"]) for resources in machines)
    each = max(1, cores // math.ceil(workers / len(machines)))
    return ScalingConfig(num_workers=workers, resources_per_worker={"CPU": each})


def train_on_ray(run: Run, progress: Progress) -> Path:
    """Train with recipe.training.workers Ray Train workers; returns the folder of the last checkpoint.

    Called again with the same run folder, Ray Train goes on from the last checkpoint it stored there.
    """
    trainer = TorchTrainer(
        worker,
        train_loop_config={"run": run},
        scaling_config=scaling(run.recipe.training.workers),
        run_config=RunConfig(
            name="ray",
            storage_path=str(run.folder.resolve()),
            failure_config=FailureConfig(max_failures=WORKER_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    result = trainer.fit()
    if result.checkpoint is None:
        raise RuntimeError(f"no checkpoint in {run.folder}: {result.error}")
    progress(run.recipe.training.steps, run.recipe.training.steps, dict(result.metrics or {}))
    return Path(result.checkpoint.path)
