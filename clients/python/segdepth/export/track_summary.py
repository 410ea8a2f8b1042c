"""tracks.json: how a movie was tracked, and what became of it in numbers."""

import json
from typing import Any


def summary(about: dict[str, Any]) -> bytes:
    """As JSON, a line for each field and for each entry of its lists."""
    lines = ",\n".join(f"{_dumps(name)}: {_field(value)}" for name, value in about.items())
    return f"{{\n{lines}\n}}\n".encode()


def _field(value: Any) -> str:
    if isinstance(value, list) and value:
        entries = ",\n  ".join(_dumps(one) for one in value)
        return f"[\n  {entries}\n]"
    return _dumps(value)


def _dumps(value: Any) -> str:
    # What is left to `float` are numpy's numbers, in which settings may be given.
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=float)
