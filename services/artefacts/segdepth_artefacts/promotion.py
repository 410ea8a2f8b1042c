"""Whether a candidate may become stable: the one place that decides, from its report and its shadow."""

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from segdepth_artefacts.channels import STABLE
from segdepth_artefacts.manifest import Strict
from segdepth_artefacts.shadow import ShadowSummary
from segdepth_artefacts.store import ArtefactStore

Share = Annotated[float, Field(ge=0, le=1)]
"""A share of something, 0-1."""


class PromotionGates(Strict):
    """What a version must reach to be promoted. Beside these: accuracy that is not worse than stable's at any dose
    beyond the 95 % interval of their paired difference, and every gate of the model's own recipe.
    """

    max_ece: Share = Field(0.04, description="calibration error that no dose may exceed")
    max_ece_rise: Share = Field(0.01, description="how much larger than stable's it may be at any dose")
    min_specimens: NonNegativeInt = Field(20, description="specimens that the comparison with stable has at least")
    min_shadow_frames: NonNegativeInt = Field(
        0, description="frames compared in the shadow of stable; 0 = the shadow is not asked"
    )
    max_shadow_disagreement: Share = Field(
        0.10, description="share of the columns of which both are sure whose counts may differ, if the shadow is asked"
    )
    max_shadow_unmatched: Share = Field(
        0.10, description="share of columns that one of the two alone may find, if the shadow is asked"
    )
    max_shadow_verdicts: Share = Field(
        0.05, description="share of frames whose verdict may differ, if the shadow is asked"
    )


class _Read(BaseModel):
    """A part of a report. What else is there is not asked."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Difference(_Read):
    value: float
    low: float
    high: float


class _PairedDose(_Read):
    difference: _Difference
    ece: float
    ece_stable: float


class _Paired(_Read):
    stable: str
    specimens: int
    doses: dict[str, _PairedDose] = Field(min_length=1)


class _Figures(_Read):
    ece: float


class _Report(_Read):
    families: dict[str, dict[str, _Figures]] = {}
    missed: list[str] | None = None
    paired: _Paired | None = None


TOGETHER = "all"
"""The report's name for all kinds of specimens together."""

PAIR = "let a scheduled training run evaluate it against the present stable, or promote another version"


def refusals(report: dict[str, Any], shadow: ShadowSummary | None, gates: PromotionGates) -> list[str]:
    """Why the version may not be promoted, each with figure and bar; empty = it may be.

    `report` is its report.json, `shadow` what replicas saw of it in the shadow of the *present* stable, with no frames
    if they saw none; None where the family has no stable. NaN passes no gate.
    """
    try:
        read = _Report.model_validate(report)
    except ValidationError as error:
        places = ", ".join(sorted({".".join(map(str, one["loc"])) for one in error.errors()}))
        return [f"its report.json cannot be read at {places}; evaluate it with this version of SegDepth"]
    reasons = _own_gates(read) + _calibration(read, gates)
    if shadow is not None:
        reasons += _against(shadow.stable, read.paired, gates)
        reasons += _in_shadow(shadow, gates)
    return reasons


def _own_gates(report: _Report) -> list[str]:
    if report.missed is None:
        return ["its report does not say whether it reaches its recipe's own gates (no field `missed`)"]
    return [f"its recipe's own gate: {missed}" for missed in report.missed]


def _calibration(report: _Report, gates: PromotionGates) -> list[str]:
    measured = {dose: figures.ece for dose, figures in report.families.get(TOGETHER, {}).items()}
    if not measured:
        return ["its report has no calibration error (families.all)"]
    return [
        f"calibration error at {_dose(dose)} is {ece:.3f} > {gates.max_ece:g}"
        for dose, ece in measured.items()
        if not ece <= gates.max_ece
    ]


def _against(stable: str, paired: _Paired | None, gates: PromotionGates) -> list[str]:
    if paired is None:
        return [f"its report has no comparison with the present stable {stable} on the same frames; {PAIR}"]
    if paired.stable != stable:
        return [f"its report compares it with {paired.stable}, but stable is now {stable}; {PAIR}"]
    reasons = []
    if paired.specimens < gates.min_specimens:
        reasons.append(f"it was compared with {stable} on {paired.specimens} specimens < {gates.min_specimens}")
    for dose, pair in paired.doses.items():
        difference = pair.difference
        if not difference.high >= 0:
            reasons.append(
                f"accuracy at {_dose(dose)} is worse than {stable}'s: {difference.value:+.3f} "
                f"(95 % interval {difference.low:+.3f} to {difference.high:+.3f}, must reach 0)"
            )
        if not pair.ece <= gates.max_ece:
            reasons.append(
                f"calibration error on the frames shared at {_dose(dose)} is {pair.ece:.3f} > {gates.max_ece:g}"
            )
        rise = pair.ece - pair.ece_stable
        if not rise <= gates.max_ece_rise:
            reasons.append(
                f"calibration error at {_dose(dose)} is {rise:.3f} larger than {stable}'s {pair.ece_stable:.3f}, "
                f"permitted is {gates.max_ece_rise:g}"
            )
    return reasons


def _in_shadow(shadow: ShadowSummary, gates: PromotionGates) -> list[str]:
    if not gates.min_shadow_frames:
        return []
    total = shadow.total
    if total.frames < gates.min_shadow_frames:
        few = f"replicas compared {total.frames} frames of it with {shadow.stable} < {gates.min_shadow_frames}"
        way_out = "point the channel candidate at it, set SEGDEPTH_INFERENCE_SHADOW_SHARE above 0, and wait"
        return [f"{few}; {way_out}"]
    shares = (
        ("counts that differ where both are sure", total.disagreement, gates.max_shadow_disagreement),
        ("columns that one of the two alone finds", total.unmatched, gates.max_shadow_unmatched),
        ("frames with another verdict", total.verdicts, gates.max_shadow_verdicts),
    )
    return [
        f"{what} in the shadow of {shadow.stable}: {_percent(share)} > {bar:.1%}"
        for what, share, bar in shares
        if not share <= bar
    ]


def _percent(share: float) -> str:
    return "nothing to judge by" if math.isnan(share) else f"{share:.1%}"


def _dose(name: str) -> str:
    """A dose as reports name it, for people."""
    return name if name == "noise-free" else f"{name} e/Å²"


def examine(store: ArtefactStore, family: str, version: str, gates: PromotionGates) -> list[str]:
    """`refusals` of a version in the store, against the family's present stable, if that is another one.
    UnknownVersion, CorruptArtefact."""
    stable = store.channel(family, STABLE)
    if stable is not None and stable.version == version:
        stable = None  # It cannot be compared with itself.
    shadow = store.shadow(family, version, stable.version) if stable is not None else None
    report = store.report(family, version)
    if report is None:
        return ["it has no report.json; only segdepth-train makes versions that can be judged"]
    return refusals(report, shadow, gates)
