"""CONTRIBUTING's map is of this tree: what it names is there, and what is there it names."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
LISTED = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]+|protos|training)`", PAGE))
"""Paths in backticks."""


def rows(heading: str) -> list[list[str]]:
    """Cells of the tables of a section."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|") and not set(line) <= set("|- ")
    ]


def test_what_is_named_is_there() -> None:
    assert len(LISTED) > 40
    assert not {name for name in LISTED if not (ROOT / name).exists()}


def test_no_package_is_missing() -> None:
    packages = {}
    for path in ROOT.glob("*/**/pyproject.toml"):
        if not {".venv", "out"} & set(path.relative_to(ROOT).parts):
            (name,) = tomllib.loads(path.read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
            packages[str(path.parent.relative_to(ROOT))] = name
    table = {cells[0].strip("`"): cells[1].strip("`") for cells in rows("Where things live") if len(cells) == 4}
    table.pop("folder")
    assert table == packages


def test_no_floor_of_training_is_missing() -> None:
    package = ROOT / "training" / "segdepth_training"
    floors = {path.parent.name for path in package.glob("*/__init__.py")} | {"command.py"}
    named = [Path(cells[0].strip("`")).name for cells in rows("Where things live") if len(cells) == 2][1:]
    assert set(named) == floors
    linted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in linted if one.get("containers") == ["segdepth_training"])
    assert [name.removesuffix(".py") for name in named] == layers, (
        "the table is in the order that import-linter enforces"
    )


def test_a_dozen_behaviours_have_their_file() -> None:
    behaviours = [cells[0] for cells in rows("Where is ...?")[1:]]
    for behaviour in (
        *("abstention", "90 % interval", "credit", "drain on SIGTERM", "retry policy", "compare-and-swap"),
        *("promotion gates", "scoring", "demo's movie", "replicas in the chart", "decoding", "choice of an engine"),
    ):
        assert any(behaviour in one for one in behaviours), behaviour
