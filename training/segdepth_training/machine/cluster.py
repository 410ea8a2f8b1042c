"""The Ray that simulation and training run on: the cluster that RAY_ADDRESS names, or a private one on this machine."""

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

from segdepth_core.private_ray import private_environment
from segdepth_training.machine.settings import TrainingSettings

T = TypeVar("T")

PRIVATE = {
    # One machine is not preempted by a cloud, and has nobody who scrapes Ray's own metrics.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # A busy machine starts workers slowly.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
}

PRIVATE_ROOM_S = 20.0
"""A private Ray never grows: what does not fit now never will."""


class NoRoom(RuntimeError):
    """The cluster has no machine with what a task or a worker needs, and did not grow in time."""


def shared() -> bool:
    """Whether there is a cluster, rather than a private Ray on this machine."""
    return "RAY_ADDRESS" in os.environ


def connect() -> None:
    """Connect to Ray, unless this process is connected already; a private Ray ends with this process.

    To be called before anything imports Ray, which reads its environment when it is imported.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address is None:
        for name, value in (private_environment() | PRIVATE).items():
            os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return
    if address is None:
        ray.init(address="local", include_dashboard=False, logging_level=logging.WARNING)
    else:
        ray.init(logging_level=logging.WARNING)


def await_room(bundles: list[dict[str, float]], what: str) -> None:
    """Return when the cluster has room for all bundles of resources at once; one that can grow is made to.

    NoRoom where that takes too long: without this, Ray would wait for ever and say so in passing.
    """
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group

    patience_s = TrainingSettings().room_s if shared() else PRIVATE_ROOM_S
    group = placement_group(bundles)
    try:
        if not group.wait(patience_s):
            has = {name: value for name, value in ray.cluster_resources().items() if name in ("CPU", "GPU")}
            raise NoRoom(
                f"{what}: needs {len(bundles)} x {bundles[0]}, but all machines of the Ray cluster together have"
                f" {has or 'neither CPU nor GPU'}, free or taken, after {patience_s:g} s; give Ray's worker pods at"
                " least one logical CPU (num-cpus), let their group grow, or ask for less in the recipe"
            )
    finally:
        remove_placement_group(group)


def on_worker(step: Callable[..., T], *arguments: Any) -> T:
    """Run a step on a machine of the cluster, which has more to compute with than its driver; without one, here."""
    if not shared():
        return step(*arguments)
    connect()
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = float(any(resources.get("GPU") for resources in machines))
    cores = max([1, *(int(resources.get("CPU", 0)) for resources in machines)])
    needs: dict[str, float] = {"GPU": gpus, "CPU": 1} if gpus else {"CPU": cores}
    await_room([needs], step.__name__)
    task = ray.remote(num_cpus=needs["CPU"], num_gpus=gpus, max_retries=2)(step)
    result: T = results([task.remote(*arguments)])[0]
    return result


def results(references: list[Any]) -> list[Any]:
    """What tasks returned; an error of theirs as they raised it, not wrapped in Ray's."""
    import ray

    try:
        return list(ray.get(references))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
