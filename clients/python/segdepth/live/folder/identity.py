"""Which movie a file is: one that was begun before, under this name or another, or a new one."""

from collections.abc import Callable
from dataclasses import dataclass

from segdepth.live.folder.ledger import Ledger, Row
from segdepth.live.folder.listing import Listing
from segdepth.live.folder.opened import Opened, digest
from segdepth.live.folder.told import Told
from segdepth.live.states import SourceState


@dataclass(frozen=True)
class Identified:
    """The movie, and what there is to tell of it. Without a row there is nothing to read."""

    row: Row | None
    told: tuple[Told, ...] = ()


class Identities:
    """Tells movies by their first frame and by the last one done, as names and times are anybody's."""

    def __init__(self, listing: Listing, ledger: Ledger, taken: Callable[[str], bool]):
        """taken: whether results of that name are there already, of another command."""
        self._listing, self._ledger, self._taken = listing, ledger, taken

    def of(self, name: str, opened: Opened, first: str, *, new_here: bool) -> Identified:
        """The movie of file `name`, whose first frame has the digest `first`.

        new_here: it was not looked at in this run, or not since it was done.
        """
        row = self._ledger.by_path(name)
        if row is None:
            return self._under_another_name(name, opened, first) or self._new(name, opened, first)
        if row.facts != opened.facts:
            return self._instead(row, opened, first, SourceState.CHANGED, f"{row.facts} before, now {opened.facts}")
        if row.first != first:
            return self._instead(row, opened, first, SourceState.REPLACED, "another movie of the same name")
        there = len(opened.movie)
        if there < row.read:
            detail = f"now {there} frames; results so far are kept"
            return Identified(None, (Told(SourceState.SHRANK, name, detail, row, row.read),))
        if new_here and row.last and not _same_last(row, opened):
            return self._instead(row, opened, first, SourceState.REPLACED, "another movie of the same name")
        if not new_here or there == row.read:
            return Identified(row)
        detail = f"goes on at frame {row.read} of {there} so far" if row.read else self._described(row, opened)
        return Identified(row, (Told(SourceState.RUNNING, name, detail, row, notes=opened.movie.header.notes),))

    def _new(self, name: str, opened: Opened, first: str) -> Identified:
        row = self._ledger.add(name, first, opened.facts, self._taken)
        detail = self._described(row, opened)
        return Identified(row, (Told(SourceState.RUNNING, name, detail, row, notes=opened.movie.header.notes),))

    def _described(self, row: Row, opened: Opened) -> str:
        named = "" if row.results == str(row.path).rpartition(".")[0] else f", results in {row.results}.*"
        frames = "1 frame" if len(opened.movie) == 1 else f"{len(opened.movie)} frames"
        return f"{opened.facts}, {frames} so far{named}"

    def _instead(self, row: Row, opened: Opened, first: str, state: SourceState, detail: str) -> Identified:
        name = str(row.path)
        self._ledger.name(row, None)
        ended = Told(state, name, f"{detail}; results so far are kept", row, row.read)
        new = self._new(name, opened, first)
        return Identified(new.row, (ended, *new.told))

    def _under_another_name(self, name: str, opened: Opened, first: str) -> Identified | None:
        for row in self._ledger.by_first(first):
            moved = row.path is not None and self._listing.signature(row.path) is None
            same = row.facts == opened.facts and len(opened.movie) >= row.read
            if moved and same and row.read and _same_last(row, opened):
                before = row.path
                self._ledger.name(row, name)
                detail = f"was {before}; its {row.read} frames are not done again, results stay in {row.results}.*"
                return Identified(row, (Told(SourceState.RENAMED, name, detail, row),))
        return None


def _same_last(row: Row, opened: Opened) -> bool:
    """Whether the last frame done is the same; of none that can be asked, whether the first is one of its kind."""
    if row.done and row.last:
        return row.last == digest(opened.movie.frame(row.done - 1))
    first = opened.movie.frame(0)
    return bool(first.min() != first.max())
