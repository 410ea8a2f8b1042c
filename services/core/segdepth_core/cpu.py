"""How many CPU cores a process may keep busy."""

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""CPU time of this process's control group: "quota period" [µs], or "max period" (Linux, control groups v2)."""


def usable_cores(quota: Path = QUOTA) -> int:
    """Cores that this process may run on, and no more than its container's CPU limit pays for; at least 1.

    A network with more threads than its limit pays for is stopped for the rest of every period.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        allowed, period = quota.read_text().split()
    except FileNotFoundError:
        return cores
    return cores if allowed == "max" else max(1, min(cores, math.ceil(int(allowed) / int(period))))
