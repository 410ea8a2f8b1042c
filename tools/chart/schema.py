"""Write helm/segdepth/values.schema.json from the models of the values.

python -m tools.chart.schema
"""

import json
from pathlib import Path
from typing import Any

from tools.chart.values import ChartValues

FILE = Path(__file__).parents[2] / "helm" / "segdepth" / "values.schema.json"
DRAFT = "http://json-schema.org/draft-07/schema#"


def schema() -> dict[str, Any]:
    """The JSON schema (draft 7) of the chart's values."""
    generated = ChartValues.model_json_schema(ref_template="#/definitions/{model}")
    definitions = generated.pop("$defs")
    return {"$schema": DRAFT, **_untitled(generated), "definitions": _untitled(definitions)}


def _untitled(node: Any) -> Any:
    """`node` without the titles that pydantic makes of names."""
    if isinstance(node, list):
        return [_untitled(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {name: _untitled(value) for name, value in node.items() if not (name == "title" and isinstance(value, str))}


def text() -> str:
    """What the file holds."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
