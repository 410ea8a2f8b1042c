"""Why frames were refused or suspect, in a few lines: by check and verdict, with the range of what was measured."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from segdepth.lattice import CORRECTION_MAX
from segdepth.results import Answer, Check, FrameResult, Gap, Status

SHOWN = 6
"""Lines of a report; the rest is in summary.json."""

LATTICE = "lattice"

MEASURED = {
    "sampling": "pixel size {}",
    "field": "shorter side of the field {}",
    "recorded": "only {} of the pixels recorded, the rest constant or no number",
    "replaced": "{} of the pixels hot, dead or no number",
    "saturation": "{} of the pixels saturated",
    "clipping": "{} of the pixels clipped at black",
    "noise": "at the finest detail as little noise as {} have: smoothed, denoised, averaged or simulated",
    "smoothing": "noise spread over {}, as by smoothing, denoising or resampling",
    "black": "no electrons at {}: a dark image not subtracted, or a contrast stretch",
    "snr": "dose {}",
    "contrast": "contrast {}",
    "instrument contrast": "contrast of the instrument {}, which the model does not assume",
    "vibration": "blur of {}, which the model does not assume",
    "defocus": "defocus of {}, which the model does not assume",
    "inverted": "contrast that looks inverted, probability {}",
    "foreign": "unlike what the model was made for (another crystal or zone axis, tilt, defocus), log odds {}",
}
"""What a check says in a few words; of the others the first frame's message is shown, too."""

SHARES = ("recorded", "replaced", "saturation", "clipping")
"""Checks of a share of the pixels, which is said in %."""

SAID_IN_WORDS = (LATTICE, "pixels", "columns", "family")
"""Checks whose value says little: of no lattice, of an empty frame, of a choice between families."""


@dataclass
class Group:
    """Frames of which the same check said the same."""

    first: Check
    low: float
    high: float
    bounds: tuple[float | None, float | None]
    frames: int = 0

    @classmethod
    def of(cls, check: Check) -> "Group":
        """A group that begins with a check."""
        return cls(check, check.value, check.value, check.bounds)

    @property
    def status(self) -> Status:
        """The same of all."""
        return self.first.status

    def add(self, check: Check) -> None:
        """One more frame. Of ranges that differ, as where a frame tells its own error, the narrowest is kept."""
        self.frames += 1
        self.low, self.high = min(self.low, check.value), max(self.high, check.value)
        (lower, upper), (low, high) = self.bounds, check.bounds
        self.bounds = (
            None if lower is None or low is None else max(lower, low),
            None if upper is None or high is None else min(upper, high),
        )


class Reasons:
    """Collects what answers and gaps say; its memory grows with the kinds of trouble, not with the frames."""

    def __init__(self) -> None:
        self._groups: dict[tuple[object, ...], Group] = {}
        self._gaps: Counter[str] = Counter()
        self._details: dict[str, str] = {}

    def of(self, answer: Answer) -> None:
        """An answer, or frames without one."""
        if isinstance(answer, Gap):
            self.add_gap(answer)
        else:
            self.add(answer)

    def add(self, result: FrameResult) -> None:
        """An answer: the checks that decided its verdict."""
        verdict = result.domain
        if verdict.status is Status.OK:
            return
        for check in verdict.checks:
            if check.status is verdict.status:
                self._groups.setdefault(_kind(check), Group.of(check)).add(check)

    def add_gap(self, gap: Gap) -> None:
        """Frames without an answer."""
        self._gaps[gap.reason.value] += len(gap)
        self._details.setdefault(gap.reason.value, gap.detail)

    def lines(self, total: int) -> Iterator[str]:
        """A line for each kind of trouble among `total` frames, the worst and most frequent first."""
        groups = sorted(self._groups.values(), key=lambda group: (group.status is not Status.REFUSED, -group.frames))
        for group in groups[:SHOWN]:
            yield f"{group.frames} of {total} {group.status.value}: {_said(group)}"
        if len(groups) > SHOWN:
            yield f"and {len(groups) - SHOWN} other reasons; summary.json has those of each frame"
        for reason, frames in self._gaps.most_common():
            if self._details[reason]:
                yield f"{frames} of {total} {reason}, the first: {self._details[reason]}"


def _kind(check: Check) -> tuple[object, ...]:
    """What checks of one group have in common. A lattice that is too large is no lattice that is too small."""
    side = (check.value > 1, check.value > 0) if check.name == LATTICE else ()
    return (check.status, check.name, math.isfinite(check.value), *side)


def _said(group: Group) -> str:
    check = group.first
    message = check.message.removeprefix(f"{check.name}: ")
    if check.name == LATTICE and check.value > 0:
        return _lattice(group, message)
    told = group.bounds != (None, None) and math.isfinite(group.low) and check.name not in SAID_IN_WORDS
    if told and check.name in MEASURED:
        return f"{MEASURED[check.name].format(_measured(group))} ({_permitted(group)})"
    if not told:
        return f"{check.name}, the first: {message or 'not measured'}"
    measured = f"{check.name} {_measured(group)} ({_permitted(group)})"
    return f"{measured}, the first: {message}" if message else measured


def _lattice(group: Group, message: str) -> str:
    """A ratio of pixel sizes, as what the stated one is off."""
    side = "small" if group.low > 1 else "large"
    least, most = sorted((abs(group.low - 1), abs(group.high - 1)))
    said = f"pixel size {_range(least, most, 100)} % too {side} by the crystal's own lattice ({_permitted(group, 1)})"
    if most <= CORRECTION_MAX:
        return f"{said}; --sampling auto-lattice corrects it"
    # Beyond that it may be another crystal, and the service says which readings there are.
    return f"{said}, the first: {message}"


def _measured(group: Group) -> str:
    if group.first.name in SHARES:
        return f"{_range(group.low, group.high, 100)} %"
    return f"{_range(group.low, group.high)} {group.first.unit}".rstrip()


def _permitted(group: Group, ideal: float | None = None) -> str:
    """The range that would have been right.

    `ideal`: the bounds as what they are off it, in %.
    """
    check = group.first
    percent = ideal is not None or check.name in SHARES
    factor, unit = (100.0, "%") if percent else (1.0, check.unit)
    bounds = [None if bound is None else bound - (ideal or 0.0) for bound in group.bounds]
    low, high = (None if bound is None else f"{factor * bound:.4g}" for bound in bounds)
    if low is not None and high is not None:
        symmetric = ideal is not None and low == f"-{high}"
        words = f"permitted up to {high}" if symmetric else f"permitted {low} to {high}"
    elif high is not None:
        words = f"permitted up to {high}"
    else:
        words = f"permitted from {low}"
    return f"{words} {unit}".rstrip()


def _range(low: float, high: float, factor: float = 1.0) -> str:
    """Both ends, or one number where they print alike."""
    first, last = (f"{factor * value:.3g}" for value in (low, high))
    if first == last:
        return first
    return f"{first} to {last}" if low < 0 else f"{first}-{last}"
