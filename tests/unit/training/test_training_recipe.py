"""Recipes: what slips past a person's eye is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from segdepth_training.recipes.recipe import Crystal, Recipe, load_recipe
from segdepth_training.specimens.projection import project
from tests.unit.training.small import fields

RECIPES = Path(__file__).parents[3] / "training" / "recipes"


def toml(parts: dict[str, Any]) -> str:
    """TOML of a recipe's fields: scalars first, then one table a section, nested tables inline."""

    def value(item: Any) -> str:
        if isinstance(item, dict):
            return "{" + ", ".join(f"{k} = {value(v)}" for k, v in item.items()) + "}"
        return json.dumps(item).replace("Infinity", "inf")

    top = [f"{k} = {value(v)}" for k, v in parts.items() if not isinstance(v, dict)]
    for name, section in parts.items():
        if isinstance(section, dict):
            top += [f"[{name}]", *(f"{k} = {value(v)}" for k, v in section.items())]
    return "\n".join(top)


def test_a_family_may_be_an_instruments(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text(toml(fields(family="small@titan-2")))
    assert load_recipe(path).family == "small@titan-2"
    for wrong in ("small@", "@titan", "small@a@b", "small@a.b", "auto@titan"):
        path.write_text(toml(fields(family=wrong)))
        with pytest.raises(ValueError, match="- family: "):
            load_recipe(path)


@pytest.mark.parametrize("name, family", [("smoke", "ceo2-110-smoke"), ("ceo2-110", "ceo2-110"), ("au-110", "au-110")])
def test_shipped_recipes_load(name: str, family: str):
    assert load_recipe(RECIPES / f"{name}.toml").family == family


def test_the_network_tells_the_crystals_own_species():
    assert load_recipe(RECIPES / "au-110.toml").training.network["species"] == 1
    assert "species" not in load_recipe(RECIPES / "ceo2-110.toml").training.network


def test_small_recipe_round_trips(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text(toml(fields()))
    assert load_recipe(path).training.steps == 6


@pytest.mark.parametrize(
    "change, field, hint",
    [
        ({"microscope__defocus_A": [1, 9]}, "defocus_A", "nm"),
        ({"microscope__defocus_A": [-90, -10]}, "defocus_A", "overfocus is positive"),
        ({"microscope__defocus_A": [90, 10]}, "microscope.defocus_A", "lower bound"),
        ({"camera__dose": [0.2, 50]}, "dose", "per pixel"),
        ({"camera__dose": [2, 15]}, "dose", "per pixel"),
        ({"camera__samplings_A": [0.01, 0.02]}, "camera.samplings_A", "nm"),
        ({"camera__samplings_A": [6, 10]}, "camera.samplings_A", "pm"),
        ({"crystal__lattice_A": 0.54113}, "crystal.lattice_A", "nm"),
        ({"specimens__displacement_A": [0, 9]}, "specimens.displacement_A", "pm"),
        ({"microscope__focal_spread_A": [2, 4]}, "microscope.focal_spread_A", "nm"),
        ({"multislice__slice_A": 0.2}, "multislice.slice_A", "0.5"),
        ({"multislice__sampling_A": 0.01}, "multislice.sampling_A", "0.02"),
        ({"calibration__doses": [0.5, 20]}, "calibration.doses", "per pixel"),
        ({"calibration__doses": [5, 20]}, "calibration.doses", "per pixel"),
        ({"benchmark__doses": [5, 20]}, "benchmark.doses", "per pixel"),
        ({"training__easy_dose": 2}, "training.easy_dose", "camera.dose"),
        ({"gates__paper_accuracy": {"500": 0.8}}, "gates.paper_accuracy", "benchmark.doses (1000, noise-free)"),
        ({"gates__paper_accuracy": {"1000": 83}}, "gates.paper_accuracy.1000", "1"),
        ({"gates__ece": 4}, "gates.ece", "1"),
        ({"microscope__defocus_A": [1000, 9000]}, "microscope.defocus_A", "pm"),
        ({"microscope__defocus_A": [-90, 0]}, "microscope.defocus_A", "overfocus is positive"),
        ({"microscope__defocus_A": [10, 90], "microscope__c30_um": 1200}, "microscope.defocus_A", "some underfocus"),
        ({"microscope__c30_spread_um": 0.002}, "microscope.c30_spread_um", "mm"),
        ({"microscope__c30_spread_um": 20000}, "microscope.c30_spread_um", "Å"),
        (
            {"camera__dose": [1, 50], "training__easy_share": 0},
            "calibration.doses: 1000",
            "is one of them given per pixel",
        ),
        ({"camera__dose": [20, 500]}, "calibration.doses", "outside camera.dose (20-500)"),
        ({"camera__dose": [20, float("inf")]}, "camera.dose.1", "finite"),
        ({"specimens__displacement_A": [-0.05, 0.09]}, "specimens.displacement_A", "begins below 0"),
        ({"calibration__doses": []}, "calibration.doses", "at least 1"),
        ({"benchmark__specimens": 2}, "benchmark.specimens", "3"),
        ({"camera__read_noise": [0, 10]}, "camera.read_noise", "%"),
        ({"camera__contrast": [90, 105]}, "camera.contrast", "%"),
        ({"specimens__perturbed_columns": [2, 15]}, "specimens.perturbed_columns", "%"),
        ({"specimens__kinds": {"flat": 0}}, "specimens.kinds", "above 0"),
        ({"specimens__kinds": {"flat": -1, "smooth": 2}}, "specimens.kinds.flat", "0"),
        ({"specimens__kinds": {"flat": 1, "smooth": 0}}, "specimens.kinds", "some other kind"),
        ({"specimens__kinds": {"particle": 1}}, "specimens.kinds", "some of flat, sawtooth, stepped"),
        ({"specimens__atoms": [10, 3]}, "specimens.atoms", "lower bound"),
        ({"specimens__atoms": [0, 10]}, "specimens.atoms", "1"),
        ({"specimens__atoms": [3, 30]}, "specimens.atoms", "thick_atoms (20)"),
        ({"microscope__astigmatism_A": 0.6}, "microscope.astigmatism_A", "0 for none"),
        ({"microscope__coma_A": 30}, "microscope.coma_A", "nm"),
        ({"microscope__c30_um": -0.009}, "microscope.c30_um", "mm"),
        ({"microscope__c30_um": -90000}, "microscope.c30_um", "Å"),
        ({"microscope__c50_mm": 5000}, "microscope.c50_mm", "µm"),
        ({"microscope__focal_spread_A": [2000, 4000]}, "microscope.focal_spread_A", "pm"),
        ({"microscope__aperture_per_A": 20}, "microscope.aperture_per_A", "1/nm"),
        ({"microscope__energy_keV": 300000}, "microscope.energy_keV", "1000"),
        ({"specimens__displacement_A": [0, 0.009]}, "specimens.displacement_A", "nm"),
        ({"specimens__tilt_deg": 12}, "specimens.tilt_deg", "mrad"),
        ({"multislice__stored_sampling_A": 0.02}, "multislice.stored_sampling_A", "nm"),
        ({"multislice__stored_sampling_A": 0.09}, "multislice", "at least multislice.sampling_A (0.1)"),
        ({"camera__vibration_A": [0, 25]}, "camera.vibration_A", "pm"),
        ({"camera__drift_A": 0.03}, "camera.drift_A", "nm"),
        ({"camera__mtf_px": [0, 60]}, "camera.mtf_px", "µm"),
        ({"training__canonical_sampling_A": 0.02}, "training.canonical_sampling_A", "nm"),
        ({"training__disk_A": 0.06}, "training.disk_A", "nm"),
        ({"training__centre_A": 35}, "training.centre_A", "pm"),
        ({"crystal__lattice_A": 541.13}, "crystal.lattice_A", "pm"),
        ({"crystal__spacegroup": 62}, "crystal.spacegroup", "195"),
        ({"crystal__elements": ["Ce", "Ox"]}, "crystal", "symbols of elements"),
        ({"crystal__elements": ["O", "O"]}, "crystal", "each once"),
        ({"crystal__basis": [[0, 0, 0], [1.353, 1.353, 1.353]]}, "crystal", "given in Å?"),
        (
            {"training__network": {"widths": [8, 12], "decoder_blocks": [1], "species": 3}},
            "training.network.species",
            "leave it out",
        ),
        ({"family": "auto"}, "family", "take another name"),
        ({"specimens__cell_A": 1.6}, "cell_A", "3.2 Å"),
        ({"training__stpes": 4}, "training.stpes", "misspelt"),
        ({"camera__doses": [20, 5000]}, "camera.doses", "misspelt"),
        ({"training__field_px": 100}, "training.field_px", "frames below 20 Å are refused"),
        ({"training__field_px": 106}, "field_px", "multiple of 4"),
        ({"training__network": {"witdhs": [8, 12]}}, "network", "witdhs"),
        ({"training__network": {"widths": [8, 12], "decoder_blocks": [1, 1, 1]}}, "network", "cannot be built"),
        ({"training__network": {"widths": [8, -12], "decoder_blocks": [1]}}, "network", "cannot be built"),
    ],
)
def test_slip_is_refused_by_name(tmp_path: Path, change: dict[str, Any], field: str, hint: str):
    path = tmp_path / "recipe.toml"
    path.write_text(toml(fields(**change)))
    with pytest.raises(ValueError, match=r"recipe\.toml") as caught:
        load_recipe(path)
    assert field in str(caught.value)
    assert hint in str(caught.value)
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize("c30_um, defocus_A", [(1200, [-900, -500]), (-9, [-10, 90]), (0, [-90, -10])])
def test_defocus_that_balances_the_spherical_aberration_is_taken(c30_um: float, defocus_A: list[float]):
    parts = fields(microscope__c30_um=c30_um, microscope__defocus_A=defocus_A)
    assert Recipe.model_validate(parts).microscope.defocus_A == tuple(defocus_A)


@pytest.mark.parametrize(
    "axes",
    [
        [[0, 0, 0.5], [0.5, -0.5, 0], [0.5, 0.5, 0]],
        [[0, 0, 4.0786], [1.4, -1.4, 0], [1.4, 1.4, 0]],
        [[0, 0, 0], [0.5, -0.5, 0], [0.5, 0.5, 0]],
    ],
)
def test_axes_that_are_no_periods_of_the_crystal_make_no_other_crystal(axes: list[list[float]]):
    """Half of gold's [001] as a side is a simple lattice of as many atoms, and given in Å it is any."""
    gold = load_recipe(RECIPES / "au-110.toml").crystal
    assert project(gold).nearest_A == pytest.approx(gold.lattice_A * 6**0.5 / 4)
    other = Crystal.model_validate({**gold.model_dump(), "axes": axes})
    with pytest.raises(ValueError, match=r"is no period of the crystal; axes are in units of the cell"):
        project(other)


def test_missing_field_is_named(tmp_path: Path):
    parts = fields()
    del parts["training"]["steps"]
    path = tmp_path / "recipe.toml"
    path.write_text(toml(parts))
    with pytest.raises(ValueError, match=r"training\.steps: missing"):
        load_recipe(path)


def test_not_toml(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text("family: ceo2")
    with pytest.raises(ValueError, match="not TOML"):
        load_recipe(path)


def test_reading_a_recipe_draws_no_random_number():
    before = torch.get_rng_state()
    load_recipe(RECIPES / "smoke.toml")
    assert torch.equal(before, torch.get_rng_state())
