"""The stack's own process around Ray: a private local Ray with the estimator's and the gateway's deployments on it.

    python -m segdepth_stack.node EVENTS_FD

Settings come as a line of JSON on stdin, progress goes as lines of JSON to EVENTS_FD. The end of stdin is the word to
drain and stop: it comes when the parent says so, and also when the parent is killed, so that nothing is left behind.
"""

import json
import logging
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

import ray
from ray import serve

from segdepth_inference import replica
from segdepth_inference.settings import InferenceSettings
from segdepth_stack.settings import StackSettings

ENVIRONMENT = {
    # With tokens on and none given, Ray writes one under HOME; without them, Serve's replicas take pickles from anyone.
    "RAY_AUTH_MODE": "token",
    # Ray listens on every interface unless it takes the machine for one that cannot join a cluster.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Replicas without a GPU are meant to have none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}
UNWANTED = ("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH", "RAY_NAMESPACE", "RAY_SERVE_THROUGHPUT_OPTIMIZED")
"""Settings of somebody else's Ray. THROUGHPUT_OPTIMIZED would open ports of its own."""


def environment() -> dict[str, str]:
    """The environment that makes Ray private to this stack: loopback alone, with a token that no file holds."""
    inherited = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    return inherited | ENVIRONMENT | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}


def main() -> None:
    """Run until stdin ends."""
    settings = StackSettings.model_validate_json(sys.stdin.readline())
    folder = Path(json.loads(sys.stdin.readline()))
    with os.fdopen(int(sys.argv[1]), "w", buffering=1) as events:
        run(settings, folder, events)


def run(settings: StackSettings, folder: Path, events: IO[str]) -> None:
    """Start Ray and Serve, say so, wait for the end of stdin, drain, stop."""
    ray.init(
        address="local",
        # Places for deployments, not cores: how many cores the network takes is said to the replicas.
        num_cpus=settings.replicas + 1,
        resources={"gateway": 1},
        object_store_memory=settings.object_store_mb * 1024 * 1024,
        include_dashboard=False,
        _temp_dir=str(folder),
        logging_level=logging.WARNING,
    )
    try:
        say(events, "Ray runs")
        serve.start(proxy_location="Disabled")
        deploy(settings, folder)
        say(events, "deployed", ready=True)
        sys.stdin.read()
        say(events, "draining")
        serve.shutdown()
    finally:
        ray.shutdown()


def deploy(settings: StackSettings, folder: Path) -> None:
    """Run the application and wait until its replicas are up."""
    serve.run(application(settings, folder / "models"), name="segdepth", route_prefix=None)


def application(settings: StackSettings, cache: Path) -> serve.Application:
    """The gateway bound to its estimator."""
    gpus = ray.cluster_resources().get("GPU", 0)
    estimator = replica.deployment(
        InferenceSettings(
            store=settings.store or "",
            cache=cache,
            family=settings.family,
            replicas=settings.replicas,
            threads=max(1, settings.cpus // settings.replicas),
            gpus=min(1.0, gpus / settings.replicas),
        )
    )
    return estimator


def say(events: IO[str], event: str, **more: object) -> None:
    """A line for the parent; one that is gone does not stop the draining."""
    with suppress(BrokenPipeError):
        events.write(json.dumps({"event": event, **more}) + "\n")


if __name__ == "__main__":
    main()
