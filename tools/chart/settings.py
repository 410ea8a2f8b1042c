"""The part of each settings model that an operator sets in the chart.

What the chart itself decides is left out: where a process listens, the files that it mounts, addresses of its own
services, secrets. A value of such a name is refused by the schema, as any unknown one is.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, create_model
from pydantic_settings import BaseSettings


class Values(BaseModel):
    """A group of values. A name that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def operators_part(settings: type[BaseSettings], chart_decides: set[str]) -> type[Values]:
    """A model of the fields of `settings` that are not in `chart_decides`, with their bounds, defaults and words.

    ValueError if `chart_decides` names a field that the settings do not have.
    """
    unknown = chart_decides - settings.model_fields.keys()
    if unknown:
        raise ValueError(f"{settings.__name__} has no {', '.join(sorted(unknown))}")
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in settings.model_fields.items() if name not in chart_decides
    }
    return create_model(f"{settings.__name__}Values", __base__=Values, __doc__=settings.__doc__, **fields)
