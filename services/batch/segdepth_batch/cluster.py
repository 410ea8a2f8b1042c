"""The Ray that a job runs on: the cluster that RAY_ADDRESS names, or a private one on this machine."""

import logging
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from segdepth_batch.errors import RayNotStarted
from segdepth_batch.settings import BatchSettings

START_TRIES = 4
STOP_S = 10.0

LONGEST_TEMP = 40
"""Ray makes Unix sockets under its folder; their paths may have 107 characters."""


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

    folder = _folder() if private else None
    try:
        if private:
            _start(settings, folder)
        elif not ray.is_initialized():
            ray.init(logging_level=logging.WARNING)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # A machine that goes while its actor still loads the model is no fault of the job.
        context.max_consecutive_actor_init_deaths = 2 + settings.retries
        yield
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _start(settings: BatchSettings, folder: str | None) -> None:
    """A private Ray. RayNotStarted if that fails: Ray gives its own processes 30 s, too little on a busy machine."""
    import ray

    before = set(psutil.Process().children(recursive=True))
    for attempt in range(START_TRIES):
        try:
            ray.init(
                address="local",
                # Places for actors, not cores: how many cores a network takes is said to the actors.
                num_cpus=max(1, math.ceil(settings.actors_max * settings.cpus)),
                object_store_memory=settings.object_store_mb * 1024 * 1024,
                include_dashboard=False,
                _temp_dir=folder,
                logging_level=logging.WARNING,
                log_to_driver=False,
            )
        except Exception as error:  # Ray raises nothing more particular
            ray.shutdown()
            _end_children(before)
            if attempt == START_TRIES - 1:
                raise RayNotStarted(
                    f"Ray did not start on this machine ({error}); try again when it is less busy"
                ) from error
        else:
            return


def _end_children(before: set[psutil.Process]) -> None:
    """End what a try that failed has started: Ray itself forgets it."""
    left = set(psutil.Process().children(recursive=True)) - before
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=STOP_S)


def _environment(settings: BatchSettings) -> dict[str, str]:
    """What keeps a Ray private: loopback alone, with a token that no file holds."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Ray listens on every interface unless it takes the machine for one that cannot join a cluster.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray's own agents are Python, and take their time to import on a busy machine.
        "RAY_agent_register_timeout_ms": "120000",
        "RAY_worker_niceness": str(settings.nice),
        # A machine with little free disk is the caller's business: a private Ray spills nothing to speak of.
        "RAY_local_fs_capacity_threshold": "0.999",
    }


def _folder() -> str:
    usual = tempfile.gettempdir()
    base = usual if len(usual) <= LONGEST_TEMP else "/tmp"  # noqa: S108 - the name below it is random
    return tempfile.mkdtemp(prefix="segdepth-", dir=base)
