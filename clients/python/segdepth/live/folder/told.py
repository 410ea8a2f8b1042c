"""What a folder's source tells besides frames."""

from dataclasses import dataclass

from segdepth.live.folder.ledger import Row
from segdepth.live.states import SourceState


@dataclass(frozen=True)
class Told:
    """A file, or the folder itself, is in another state.

    name: relative to the folder, or the folder's own; row: its movie, if it is one; until: frames of the movie that
    belong to it where the state ends it (for now: it may go on), None where it does not; signature: the file's at its
    end; notes: what a user should know of how it is read.
    """

    state: SourceState
    name: str
    detail: str = ""
    row: Row | None = None
    until: int | None = None
    signature: str = ""
    notes: tuple[str, ...] = ()
