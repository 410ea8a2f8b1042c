"""The Ray that simulation and training run on: the cluster that RAY_ADDRESS names, or a private one on this machine."""

import logging
import os
import secrets

PRIVATE = {
    # With tokens on and none given, Ray writes one under HOME.
    "RAY_AUTH_MODE": "token",
    # Ray listens on every interface unless it takes the machine for one that cannot join a cluster.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # One machine is not preempted by a cloud, and has nobody who scrapes Ray's own metrics.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


def connect() -> None:
    """Connect to Ray, unless this process is connected already; a private Ray ends with this process.

    To be called before anything imports Ray, which reads its environment when it is imported.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address is None:
        for name, value in {**PRIVATE, "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
            os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return
    if address is None:
        ray.init(address="local", include_dashboard=False, logging_level=logging.WARNING)
    else:
        ray.init(logging_level=logging.WARNING)
