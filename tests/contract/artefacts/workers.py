"""What tests run in processes of their own."""

import os
import resource
import signal
import time
from multiprocessing.synchronize import Event
from pathlib import Path

from segdepth_artefacts import Channel, errors
from tests.contract.artefacts.places import FAMILY, Place, Version


def promote(place: Place, version: str, principal: str, expected: Channel | None) -> bool:
    """Whether this process won."""
    try:
        place.open().point(FAMILY, "stable", version, principal=principal, reason="race", expected=expected)
    except errors.ChannelConflict:
        return False
    return True


def promote_until_won(place: Place, principal: str, times: int) -> None:
    """Promotes again and again, reading anew after each conflict, until `times` promotions were its own."""
    store, won = place.open(), 0
    while won < times:
        expected = store.channel(FAMILY, "stable")
        version = "1.0" if expected is None or expected.version == "2.0" else "2.0"
        try:
            store.point(FAMILY, "stable", version, principal=principal, reason=str(won), expected=expected)
        except errors.ChannelConflict:
            continue
        won += 1


def register_and_die(place: Place, version: Version, writes: int) -> None:
    """Registers, and is killed by SIGKILL when `writes` objects were written and the next one is due."""
    store = place.open()
    write, written = store._objects.write, 0

    def dying_write(key: str, source: bytes | Path, *, replaces: str | None) -> str:
        nonlocal written
        if written == writes:
            os.kill(os.getpid(), signal.SIGKILL)
        written += 1
        return write(key, source, replaces=replaces)

    store._objects.write = dying_write  # type: ignore[method-assign]
    store.register(version.manifest, version.files)


def register(place: Place, version: Version) -> None:
    place.open().register(version.manifest, version.files)


def register_and_die_in_a_file(place: Place, version: Version, file_bytes: int) -> None:
    """Registers, and is killed by the kernel as it writes beyond `file_bytes` of one file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    register(place, version)


def register_without_room(place: Place, version: Version, file_bytes: int) -> str:
    """Registers where no file may be larger than `file_bytes`; the message of the error that this gives."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    try:
        register(place, version)
    except errors.StoreUnavailable as exc:
        return str(exc)
    return "no error"


def hold_for_ever(place: Place, name: str, ttl_s: float, ready: Event) -> None:
    """Holds a lease until it is killed."""
    with place.open().lease(name, "the killed one", ttl_s=ttl_s):
        ready.set()
        time.sleep(600)
