"""The training loop under Ray Train V2: several workers, checkpoints that survive a killed worker or driver."""

import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")

import ray
import ray.train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device, prepare_model

from segdepth_training.fitting.loop import Progress, Run, begun, loop
from segdepth_training.machine import cluster
from segdepth_training.machine.progress import Lines
from segdepth_training.machine.storage import Storage

NAME = "ray"
"""Of the run, in its place: the same for every driver, so that the next one goes on."""

WORKER_FAILURES = 3


def worker(config: dict[str, Any]) -> None:
    """What each Ray Train worker does; rank 0 keeps the checkpoints."""
    run: Run = config["run"]
    context = ray.train.get_context()
    rank = context.get_world_rank()
    optimisation = begun(run, get_device())
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

    lines = Lines("step")

    def progress(step: int, steps: int, metrics: dict[str, float]) -> None:
        if rank == 0:
            lines(step, steps, {name: metrics[name] for name in ("loss", "steps_per_s")})

    loop(run, optimisation, rank, keep, progress)


def bundle(workers: int, machines: list[dict[str, float]]) -> dict[str, float]:
    """What each of the workers takes: a GPU where there are any, else as many cores as all of them find at once.

    One core where the machines have not even that: the cluster may grow, or `cluster.await_room` says what is amiss.
    """
    if any(resources.get("GPU") for resources in machines):
        return {"CPU": 1, "GPU": 1}
    cores = [int(resources.get("CPU", 0)) for resources in machines]
    for each in range(max(cores, default=1), 1, -1):
        if sum(here // each for here in cores) >= workers:
            return {"CPU": each}
    return {"CPU": 1}


def scaling(workers: int) -> ScalingConfig:
    """Workers that the cluster has room for. NoRoom where it has none, rather than to wait for ever."""
    machines = [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    each = bundle(workers, machines)
    cluster.await_room([each] * workers, f"training.workers = {workers}")
    return ScalingConfig(num_workers=workers, use_gpu="GPU" in each, resources_per_worker=each)


def train_on_ray(run: Run, progress: Progress) -> Storage:
    """Train with recipe.training.workers Ray Train workers; returns the place of the last checkpoint.

    Called again with the same place, Ray Train goes on from the last checkpoint it stored there.
    """
    system, path = run.storage.arrow()
    trainer = TorchTrainer(
        worker,
        train_loop_config={"run": run},
        scaling_config=scaling(run.recipe.training.workers),
        run_config=RunConfig(
            name=NAME,
            storage_path=path,
            storage_filesystem=system,
            failure_config=FailureConfig(max_failures=WORKER_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    result = trainer.fit()
    if result.checkpoint is None:
        raise RuntimeError(f"no checkpoint in {run.storage}: {result.error}")
    progress(run.recipe.training.steps, run.recipe.training.steps, dict(result.metrics or {}))
    return run.storage / NAME / Path(result.checkpoint.path).name
