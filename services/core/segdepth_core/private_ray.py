"""A Ray of this machine's own: what keeps it private, and where its sockets lie.

Without Ray in it, which reads its environment when it is imported.
"""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_TEMP = 40
"""Ray makes Unix sockets under its folder; their paths may have 107 characters."""


def private_environment() -> dict[str, str]:
    """What makes a Ray private: loopback alone, with a token that no file holds."""
    return {
        # With tokens on and none given, Ray writes one under HOME; without them, Ray takes pickles from anyone.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Ray listens on every interface unless it takes the machine for one that cannot join a cluster.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for Ray's sockets and logs, removed afterwards."""
    usual = tempfile.gettempdir()
    base = usual if len(usual) <= LONGEST_TEMP else "/tmp"  # noqa: S108 - the name below it is random
    folder = Path(tempfile.mkdtemp(prefix="segdepth-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
