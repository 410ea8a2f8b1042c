"""docs/frames.md names every check with the ranges that the released model asks for."""

import re
from pathlib import Path

from segdepth.detector.profile import SECTION
from segdepth_artefacts.manifest import Manifest, Range
from segdepth_core.conditions import CHECKS as ASSUMED
from segdepth_core.domain import DEFAULT_CHECKS
from tests.models import released_model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "frames.md").read_text()

COUNTED = {"pixels", "family"}
"""Checks of yes or no, without a range of their own."""


def said(lower: float | None, upper: float | None, unit: str) -> str:
    if lower is None and upper is None:
        return "-"
    if lower is None:
        text = f"up to {upper:.4g}"
    else:
        text = f"from {lower:.4g}" if upper is None else f"{lower:.4g} to {upper:.4g}"
    return f"{text} {unit}".rstrip()


def ranges(permitted: Range) -> list[str]:
    """What is ok, and what is answered."""
    ok_lower = permitted.lower if permitted.ok_lower is None else permitted.ok_lower
    ok_upper = permitted.upper if permitted.ok_upper is None else permitted.ok_upper
    return [said(ok_lower, ok_upper, permitted.unit), said(permitted.lower, permitted.upper, permitted.unit)]


def rows(heading: str) -> dict[str, list[str]]:
    """Cells of a table that begins with that heading, by their first."""
    lines = PAGE.split(f"| {heading} |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first.strip("`"): rest for first, *rest in cells}


def test_every_check_has_its_range():
    manifest = Manifest.model_validate_json((released_model() / "manifest.json").read_text())
    asked = DEFAULT_CHECKS | manifest.domain.checks
    table = rows("check")
    assert set(table) == set(asked) | COUNTED | {name for name, _ in ASSUMED.values()}
    for name, permitted in asked.items():
        assert table[name][:2] == ranges(permitted), name


def test_every_check_has_its_remedy():
    remedies = PAGE.split("## What to do")[1].split("\n## ")[0]
    starts = re.findall(r"^- (\*\*.*?):", remedies, re.M)
    named = {name for start in starts for name in re.findall(r"\*\*(\w[\w ]*)\*\*", start)}
    assert named == set(rows("check"))


def test_every_key_of_a_detectors_profile_is_explained():
    example = (ROOT / "docs" / "examples" / "detector.toml").read_text().split(f"[{SECTION}]")[1]
    keys = set(re.findall(r"^#? ?(\w+) = ", example, re.M))
    assert keys == set(rows("key of `[camera]`"))
