"""Rules of the repository that neither ruff nor mypy knows."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = {".py", ".pyi", ".proto", ".toml", ".txt", ".md", ".yaml", ".yml", ".json", ".sh", ".cfg", ".html", ""}
LONGEST = 400
"""Lines of a source file."""
RELEASED = "training/released/"
"""Immutable: its manifest holds the sha256 of every file."""

ADDRESSES = re.compile(
    r"(?i)\b(index-url|find-links|extra-index|simple/?$|pypi\.\w+\.(?!org)|registry\.)[^\n]*https?://"
)
MACHINE_PATHS = re.compile(r"(?<![\w.:/-])/(?:root|home|work|Users|mnt|opt)/[\w.-]+")


def tracked() -> list[Path]:
    """Files that git knows and that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: nothing says which files belong to the repository")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> list[tuple[str, str]]:
    return [(str(path.relative_to(ROOT)), path.read_text()) for path in tracked() if path.suffix in TEXT]


def pyprojects() -> dict[str, dict[str, object]]:
    paths = [path for path in tracked() if path.name == "pyproject.toml" and path.parent != ROOT]
    return {str(path.parent.relative_to(ROOT)): tomllib.loads(path.read_text()) for path in paths}


def test_no_registry_address() -> None:
    found = [name for name, text in texts() if ADDRESSES.search(text)]
    assert not found


def test_constraints_pin_versions_and_nothing_else() -> None:
    pin = re.compile(r"[a-z0-9.-]+==[A-Za-z0-9.!+]+")
    wrong = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not pin.fullmatch(line)]
    assert not wrong


def test_no_path_of_a_machine() -> None:
    found = {name: match.group() for name, text in texts() if (match := MACHINE_PATHS.search(text))}
    assert not found


def test_one_version() -> None:
    versions = {folder: project["project"]["version"] for folder, project in pyprojects().items()}  # type: ignore[index]
    assert len(versions) >= 8
    assert len(set(versions.values())) == 1, versions


def test_every_dependency_is_pinned() -> None:
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    ours = {project["project"]["name"] for project in pyprojects().values()}  # type: ignore[index]
    missing = {
        name
        for project in pyprojects().values()
        for requirement in requirements(project)
        if (name := re.split(r"[^a-z0-9-]", requirement.lower().replace("_", "-"))[0]) not in pinned | ours
    }
    assert not missing, "run `make constraints`"


def requirements(project: dict[str, object]) -> list[str]:
    table = project["project"]
    assert isinstance(table, dict)
    extras = table.get("optional-dependencies", {}).values()
    return [*table.get("dependencies", []), *(requirement for extra in extras for requirement in extra)]


def test_every_package_is_typed() -> None:
    for folder, project in pyprojects().items():
        (package,) = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]  # type: ignore[index]
        assert (ROOT / folder / package / "py.typed").is_file(), folder


def test_files_are_small() -> None:
    generated = "protos/segdepth_protos/v1/"
    long = {
        name: lines
        for name, text in texts()
        if name.endswith(".py") and not name.startswith(generated) and (lines := text.count("\n")) > LONGEST
    }
    assert not long


def test_text_is_clean() -> None:
    """UTF-8 (read above), LF, ends with a line feed, no trailing blanks in code."""
    for name, text in texts():
        assert "\r" not in text, name
        if name.startswith(RELEASED):
            continue
        assert not text or text.endswith("\n"), name


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = listed.splitlines()
    assert {line.split()[0] for line in lines} == targets
    assert all(len(line.split()) > 2 for line in lines)
