"""Recipes: what slips past a person's eye is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from segdepth_training.recipe import load_recipe
from tests.unit.training.small import fields

RECIPES = Path(__file__).parents[3] / "training" / "recipes"


def toml(parts: dict[str, Any]) -> str:
    """TOML of a recipe's fields: scalars first, then one table a section, nested tables inline."""

    def value(item: Any) -> str:
        if isinstance(item, dict):
            return "{" + ", ".join(f"{k} = {value(v)}" for k, v in item.items()) + "}"
        return json.dumps(item)

    top = [f"{k} = {value(v)}" for k, v in parts.items() if not isinstance(v, dict)]
    for name, section in parts.items():
        if isinstance(section, dict):
            top += [f"[{name}]", *(f"{k} = {value(v)}" for k, v in section.items())]
    return "\n".join(top)


@pytest.mark.parametrize("name", ["smoke", "ceo2-110"])
def test_shipped_recipes_load(name: str):
    assert load_recipe(RECIPES / f"{name}.toml").family.startswith("ceo2-110")


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
        ({"specimens__cell_A": 1.6}, "cell_A", "3.2 Å"),
        ({"training__stpes": 4}, "training.stpes", "misspelt"),
        ({"camera__doses": [20, 5000]}, "camera.doses", "misspelt"),
        ({"training__field_px": 66}, "field_px", "multiple of 4"),
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
