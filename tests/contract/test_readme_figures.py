"""The README says of the released model what its benchmark's report says."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
RELEASED = ROOT / "training" / "released"
FAMILIES = ("paper", "perturbed", "particle")


def test_the_table_is_quoted_from_the_report_on_the_stable_model():
    report = (RELEASED / "benchmark" / "ceo2-110" / "benchmark.md").read_text()
    readme = (ROOT / "README.md").read_text().splitlines()
    quoted = [line for line in readme if line.startswith(tuple(f"| {family} |" for family in FAMILIES))]
    assert {line.split("|")[1].strip() for line in quoted} == set(FAMILIES)
    assert len(quoted) >= 5 * len(FAMILIES)
    assert set(quoted) <= set(report.splitlines())
    heading = next(line for line in readme if line.startswith("| specimens |"))
    assert heading in report.splitlines()
    stable = json.loads((RELEASED / "channels" / "ceo2-110" / "stable.json").read_text())["version"]
    assert report.startswith(f"# Benchmark ceo2-110: ceo2-110 {stable}\n")
