"""What becomes of a source of frames: the same words in messages and in JSON."""

import errno
from enum import Enum

from segdepth.errors import CannotWrite
from segdepth.streaming.outages import Outage

SERVICE = "service"
"""What the service is called where the states of sources are told."""


class SourceState(Enum):
    """State of a camera, a folder or a file in it. `final` ones end it."""

    WAITING = "waiting"
    """Nothing has come yet, or nothing comes at the moment."""
    RUNNING = "running"
    ENDED = "ended"
    """Its own end: the last frame has come."""
    STOPPED = "stopped"
    """By whoever runs the command."""
    DIED = "died"
    """It broke off: the connection, the process behind it, the file's medium."""
    RESTARTED = "restarted"
    """It is there again after it had died, or begins to count anew."""
    CHANGED = "changed"
    """Shape, type or pixel size are no longer those that it had."""
    FOREIGN = "foreign"
    """A file that is no movie: named once and left alone."""
    UNREADABLE = "unreadable"
    """A file that cannot be read and no longer changes: damaged, half-written, or without a pixel size."""
    SHRANK = "shrank"
    """A file with fewer frames than it had."""
    VANISHED = "vanished"
    """A file that is no longer there."""
    REPLACED = "replaced"
    """A file of the same name with other contents: a new one."""
    RENAMED = "renamed"
    """A file that was there before under another name."""
    DISK_FULL = "disk full"
    """Results can no longer be written; what was written is kept."""
    AWAY = "away"
    """The service: its connection is lost, and tried again."""
    BACK = "back"
    """The service is there again: what was under way is sent once more."""

    @property
    def final(self) -> bool:
        """Whether no frame follows."""
        return self in (SourceState.ENDED, SourceState.STOPPED, SourceState.DIED, SourceState.DISK_FULL)


def disk_full(error: CannotWrite) -> bool:
    """Whether results could not be written because the disk, or the user's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def service_state(outage: Outage) -> tuple[SourceState, str]:
    """The state of the service in an outage, or at its end, with the rest of the sentence."""
    if outage.lasted_s is None:
        return SourceState.AWAY, f"since {outage.since:%H:%M:%S}: {outage.cause}; reconnecting"
    return SourceState.BACK, f"after {outage.lasted_s:.0f} s"
