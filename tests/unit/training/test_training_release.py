"""Calibration's temperature, the gates, and workspaces that keep to what they were begun with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segdepth_artefacts import open_store
from segdepth_artefacts.manifest import Cell, File, Known, SecondStage, TemperatureTable
from segdepth_training.fitting.calibrate import Sample, fitted_temperature, table
from segdepth_training.judging.figures import named
from segdepth_training.judging.release_gates import failures
from segdepth_training.recipes.recipe import Gates
from segdepth_training.recipes.seeds import SeedRange, run_seed
from segdepth_training.runs.release import GateRefused, release, write_card
from segdepth_training.runs.workspace import Workspace
from tests.models import tiny_model

RECIPES = Path(__file__).parents[3] / "training" / "recipes"
GATES = Gates(paper_accuracy={"500": 0.83}, ece=0.04)


def drawn(temperature: float, size: int = 40000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and classes drawn from their softmax at a temperature."""
    numbers = torch.Generator().manual_seed(2)
    logits = 3 * torch.randn(size, 11, generator=numbers)
    classes = torch.multinomial(torch.softmax(logits / temperature, 1), 1, generator=numbers)[:, 0]
    return logits, classes


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_known_temperature_is_recovered(temperature: float):
    assert fitted_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.03)


def test_table_has_a_node_for_each_dose_in_order():
    samples = [Sample(dose=[d, d], column=[drawn(t)]) for d, t in ((2000.0, 0.7), (100.0, 1.4))]
    found = table(samples, "column")
    assert found.dose == pytest.approx((100, 2000))
    assert found.temperature == pytest.approx((1.4, 0.7), rel=0.03)


def test_network_that_finds_nothing_cannot_be_calibrated():
    nothing = Sample(dose=[100.0], species=[(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))])
    with pytest.raises(ValueError, match="train it for longer"):
        table([nothing], "species")


def report(accuracy: float, ece: float) -> dict[str, Any]:
    figures = {"500": {"centre_class": {"value": accuracy}, "ece": ece}}
    return {"families": {"all": figures, "paper": figures}}


def test_gates_let_a_good_model_through():
    assert failures(report(0.83, 0.04), GATES) == []


@pytest.mark.parametrize("accuracy, ece, word", [(0.82, 0.01, "0.820 < 0.83"), (0.9, 0.05, "0.050 > 0.04")])
def test_gates_refuse_and_say_why(accuracy: float, ece: float, word: str):
    (reason,) = failures(report(accuracy, ece), GATES)
    assert word in reason
    assert "500 e/Å²" in reason


def test_no_figure_passes_no_gate():
    assert len(failures(report(float("nan"), float("nan")), GATES)) == 2
    assert "was not measured" in failures({"families": {"paper": {}}}, GATES)[0]


def test_refused_model_is_not_registered(tmp_path: Path):
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(GateRefused, match="not released"):
        release(tmp_path / "model", store, GATES, report(0.1, 0.5), principal="tests")
    assert store.families() == []


def test_workspace_remembers_its_recipe_and_run(tmp_path: Path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text((RECIPES / "smoke.toml").read_text())
    Workspace.open(tmp_path / "run", recipe, "a")
    assert Workspace.open(tmp_path / "run", None, None).run_id == "a"
    assert Workspace.open(tmp_path / "run", recipe, "a").recipe.family == "ceo2-110-smoke"
    with pytest.raises(ValueError, match="belongs to run a, not b"):
        Workspace.open(tmp_path / "run", None, "b")
    recipe.write_text(recipe.read_text().replace("steps = ", "steps = 1"))
    with pytest.raises(ValueError, match="another recipe"):
        Workspace.open(tmp_path / "run", recipe, None)


def test_workspace_needs_a_recipe_once(tmp_path: Path):
    with pytest.raises(ValueError, match="--recipe"):
        Workspace.open(tmp_path / "run", None, None)
    assert not (tmp_path / "run").exists()


def test_run_id_decides_the_training_specimens_alone(tmp_path: Path):
    first, second = (Workspace.open(tmp_path / name, RECIPES / "smoke.toml", name) for name in ("a", "b"))
    assert first.plan(SeedRange.TRAIN).digest != second.plan(SeedRange.TRAIN).digest
    for purpose in (SeedRange.CALIBRATION, SeedRange.BENCHMARK):
        assert first.plan(purpose).digest == second.plan(purpose).digest
    assert run_seed("a") == run_seed("a") != run_seed("b")
    assert run_seed("17") == 17
    assert np.iinfo(np.uint32).max >= run_seed("any name")


def test_a_card_names_the_species_that_the_model_knows(tmp_path: Path):
    share = {"value": 0.5, "low": 0.4, "high": 0.6}
    figures = dict.fromkeys(("centre_class", "exact", "within_1", "recall", "precision", "interval_covers"), share)
    for elements, sentence, row in (
        (("Au",), "probability for each count.\n", "| 0.500 | 0.500 | 0.500 | 0.500 | 0.030 | 0.500 |"),
        (("Ce", "O"), "probability for each count, and tells cerium from oxygen columns.\n", "| 0.030 | 0.500 |"),
    ):
        manifest = tiny_model(tmp_path, species=elements)
        manifest = manifest.model_copy(
            update={"recipe": {"train_specimens": 9, "training": {"start": None}, "specimens": {"tilt_deg": 0.7}}}
        )
        doses = {"500": {**figures, "columns": 7, "ece": 0.03, "by_species": dict.fromkeys(named(elements), figures)}}
        report = {"specimens": 3, "seed_range": "benchmark", "engine": "torch-fp32", "families": {"all": doses}}
        assert "Misses" not in write_card(tmp_path, manifest, report).read_text()
        report["missed"] = ["accuracy at 500 e/Å² is 0.6 < 0.8"]
        card = write_card(tmp_path, manifest, report).read_text()
        assert "\n- **Misses a gate of its recipe**: accuracy at 500 e/Å² is 0.6 < 0.8\n" in card
        assert sentence in card
        assert "simulated specimens\n- Evaluated" in card
        head, rule, *rows = (line for line in card.splitlines() if line.startswith("|"))
        assert head.count("|") == rule.count("|") == rows[0].count("|")
        assert rows[0].endswith(row)
        assert ("oxygen vacancy" in card) == ("O" in elements)


def test_a_card_says_of_two_stages_what_the_second_was_fitted_to_and_assumes(tmp_path: Path):
    """With known ranges and without: every word of the template has to be there to be said."""
    one = TemperatureTable(dose=(100.0,), temperature=(1.0,))
    cell = Cell(sides_A=(2.7, 2.7), sites=((0.0, 0.0, 0),))
    stage = {"specimens": 40, "frames": 6, "widened_share": 0.4, "contrast": [0.4, 1.05], "vibration_A": [0.0, 0.6]}
    manifest = tiny_model(tmp_path)
    file = File(sha256="a" * 64, size_bytes=4_600_000)
    training = {"train_specimens": 9, "training": {"start": None}, "specimens": {"tilt_deg": 0.7}}
    report = {"specimens": 3, "seed_range": "benchmark", "engine": "torch-fp32", "families": {}}
    for known, share, said in (
        (Known(), 0.4, "Assumes of the instrument: nothing\n"),
        (Known(contrast=(0.47, 0.53)), 0.0, "Assumes of the instrument: contrast 0.47 to 0.53\n"),
    ):
        second = SecondStage(cell=cell, known=known, on_lattice=one, off_lattice=one)
        files = {**manifest.files, "second-stage.safetensors": file}
        recipe = {**training, "second_stage": {**stage, "widened_share": share}}
        made = manifest.model_copy(update={"second_stage": second, "files": files, "recipe": recipe})
        card = write_card(tmp_path, made, report).read_text()
        assert said in card
        assert "4.6 MB; fitted to 240 frames of 40 specimens" in card
        assert ("0.4-1.05 of the simulated contrast" in card) == bool(share)
