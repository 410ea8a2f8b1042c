"""The Ray that a job runs on: the cluster that RAY_ADDRESS names, or a private one on this machine."""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import stamina

from segdepth_batch.errors import RayNotStarted
from segdepth_batch.settings import BatchSettings
from segdepth_core.private_ray import private_environment, scratch

START_TRIES = 4
STOP_S = 10.0


@contextmanager
def ray_for(settings: BatchSettings) -> Iterator[None]:
    """Connected to Ray within. A private Ray ends with the block, and also with this process if that is killed.

    Nothing may have imported Ray before: it reads its environment when it is imported.
    """
    private = "RAY_ADDRESS" not in os.environ
    if private:
        os.environ.update(_environment(settings))
    import ray
    from ray.data import DataContext

    with ExitStack() as parts:
        folder = parts.enter_context(scratch()) if private else None
        parts.callback(ray.shutdown)
        if folder is not None:
            _start(settings, folder)
        elif not ray.is_initialized():
            ray.init(logging_level=logging.WARNING)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # A machine that goes while its actor still loads the model is no fault of the job.
        context.max_consecutive_actor_init_deaths = 2 + settings.retries
        yield


def _start(settings: BatchSettings, folder: Path) -> None:
    """A private Ray. RayNotStarted if that fails: Ray gives its own processes 30 s, too little on a busy machine."""
    for attempt in stamina.retry_context(on=RayNotStarted, attempts=START_TRIES, timeout=None, wait_jitter=0.1):
        with attempt:
            _start_once(settings, folder)


def _start_once(settings: BatchSettings, folder: Path) -> None:
    import ray

    before = set(psutil.Process().children(recursive=True))
    try:
        ray.init(
            address="local",
            # Places for actors, not cores: how many cores a network takes is said to the actors.
            num_cpus=max(1, math.ceil(settings.actors_max * settings.cpus)),
            object_store_memory=settings.object_store_mb * 1024 * 1024,
            include_dashboard=False,
            _temp_dir=str(folder),
            logging_level=logging.WARNING,
            log_to_driver=False,
        )
    except Exception as error:  # Ray raises nothing more particular
        ray.shutdown()
        _end_children(before)
        raise RayNotStarted(f"Ray did not start on this machine ({error}); try again when it is less busy") from error


def _end_children(before: set[psutil.Process]) -> None:
    """End what a try that failed has started: Ray itself forgets it."""
    left = set(psutil.Process().children(recursive=True)) - before
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=STOP_S)


def _environment(settings: BatchSettings) -> dict[str, str]:
    return {
        **private_environment(),
        # Ray's own agents are Python, and take their time to import on a busy machine.
        "RAY_agent_register_timeout_ms": "120000",
        "RAY_worker_niceness": str(settings.nice),
        # A machine with little free disk is the caller's business: a private Ray spills nothing to speak of.
        "RAY_local_fs_capacity_threshold": "0.999",
    }
