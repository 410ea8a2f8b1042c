"""The environment of the stack's Ray. Without Ray in it, so that a command's --help does not wait for its import."""

import os

from segdepth_core.private_ray import private_environment

ENVIRONMENT = {
    # Ray runs its workers at 15 unless told otherwise: gateway and model would yield to whatever else runs here.
    "RAY_worker_niceness": "0",
    # At its usual ten rounds a second Serve's controller takes a tenth of the model's throughput on two cores.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "2000",
}
UNWANTED = ("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH", "RAY_NAMESPACE", "RAY_SERVE_THROUGHPUT_OPTIMIZED")
"""Settings of somebody else's Ray. THROUGHPUT_OPTIMIZED would open ports of its own."""


def environment() -> dict[str, str]:
    """The environment that makes Ray private to this stack: loopback alone, with a token that no file holds."""
    inherited = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    return inherited | ENVIRONMENT | private_environment()
