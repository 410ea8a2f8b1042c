"""Slips in a TOML file, in words: which file, which section and field, and what would be right."""

import tomllib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def parsed(model: type[Model], text: str, name: str) -> Model:
    """A model from TOML; `name` says in errors where that is. Raises ValueError that names every wrong field."""
    try:
        return model.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name}: not TOML: {error}") from error
    except ValidationError as error:
        raise ValueError(f"{name}:\n{in_words(error, model.__name__.lower())}") from error


def in_words(error: ValidationError, whole: str, sections: Mapping[str, str] | None = None) -> str:
    """Every fault as a line `- section.field: what is wrong`.

    `whole` names what has a fault that is no field's; `sections` what the reader calls a section otherwise.
    """
    lines = []
    for fault in error.errors():
        section, *fields = map(str, fault["loc"] or (whole,))
        lines.append(f"- {'.'.join([(sections or {}).get(section, section), *fields])}: {_wrong(fault)}")
    return "\n".join(lines)


def _wrong(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return "no such field; misspelt?"
    if fault["type"] == "missing":
        return "missing"
    return str(fault["msg"]).removeprefix("Value error, ")
