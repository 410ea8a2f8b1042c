"""The benchmark by the command line, as small as it goes: regenerated, answered, reported, and gone on with."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from segdepth_training.benchmark.probes import Probes
from tests.e2e.training.drivers import COMMAND, RECIPE

RELEASED = Path(__file__).parents[3] / "training" / "released"
MODELS = RELEASED / "models" / "ceo2-110"


def bench(work: Path, probes: Path, *words: str) -> subprocess.CompletedProcess[str]:
    given = ["--recipe", RECIPE, "--work", work, "--size", "small", "--probes", probes]
    given += ["--baselines", probes.parent / "baselines"]
    models = [word for folder in sorted(MODELS.iterdir())[-1:] for word in ("--model", folder)]
    command = [str(word) for word in (COMMAND, "bench", *given, *models, *words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=1200)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    # The same crystal under another name: the library holds for it, too.
    shutil.copytree(RELEASED / "baselines" / "ceo2-110", folder / "baselines" / "ceo2-110-smoke")
    done = bench(folder / "work", folder / "probes.json")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_report_has_every_family_dose_and_shift(work: Path):
    report = json.loads((work / "work" / "benchmark.json").read_text())
    figures, mixture, *_ = report["contenders"].values()
    assert set(figures) == {"all", "paper", "perturbed", "particle"}
    assert list(figures["paper"]) == ["50", "100", "200", "500", "1000", "2000", "5000", "noise-free"]
    assert figures["perturbed"]["noise-free"]["exact"]["value"] > figures["perturbed"]["50"]["exact"]["value"]
    assert mixture["paper"]["noise-free"]["recall"]["value"] == 1
    assert [report["model"], *report["against"]] == list(report["contenders"])
    assert len(report["shifts"]) > 15
    assert report["shifts"]["gold-110"]["2000"]["refused"] > 0
    for family in ("paper", "perturbed", "particle"):
        assert report["bound"][family]["2000"]["all"]["columns"] >= 1
    page = (work / "work" / "benchmark.md").read_text()
    assert "Outside its domain" in page
    pooled = page.partition("## Movies")[2].partition("\n## ")[0]
    assert re.findall(r"^\| (\w+) \| \d.*\|$", pooled, re.MULTILINE) == ["paper", "perturbed", "particle"]
    for picture in re.findall(r"\(([a-z]+\.(?:png|jpg))\)", page):
        assert (work / "work" / picture).stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_killed_run_goes_on_with_the_same_figures(work: Path):
    report = work / "work" / "benchmark.json"
    before = report.read_text()
    answers = sorted((work / "work" / "answers").rglob("*.npz"))
    kept = {path: path.stat().st_mtime_ns for path in answers[1:]}
    rows = np.load(answers[0])["columns"]
    answers[0].unlink()
    done = bench(work / "work", work / "probes.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (np.load(answers[0])["columns"] == rows)[rows["found"]].all()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert report.read_text() == before


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_another_benchmark_is_noticed(work: Path):
    probes = Probes.model_validate_json((work / "probes.json").read_text())
    shifted = {index: tuple(value + 0.05 for value in values) for index, values in probes.intensities.items()}
    (work / "others.json").write_text(probes.model_copy(update={"intensities": shifted}).model_dump_json())
    done = bench(work / "work", work / "others.json")
    assert done.returncode == 2
    assert "differ by 0.05" in done.stderr
    (work / "older.json").write_text(probes.model_copy(update={"digest": "0" * 64}).model_dump_json())
    done = bench(work / "work", work / "older.json")
    assert done.returncode == 2
    assert "cannot be compared" in " ".join(done.stderr.split())


def test_a_size_that_does_not_exist(tmp_path: Path):
    done = bench(tmp_path, tmp_path / "probes.json", "--size", "huge")
    assert done.returncode == 2
    assert "small" in done.stderr
