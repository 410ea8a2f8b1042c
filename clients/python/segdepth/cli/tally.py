"""What became of a movie's frames, in a few lines."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from segdepth.cli.conditions import Told
from segdepth.cli.console import ALL_REFUSED, ANSWERED, UNUSABLE
from segdepth.cli.reasons import Reasons
from segdepth.results import Answer, FrameResult, Status


@dataclass
class Tally:
    """Numbers of frames by verdict, and of their columns."""

    status: Counter[Status] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    columns: int = 0
    reasons: Reasons = field(default_factory=Reasons)
    models: Counter[str] = field(default_factory=Counter)
    conditions: Told = field(default_factory=Told)

    def add(self, answer: Answer) -> int:
        """Count it; returns the number of frames."""
        self.reasons.of(answer)
        if not isinstance(answer, FrameResult):
            self.unanswered[answer.reason.value] += len(answer)
            return len(answer)
        self.status[answer.domain.status] += 1
        self.columns += len(answer.columns)
        self.models[str(answer.model)] += 1
        self.conditions.add(answer.conditions)
        return 1

    @property
    def frames(self) -> int:
        """All of them."""
        return sum(self.status.values()) + sum(self.unanswered.values())

    @property
    def answered(self) -> int:
        """Frames with columns that may be used."""
        return self.status[Status.OK] + self.status[Status.SUSPECT]

    def line(self) -> str:
        """All of it in a line."""
        parts = [f"{self.answered} frames answered"]
        parts += [f"{self.status[name]} {name.value}" for name in (Status.SUSPECT, Status.REFUSED) if self.status[name]]
        parts += [f"{count} {reason}" for reason, count in self.unanswered.items()]
        return ", ".join([*parts, f"{self.columns} columns"])

    def why(self) -> Iterator[str]:
        """Why frames were refused, suspect or not answered, a line for each reason."""
        return self.reasons.lines(self.frames)


def exit_status(answered: int, unusable: bool) -> int:
    """Of the command: `answered` frames of all files, and whether any file could not be used."""
    if answered:
        return ANSWERED
    return UNUSABLE if unusable else ALL_REFUSED
