"""The runbook names what there is: components, values, objects, commands."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from tests.chart.helm import CHART
from tests.chart.manifests import pods
from tests.chart.policy import Manifest
from tools.chart.values import ChartValues

Render = Callable[[str], list[Manifest]]
TEXT = (CHART.parents[1] / "docs" / "runbook.md").read_text()
GROUPS = "|".join(field.alias or name for name, field in ChartValues.model_fields.items())
VALUES = sorted(set(re.findall(rf"`((?:{GROUPS})\.[\w.]*\w)", TEXT)))


@pytest.mark.parametrize("value", VALUES)
def test_values_are_values(value: str) -> None:
    model: Any = ChartValues
    for part in value.split("."):
        assert isinstance(model, type), value
        assert issubclass(model, BaseModel), value
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        assert part in fields, value
        model = fields[part].annotation


def test_the_runbook_speaks_of_values() -> None:
    assert "inference.settings.max_replicas" in VALUES
    assert len(VALUES) > 15


def test_components_are_labels_of_pods(render: Render) -> None:
    there = {pod.component for pod in pods(render("default"))}
    asked = set(re.findall(r"app\.kubernetes\.io/component=([\w-]+)", TEXT))
    assert len(asked) >= 6
    assert asked <= there


def test_objects_are_the_charts(render: Render) -> None:
    """Of a release named segdepth, as the runbook says."""
    ours = {(manifest["kind"].lower(), manifest["metadata"]["name"]) for manifest in render("default")}
    asked = set(re.findall(r"\b(service|secret|deployment|statefulset|cronjob|rayservice)[/ ](segdepth[\w-]*)", TEXT))
    assert len(asked) >= 6
    for kind, name in asked:
        assert (kind, name.replace("segdepth", "rel-segdepth", 1)) in ours, f"{kind}/{name}"


def test_links_lead_somewhere() -> None:
    anchors = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", TEXT, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
