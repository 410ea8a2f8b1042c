"""Files that grow while somebody reads them: of complete lines or frames, whatever ends the run."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from segdepth.export.atomic import cannot_write


class GrowingFile:
    """A file that gets whole lines or frames, each at once on its way to the disk. Raises CannotWrite.

    Where the disk takes only part of what is written, that part is taken off again: all before it is kept.
    """

    def __init__(self, path: Path, append: bool = False):
        """`append`: to a file that may be there already; else that is an error."""
        self.path = path
        # Not O_APPEND: nothing before the end could be written over then.
        mode = os.O_WRONLY | os.O_CREAT | (0 if append else os.O_EXCL)
        try:
            self._descriptor = os.open(path, mode, 0o666)
            self._length = os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError as error:
            raise cannot_write(path, error) from error

    def write(self, data: bytes) -> None:
        """Append lines, or a frame."""
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
                os.lseek(self._descriptor, self._length, os.SEEK_SET)
            raise cannot_write(self.path, error) from error
        self._length += len(data)

    def begin_with(self, data: bytes) -> None:
        """Write over the file's first bytes, as of a header that counts what follows."""
        try:
            os.pwrite(self._descriptor, data, 0)
        except OSError as error:
            raise cannot_write(self.path, error) from error

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
