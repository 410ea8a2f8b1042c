"""The stack's own process around Ray: a private local Ray with the estimator's and the gateway's deployments on it.

    python -m segdepth_stack.node EVENTS_FD

Settings come as a line of JSON on stdin, progress goes as lines of JSON to EVENTS_FD. The end of stdin is the word to
drain and stop: it comes when the parent says so, and also when the parent is killed, so that nothing is left behind.
"""

import _thread
import json
import logging
import os
import shutil
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

import ray
from ray import serve

from segdepth_core.released import released_store
from segdepth_gateway.deployment import RESOURCE, deployment, drain
from segdepth_gateway.settings import GatewaySettings
from segdepth_inference import replica
from segdepth_inference.settings import InferenceSettings
from segdepth_stack.settings import StackSettings

APP = "segdepth"

LOAD_S = 30.0
"""A model that is not loaded after this long has a problem [s]."""


class NotReady(RuntimeError):
    """The stack cannot answer, and waiting would not help."""


def main() -> None:
    """Run until stdin ends."""
    settings = StackSettings.model_validate_json(sys.stdin.readline())
    folder = Path(json.loads(sys.stdin.readline()))
    with suppress(BrokenPipeError), os.fdopen(int(sys.argv[1]), "w", buffering=1) as events:
        end = End()
        try:
            run(settings, folder, events, end)
            # Ray's folder and this process's log. The parent removes them too, unless it was killed.
            shutil.rmtree(folder.parent, ignore_errors=True)
        except KeyboardInterrupt:
            say(events, "stopped before it was ready")
        except (NotReady, FileNotFoundError) as error:
            say(events, "failed", why=str(error))
            sys.exit(1)


class End:
    """The end of stdin, watched from the beginning: before the stack is ready it interrupts the start."""

    def __init__(self) -> None:
        self._reached, self._ready = threading.Event(), threading.Event()
        threading.Thread(target=self._watch, name="segdepth-end", daemon=True).start()

    def _watch(self) -> None:
        sys.stdin.read()
        self._reached.set()
        if not self._ready.is_set():
            _thread.interrupt_main()

    def wait(self) -> None:
        """The stack is ready: from now on the end is waited for."""
        self._ready.set()
        with suppress(KeyboardInterrupt):  # It came just before.
            self._reached.wait()


def run(settings: StackSettings, folder: Path, events: IO[str], end: End) -> None:
    """Start Ray and Serve, say so, wait for the end of stdin, drain, stop."""
    store = settings.store or os.environ.get("SEGDEPTH_STORE") or str(released_store())
    ray.init(
        address="local",
        # Places for deployments, not cores: how many cores the network takes is said to the replicas.
        num_cpus=settings.replicas + 1,
        resources={RESOURCE: 1},
        object_store_memory=settings.object_store_mb * 1024 * 1024,
        include_dashboard=False,
        _temp_dir=str(folder),
        logging_level=logging.WARNING,
    )
    try:
        say(events, "starting the gateway and the model")
        serve.start(proxy_location="Disabled")
        estimator = estimators(settings, store, folder / "models")
        serve.run(gateway(settings, store, estimator), name=APP, route_prefix=None)
        await_model()
        say(events, "ready", ready=True)
        end.wait()
        say(events, "answering what is under way")
        # Serve would stop the model together with the gateway, whose frames still wait for it.
        drain(APP, settings.drain_timeout_s + 5)
        serve.shutdown()
    finally:
        ray.shutdown()


def estimators(settings: StackSettings, store: str, cache: Path) -> serve.Application:
    """The replicas of the model. They share the cores, or the GPUs where there are any."""
    gpus = ray.cluster_resources().get("GPU", 0)
    return replica.deployment(
        InferenceSettings(
            store=store,
            cache=cache,
            family=settings.family,
            replicas=settings.replicas,
            threads=max(1, settings.cpus // settings.replicas),
            gpus=min(1.0, gpus / settings.replicas),
        )
    )


def gateway(settings: StackSettings, store: str, estimator: serve.Application) -> serve.Application:
    """The gateway in front of them."""
    return deployment(
        GatewaySettings(
            host=settings.host,
            port=settings.port,
            metrics_port=settings.metrics_port,
            tls_cert=settings.tls_cert,
            tls_key=settings.tls_key,
            tls_client_ca=settings.tls_client_ca,
            tokens=settings.tokens,
            insecure=settings.insecure,
            store=store,
            app=APP,
            drain_s=settings.drain_timeout_s,
        ),
        estimator,
    )


def await_model() -> None:
    """Return when a replica has loaded its model. NotReady, with its reason, if it does not get that far."""
    estimator = serve.get_deployment_handle("estimator", APP)
    end = time.monotonic() + LOAD_S
    while not (status := estimator.status.remote().result(timeout_s=LOAD_S))["ready"]:
        if time.monotonic() > end:
            raise NotReady(f"no model answers: {status['problem']}")
        time.sleep(0.5)


def say(events: IO[str], event: str, **more: object) -> None:
    """A line for the parent; one that is gone does not stop the draining."""
    with suppress(BrokenPipeError):
        events.write(json.dumps({"event": event, **more}) + "\n")


if __name__ == "__main__":
    main()
