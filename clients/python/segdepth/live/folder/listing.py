"""What lies in a folder: movies by name and signature, and what is none."""

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from segdepth.files import PICTURES, format_of
from segdepth.files.formats import FOLDERS
from segdepth.live.folder.results import COLUMNS, SUMMARY

_RESULTS = (f".{COLUMNS}", f".{SUMMARY}", ".depth.tif", ".confidence.tif", ".maps.zarr")
"""Ends of the names of results, which may lie beside the movies."""


@dataclass
class Found:
    """A look at the folder: signatures by name, relative to the folder, and the names of foreign files."""

    movies: dict[str, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)


class Listing:
    """Looks at a folder.

    pattern: of the names that are looked at, as in a shell; with a / or ** in it also in folders below. Hidden files,
    results, and what lies in the folders `left_out` are not looked at; pictures only where the pattern names their end.
    """

    def __init__(self, folder: Path, pattern: str = "*", left_out: tuple[Path, ...] = ()):
        self.folder, self.pattern = folder, pattern
        self.recursive = "/" in pattern or "**" in pattern
        self._left_out = tuple(path.absolute() for path in left_out)
        self._pictures = Path(pattern).suffix.lower() in PICTURES

    def look(self) -> Found:
        """All of it, sorted by name. Raises OSError where the folder cannot be listed."""
        found = Found()
        for path, is_folder in sorted(self._paths()):
            name = path.relative_to(self.folder).as_posix()
            if not self._concerns(path, is_folder):
                continue
            printable = name.encode(errors="backslashreplace").decode()
            movie = self._is_movie(path, is_folder) and printable == name
            signature = self.signature(name) if movie else None
            if signature is not None:
                found.movies[name] = signature
            elif not is_folder and path.exists():
                # A name in no encoding, which neither a ledger nor JSON can hold, is foreign too.
                found.foreign.append(printable)
        return found

    def _paths(self) -> Iterator[tuple[Path, bool]]:
        if self.recursive:
            # Raises where the folder is gone, which glob does not.
            os.scandir(self.folder).close()
            for path in self.folder.glob(self.pattern):
                yield path, path.is_dir()
            return
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if fnmatch.fnmatchcase(entry.name, self.pattern):
                    yield Path(entry.path), entry.is_dir()

    def _concerns(self, path: Path, is_folder: bool) -> bool:
        if path.name.startswith(".") or path.name.endswith(_RESULTS):
            return False
        if is_folder and path.suffix.lower() not in FOLDERS:
            return False
        absolute = path.absolute()
        if any(absolute.is_relative_to(one) for one in self._left_out):
            return False
        if self.recursive and any(above.suffix.lower() in FOLDERS for above in path.relative_to(self.folder).parents):
            return False
        known = format_of(path)
        # EMI: its pixels are in the SER files beside it.
        return not (known and known.instead and not known.folder)

    def _is_movie(self, path: Path, is_folder: bool) -> bool:
        known = format_of(path)
        if known is None or known.folder != is_folder:
            return False
        return self._pictures or not known.picture

    def is_movie(self, name: str) -> bool:
        """Whether a new file of that name is one to read. In folders below only `look` finds new ones."""
        path = self.folder / name
        is_folder = path.is_dir()
        wanted = not self.recursive and "/" not in name and fnmatch.fnmatchcase(name, self.pattern)
        wanted = wanted and name.encode(errors="backslashreplace").decode() == name
        return wanted and self._concerns(path, is_folder) and self._is_movie(path, is_folder)

    def name_of(self, path: Path) -> str | None:
        """The name of a movie of which something has changed: itself, or the store that it lies in."""
        try:
            relative = path.relative_to(self.folder)
        except ValueError:
            return None
        for store in reversed(relative.parents):
            if store.suffix.lower() in FOLDERS:
                return store.as_posix()
        return relative.as_posix()

    def signature(self, name: str) -> str | None:
        """Changes whenever the file does, as far as the file system tells; None where there is none.

        Times are compared for equality alone: clocks of other machines go as they like.
        """
        path = self.folder / name
        try:
            stat = path.stat()
            if path.is_dir():
                return _store_signature(path)
        except OSError:
            return None
        if not path.is_file():
            return None
        return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"


def _store_signature(store: Path) -> str:
    files = size = newest = 0
    for folder, _, names in os.walk(store):
        for name in names:
            try:
                stat = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 - tens of thousands of chunks
            except OSError:
                continue
            files, size, newest = files + 1, size + stat.st_size, max(newest, stat.st_mtime_ns)
    return f"{files} {size} {newest}"
