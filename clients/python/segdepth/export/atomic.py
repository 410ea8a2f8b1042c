"""Files and folders that appear whole or not at all."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from segdepth.errors import CannotWrite


class AtomicFile:
    """Written under a hidden name beside its own, then renamed. CannotWrite for whatever the disk refuses."""

    def __init__(self, path: Path):
        self.path = path
        self._published = False
        self.part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            self.handle: BinaryIO = self.part.open("w+b")
        except OSError as error:
            raise cannot_write(path, error) from error

    def write(self, data: bytes) -> None:
        """Append."""
        try:
            self.handle.write(data)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def begin_with(self, data: bytes) -> None:
        """Write over the file's first bytes, as of a header that counts what follows."""
        try:
            self.handle.seek(0)
            self.handle.write(data)
            self.handle.seek(0, os.SEEK_END)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def finish(self) -> None:
        """All is written: onto the disk with it, so that a rename cannot bring out an empty file."""
        try:
            self.handle.flush()
            os.fsync(self.handle.fileno())
            self.handle.close()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def publish(self) -> None:
        """Give the finished file its name."""
        try:
            self.part.replace(self.path)
            self._published = True
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def discard(self) -> None:
        """Leave nothing, not even the published file: some of a movie's files would pass for all."""
        # A buffer that a full disk did not take is lost on purpose.
        with suppress(OSError):
            self.handle.close()
        with suppress(OSError):
            (self.path if self._published else self.part).unlink(missing_ok=True)


class AtomicFolder:
    """The same of a folder, which takes the place of an earlier one."""

    def __init__(self, path: Path):
        self.path = path
        self._published = False
        self.part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._earlier = path.with_name(f".{path.name}.{os.getpid()}.earlier")
        # What a run that was killed left here, if its process had the same number: in a container each has.
        for left in (self.part, self._earlier):
            shutil.rmtree(left, ignore_errors=True)
        try:
            self.part.mkdir()
        except OSError as error:
            raise cannot_write(path, error) from error

    def finish(self) -> None:
        """All is written: onto the disk with it."""
        try:
            for path in self.part.rglob("*"):
                if path.is_file():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def publish(self) -> None:
        """Give the finished folder its name."""
        try:
            if self.path.exists():
                self.path.replace(self._earlier)
            self.part.replace(self.path)
            self._published = True
        except OSError as error:
            with suppress(OSError):
                self._earlier.replace(self.path)
            raise cannot_write(self.path, error) from error
        shutil.rmtree(self._earlier, ignore_errors=True)

    def discard(self) -> None:
        """Leave nothing, not even the published folder."""
        shutil.rmtree(self.path if self._published else self.part, ignore_errors=True)


def cannot_write(path: Path, error: OSError) -> CannotWrite:
    """The error in the words of the disk, with the file that it is about."""
    return CannotWrite(error.errno, f"{path}: {error.strerror or error}")
