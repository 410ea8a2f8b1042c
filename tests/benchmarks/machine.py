"""What a figure was measured on: no figure means anything without it."""

import os
import platform
from importlib.metadata import version

from segdepth_core.engine import cpu_field, cpu_flags

TELLING = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx512_fp16", "amx_bf16", "amx_int8")


def described() -> dict[str, object]:
    """CPU, its flags that matter, cores, load and versions."""
    flags = cpu_flags()
    return {
        "cpu": cpu_field("model name") or "unknown",
        "flags": [flag for flag in TELLING if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "ray", "grpcio", "numpy")},
    }
