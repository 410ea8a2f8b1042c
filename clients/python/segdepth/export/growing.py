"""Files that grow while somebody reads them: of complete lines, whatever ends the run."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from segdepth.export.atomic import cannot_write


class GrowingFile:
    """A file that gets whole lines, each at once on its way to the disk. Raises CannotWrite.

    Where the disk takes only part of what is written, that part is taken off again: all before it is kept.
    """

    def __init__(self, path: Path, append: bool = False):
        """`append`: to a file that may be there already; else that is an error."""
        self.path = path
        mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (0 if append else os.O_EXCL)
        try:
            self._descriptor = os.open(path, mode, 0o666)
            self._length = os.fstat(self._descriptor).st_size
        except OSError as error:
            raise cannot_write(path, error) from error

    def write(self, data: bytes) -> None:
        """Append lines."""
        try:
            rest = memoryview(data)
            while rest:
                written = os.write(self._descriptor, rest)
                if not written:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                rest = rest[written:]
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._length)
            raise cannot_write(self.path, error) from error
        self._length += len(data)

    def finish(self) -> None:
        """All is written."""
        try:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def publish(self) -> None:
        """It has its name."""

    def discard(self) -> None:
        """What was written stays."""
        with suppress(OSError):
            os.close(self._descriptor)
