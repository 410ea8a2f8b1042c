"""What this replica counted of a candidate in the shadow of one stable version, on its way to the store."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from segdepth_artefacts.shadow import Counts, ShadowRecord


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Tally:
    """Counts since `since`. Its owner sees that one thread at a time uses it."""

    family: str
    candidate: str
    stable: str
    since: datetime = field(default_factory=_now)
    doses: dict[str, Counts] = field(default_factory=dict)
    dropped: int = 0
    unwritten: bool = False
    """Whether there are counts that the store does not have."""

    @property
    def of(self) -> tuple[str, str, str]:
        """Family, candidate and stable version."""
        return self.family, self.candidate, self.stable

    def add(self, dose: str, counts: Counts) -> None:
        """One more frame."""
        self.doses[dose] = self.doses.get(dose, Counts()) + counts
        self.unwritten = True

    def drop(self, frames: int) -> None:
        """Sampled frames that were not compared."""
        self.dropped += frames
        self.unwritten = True

    def record(self, replica: str) -> ShadowRecord:
        """As the store has it."""
        return ShadowRecord(
            family=self.family,
            candidate=self.candidate,
            stable=self.stable,
            replica=replica,
            since=self.since,
            updated=_now(),
            dropped=self.dropped,
            doses=dict(self.doses),
        )
