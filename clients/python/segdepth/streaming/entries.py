"""What a window holds: frames, and runs of numbers that are not sent."""

from dataclasses import dataclass

from segdepth.results import Answer, Gap, GapReason


class Closed(Exception):
    """The stream ended before its source: the source need not go on."""


@dataclass(slots=True)
class Entry:
    """One frame, or a run of numbers that will not be sent."""

    first: int
    last: int
    head: bytes = b""
    pixels: bytes = b""
    gap: Gap | None = None

    @property
    def size(self) -> int:
        """Bytes that count against the credit: the pixels."""
        return len(self.pixels)

    @classmethod
    def missing(cls, first: int, last: int, reason: GapReason, detail: str = "") -> "Entry":
        """Numbers that will not be sent, and why."""
        return cls(first, last, gap=Gap(first, last, reason, detail))


@dataclass(slots=True)
class Load:
    """Frames and bytes of entries; gaps weigh nothing."""

    frames: int = 0
    bytes: int = 0

    def add(self, entry: Entry) -> None:
        """An entry comes."""
        if entry.gap is None:
            self.frames += 1
            self.bytes += entry.size

    def remove(self, entry: Entry) -> None:
        """An entry goes."""
        if entry.gap is None:
            self.frames -= 1
            self.bytes -= entry.size


def lost(entry: Entry, resume_after: int | None) -> Entry:
    """A frame that the server has answered up to there and will not answer again; any other as it is."""
    if entry.gap is not None or resume_after is None or entry.last > resume_after:
        return entry
    return Entry.missing(entry.first, entry.last, GapReason.LOST, "answered, but the answer did not arrive")


def append_gap(settled: list[Answer], gap: Gap) -> None:
    """Append a gap, or lengthen the last one if it goes on."""
    last = settled[-1] if settled else None
    if isinstance(last, Gap) and last.last + 1 == gap.first and (last.reason, last.detail) == (gap.reason, gap.detail):
        settled[-1] = Gap(last.first, gap.last, gap.reason, gap.detail)
    else:
        settled.append(gap)
