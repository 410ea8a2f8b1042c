"""What lies in a folder: movies by name and signature, and what is none."""

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from segdepth.files.formats import FOLDERS, FORMATS, PICTURES
from segdepth.live.folder.results import COLUMNS, SUMMARY

_BY_SUFFIX = {suffix: each for each in FORMATS for suffix in each.suffixes}

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
        self.folder, self.pattern = folder.absolute(), pattern
        self._folder = str(self.folder)
        self.recursive = "/" in pattern or "**" in pattern
        self._left_out = tuple(path.absolute() for path in left_out)
        self._pictures = Path(pattern).suffix.lower() in PICTURES

    def look(self) -> Found:
        """All of it, sorted by name. Raises OSError where the folder cannot be listed."""
        found = Found()
        for name, is_folder in sorted(self._names()):
            if not self._concerns(name, is_folder):
                continue
            signature = self.signature(name) if self._is_movie(name, is_folder) else None
            if signature is not None:
                found.movies[name] = signature
            elif not is_folder and (self.folder / name).exists():
                found.foreign.append(_printable(name))
        return found

    def _names(self) -> Iterator[tuple[str, bool]]:
        if self.recursive:
            # Raises where the folder is gone, which glob does not.
            os.scandir(self.folder).close()
            for path in self.folder.glob(self.pattern):
                yield path.relative_to(self.folder).as_posix(), path.is_dir()
            return
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if fnmatch.fnmatchcase(entry.name, self.pattern):
                    yield entry.name, entry.is_dir()

    def _concerns(self, name: str, is_folder: bool) -> bool:
        *above, last = name.split("/")
        if last.startswith(".") or last.endswith(_RESULTS):
            return False
        if is_folder and _suffix(name) not in FOLDERS:
            return False
        if self._left_out and any((self.folder / name).is_relative_to(one) for one in self._left_out):
            return False
        if any(_suffix(one) in FOLDERS for one in above):
            return False
        known = _BY_SUFFIX.get(_suffix(name))
        # EMI: its pixels are in the SER files beside it.
        return not (known and known.instead and not known.folder)

    def _is_movie(self, name: str, is_folder: bool) -> bool:
        known = _BY_SUFFIX.get(_suffix(name))
        if known is None or known.folder != is_folder or _printable(name) != name:
            return False
        return self._pictures or not known.picture

    def is_movie(self, name: str) -> bool:
        """Whether a new file of that name is one to read. In folders below only `look` finds new ones."""
        is_folder = (self.folder / name).is_dir()
        wanted = not self.recursive and "/" not in name and fnmatch.fnmatchcase(name, self.pattern)
        return wanted and self._concerns(name, is_folder) and self._is_movie(name, is_folder)

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
        path = os.path.join(self._folder, name)  # noqa: PTH118 - of a hundred thousand files each
        try:
            stat = os.stat(path)  # noqa: PTH116
            if S_ISDIR(stat.st_mode):
                return _store_signature(path)
        except OSError:
            return None
        if not S_ISREG(stat.st_mode):
            return None
        return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def _printable(name: str) -> str:
    """A name in no encoding, which neither a ledger nor JSON can hold, in letters that they can."""
    return name.encode(errors="backslashreplace").decode()


def _store_signature(store: str) -> str:
    files = size = newest = 0
    for folder, _, names in os.walk(store):
        for name in names:
            try:
                stat = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 - tens of thousands of chunks
            except OSError:
                continue
            files, size, newest = files + 1, size + stat.st_size, max(newest, stat.st_mtime_ns)
    return f"{files} {size} {newest}"
