"""What has been done of a folder: a small database beside the results, which a restart begins with.

SQLite with its rollback journal, not the write-ahead log: that needs memory shared between processes, which network
drives do not have. The database is locked for as long as it is open, so that two commands never write the same results.
"""

import errno
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from segdepth.errors import CannotWrite
from segdepth.live.states import SourceState

NAME = ".segdepth-watch.sqlite"
"""Of the file, in the folder of the results."""

FORMAT = 1

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE movies (
    id INTEGER PRIMARY KEY, path TEXT UNIQUE, results TEXT UNIQUE NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL,
    facts TEXT NOT NULL, signature TEXT NOT NULL, done INTEGER NOT NULL, csv_bytes INTEGER NOT NULL,
    state TEXT NOT NULL, counts TEXT NOT NULL, models TEXT NOT NULL
);
CREATE INDEX movies_first ON movies (first);
CREATE TABLE frames (movie INTEGER, frame INTEGER, line TEXT NOT NULL, PRIMARY KEY (movie, frame)) WITHOUT ROWID;
"""
_FIELDS = "id, path, results, first, last, facts, signature, done, csv_bytes, state, counts, models"


@dataclass(eq=False)
class Row:
    """One movie, whatever it is called at the moment.

    path: relative to the folder, None once another movie has taken its name; results: beginning of its results' names;
    first, last: digests of its first frame and of the last one done; facts: shape, type and pixel size, for people;
    signature: the file's as it was when all of it was done; done: frames answered and written; csv_bytes: length of its
    table with those; read: frames handed over in this run.
    """

    id: int
    path: str | None
    results: str
    first: str
    last: str
    facts: str
    signature: str = ""
    done: int = 0
    csv_bytes: int = 0
    state: SourceState = SourceState.RUNNING
    counts: dict[str, int] = field(default_factory=dict)
    models: list[dict[str, str]] = field(default_factory=list)
    read: int = 0

    def __post_init__(self) -> None:
        self.read = self.done


class Ledger:
    """Movies by name and by first frame. Safe for several threads. Raises CannotWrite.

    path: of the database; None for one that is forgotten at the end.
    """

    def __init__(self, path: Path | None):
        self.path = path or Path("the ledger in memory")
        self._lock = threading.RLock()
        self._rows: WeakValueDictionary[int, Row] = WeakValueDictionary()
        with self._errors():
            self._db = sqlite3.connect(path or ":memory:", timeout=0, check_same_thread=False, isolation_level=None)
            for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=TRUNCATE", "synchronous=FULL"):
                self._db.execute(f"PRAGMA {pragma}")
            with self._transaction():
                (version,) = self._db.execute("PRAGMA user_version").fetchone()
                if version not in (0, FORMAT):
                    raise CannotWrite(f"{self.path}: of another version of SegDepth; name another --out")
                if version == 0:
                    for statement in _TABLES.split(";"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version={FORMAT}")

    def by_path(self, path: str) -> Row | None:
        """The movie of that name."""
        return next(iter(self._select("WHERE path = ?", path)), None)

    def by_first(self, first: str) -> list[Row]:
        """All movies that begin with that frame."""
        return self._select("WHERE first = ?", first)

    def unfinished(self) -> list[Row]:
        """Movies that may go on."""
        return self._select("WHERE state = ?", SourceState.RUNNING.value)

    def signatures(self) -> dict[str, str]:
        """Signatures of the files that are done, by name."""
        with self._errors():
            found = self._db.execute("SELECT path, signature FROM movies WHERE signature != '' AND path IS NOT NULL")
            return dict(found.fetchall())

    def add(self, path: str, first: str, facts: str, taken: Callable[[str], bool]) -> Row:
        """A new movie. Its results are named after it, with a number behind if that is `taken` or another's."""
        stem = str(Path(path).with_suffix(""))
        with self._errors(), self._transaction():
            results, number = stem, 1
            while taken(results) or self._db.execute("SELECT 1 FROM movies WHERE results = ?", (results,)).fetchone():
                number += 1
                results = f"{stem}-{number}"
            cursor = self._db.execute(
                f"INSERT INTO movies ({_FIELDS}) VALUES (NULL, ?, ?, ?, '', ?, '', 0, 0, ?, '{{}}', '[]')",
                (path, results, first, facts, SourceState.RUNNING.value),
            )
            assert cursor.lastrowid is not None
            row = Row(cursor.lastrowid, path, results, first, "", facts)
            self._rows[row.id] = row
            return row

    def name(self, row: Row, path: str | None) -> None:
        """The movie has another name now, or none."""
        with self._errors(), self._transaction():
            self._db.execute("UPDATE movies SET path = ? WHERE id = ?", (path, row.id))
        row.path = path

    def forget(self, row: Row) -> None:
        """Its results are gone: nothing of it is done."""
        row.last, row.signature, row.done, row.read, row.csv_bytes = "", "", 0, 0, 0
        row.state, row.counts, row.models = SourceState.RUNNING, {}, []
        with self._errors(), self._transaction():
            self._db.execute("DELETE FROM frames WHERE movie = ?", (row.id,))
            self._save(row)

    def commit(self, rows: Iterable[Row], lines: Iterable[tuple[int, int, str]], meta: dict[str, Any]) -> None:
        """All of it or nothing: rows as they are now, lines of the summary (movie, frame, line), and other values."""
        with self._errors(), self._transaction():
            # A frame that is done already would break the primary key: none can stand in the results twice.
            self._db.executemany("INSERT INTO frames VALUES (?, ?, ?)", lines)
            for row in rows:
                self._save(row)
            pairs = [(key, json.dumps(value)) for key, value in meta.items()]
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", pairs)

    def _save(self, row: Row) -> None:
        self._db.execute(
            "UPDATE movies SET last = ?, signature = ?, done = ?, csv_bytes = ?, state = ?, counts = ?, models = ?"
            " WHERE id = ?",
            (
                *(row.last, row.signature, row.done, row.csv_bytes, row.state.value),
                *(json.dumps(row.counts), json.dumps(row.models), row.id),
            ),
        )

    def lines(self, row: Row) -> Iterator[str]:
        """Lines of its summary, in the order of its frames, a few at a time."""
        last = -1
        while True:
            with self._errors():
                query = "SELECT frame, line FROM frames WHERE movie = ? AND frame > ? ORDER BY frame LIMIT 1000"
                found = self._db.execute(query, (row.id, last)).fetchall()
            if not found:
                return
            last = found[-1][0]
            yield from (line for _, line in found)

    def meta(self, key: str, default: Any = None) -> Any:
        """A value that was committed."""
        with self._errors():
            found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(found[0]) if found else default

    def close(self) -> None:
        """Unlock it."""
        with self._lock:
            self._db.close()

    def _select(self, where: str, *values: str) -> list[Row]:
        with self._errors():
            found = self._db.execute(f"SELECT {_FIELDS} FROM movies {where} ORDER BY id", values).fetchall()
            return [self._row(*fields) for fields in found]

    def _row(self, number: int, *fields: Any) -> Row:
        row = self._rows.get(number)
        if row is None:
            path, results, first, last, facts, signature, done, csv_bytes, state, counts, models = fields
            row = Row(number, path, results, first, last, facts, signature, done, csv_bytes)
            row.state, row.counts, row.models = SourceState(state), json.loads(counts), json.loads(models)
            self._rows[number] = row
        return row

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN EXCLUSIVE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # On a full disk SQLite has done so by itself.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._cannot_write(error) from error

    def _cannot_write(self, error: sqlite3.Error) -> CannotWrite:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        match code:
            case sqlite3.SQLITE_FULL:
                return CannotWrite(errno.ENOSPC, f"{self.path}: no space left on the disk")
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return CannotWrite(f"{self.path}: another `segdepth watch` writes these results; name another --out")
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return CannotWrite(f"{self.path}: damaged ({error}); name another --out, or move these results away")
            case _:
                return CannotWrite(f"{self.path}: {error}")
