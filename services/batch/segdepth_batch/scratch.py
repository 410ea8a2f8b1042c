"""Inputs fetched to a local folder: once for all processes of a machine, and never more than there is room for."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from segdepth_batch.errors import JobRefused

_FETCH_S = 3600.0
"""Longest that another process's download of the same file is waited for [s]."""


class Scratch:
    """A folder of copies, by source and tag. Whoever fetches removes what was not used longest."""

    def __init__(self, folder: Path, most_bytes: float):
        self._folder, self._most_bytes = folder, most_bytes

    @contextmanager
    def copy(self, source: str, tag: str, size_bytes: int, download: Callable[[Path], bool]) -> Iterator[Path]:
        """A copy of the source with that tag; it stays until the block ends, and an open file longer.

        JobRefused if the source is not there any more, or is another than when the job was planned.
        """
        digest = hashlib.sha256(f"{source}\n{tag}".encode()).hexdigest()[:32]
        path = self._folder / f"{digest}{Path(source).suffix.lower()}"
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / f".{digest}.lock", timeout=_FETCH_S, fallback_to_soft=False):
            if path.exists():
                path.touch()  # used now
            else:
                self._make_room(size_bytes)
                part = path.with_name(f".{path.name}.part")
                if not download(part) or part.stat().st_size != size_bytes:
                    part.unlink(missing_ok=True)
                    raise JobRefused(f"{source} has changed or is gone since the job began; submit a new job")
                part.rename(path)
            yield path

    def _make_room(self, size_bytes: int) -> None:
        copies = sorted((path.stat().st_mtime, path) for path in self._folder.iterdir() if path.suffix != ".lock")
        used = size_bytes + sum(path.stat().st_size for _, path in copies)
        for _, path in copies:
            # What a killed download left goes in any case, unless it is under way.
            if used > self._most_bytes or path.suffix == ".part":
                used -= self._removed(path)

    def _removed(self, path: Path) -> int:
        """Bytes that removing it gave back: none if another process is at it."""
        lock = FileLock(self._folder / f".{path.name.lstrip('.').partition('.')[0]}.lock", fallback_to_soft=False)
        try:
            with lock.acquire(timeout=0):
                size = path.stat().st_size
                path.unlink()
                return size
        except (Timeout, FileNotFoundError):
            return 0
