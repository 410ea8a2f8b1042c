"""Ports, settled before anything slow starts."""

import errno
import socket
from contextlib import ExitStack


class PortInUse(OSError):
    """Something else listens there."""


def settle(host: str, *wanted: int) -> list[int]:
    """The ports of `wanted` (0 = any free one, all different). PortInUse if one cannot be had."""
    with ExitStack() as held:
        return [held.enter_context(listener(host, port)).getsockname()[1] for port in wanted]


def listener(host: str, port: int) -> socket.socket:
    """A socket bound to a port that nothing else listens at."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM)
    # As a server would: a connection of a predecessor that lingers is no obstacle.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
        # Bound is not enough: servers that share ports (SO_REUSEPORT) are found by listening alone.
        held.listen(1)
    except OSError as error:
        held.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                errno.EADDRINUSE, f"port {port} of {host} is in use; choose another or stop what listens there"
            ) from error
        raise
    return held
