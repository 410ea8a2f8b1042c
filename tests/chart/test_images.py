"""The Dockerfiles: what hadolint says, who the images run as, and that their versions are the repository's."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.chart.helm import CHART
from tools.install import PACKAGES

ROOT = CHART.parents[1]
DOCKERFILES = sorted((ROOT / "k8s" / "images").glob("*.Dockerfile"))
HADOLINT = Path(sys.executable).with_name("hadolint")


def stages(dockerfile: Path) -> dict[str, str]:
    """Text of each stage by its name; the last one of a file without names is ''."""
    parts = re.split(r"^FROM (.+)$", dockerfile.read_text(), flags=re.MULTILINE)
    return {[*head.split(" AS "), ""][1]: body for head, body in zip(parts[1::2], parts[2::2], strict=True)}


def test_there_are_dockerfiles() -> None:
    assert [path.name for path in DOCKERFILES] == ["ray-torch.Dockerfile", "segdepth.Dockerfile"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint(dockerfile: Path) -> None:
    if not HADOLINT.exists():
        pytest.skip("no hadolint for this machine")
    done = subprocess.run([HADOLINT, "--no-color", dockerfile], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert done.stdout == ""


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_shipped_runs_as_nobody_special(dockerfile: Path) -> None:
    """The number that the chart's pods run as; a name could not be checked by the kubelet."""
    for name, body in stages(dockerfile).items():
        if name != "wheels":
            assert re.findall(r"^USER (.+)$", body, re.MULTILINE)[-1] == "1000:1000", name


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_packages_are_pinned(dockerfile: Path) -> None:
    """Every pip install says --constraint, no image is `latest`, no syntax line asks for an image of its own."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    installs = re.findall(r"pip install[^&\n]*", text)
    assert installs
    assert all("--constraint" in install for install in installs)
    assert ":latest" not in text
    assert "# syntax=" not in dockerfile.read_text()


def test_ray_is_one_version() -> None:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert yaml.safe_load((CHART / "values.yaml").read_text())["rayVersion"] == pinned[1]
    assert f"ray-torch:{pinned[1]}" in (ROOT / "k8s/images/segdepth.Dockerfile").read_text()


def test_every_image_of_the_values_is_built() -> None:
    images = yaml.safe_load((CHART / "values.yaml").read_text())["images"]
    ours = {name for name, image in images.items() if isinstance(image, dict) and "segdepth/" in image["repository"]}
    assert ours == set(stages(ROOT / "k8s/images/segdepth.Dockerfile")) - {"wheels"}


def test_every_package_is_in_an_image() -> None:
    """A new package is forgotten in a Dockerfile before it is missed."""
    text = (ROOT / "k8s/images/segdepth.Dockerfile").read_text()
    for package in PACKAGES:
        assert f"./{package.partition('[')[0]}" in text, package


def test_an_image_has_what_its_packages_stand_on() -> None:
    """A wheel whose own requirement is missing would be looked for in a registry, which has none of ours."""
    projects = [tomllib.loads((ROOT / name.partition("[")[0] / "pyproject.toml").read_text()) for name in PACKAGES]
    needs = {
        project["project"]["name"]: {re.split(r"[^a-z-]", one)[0] for one in project["project"]["dependencies"]}
        for project in projects
    }
    for target, body in stages(ROOT / "k8s/images/segdepth.Dockerfile").items():
        installed = {name.replace("_", "-") for name in re.findall(r"/wheels/(segdepth[a-z_]*)-", body)}
        missing = {one for name in installed for one in needs[name] & needs.keys()} - installed
        assert not missing, target
