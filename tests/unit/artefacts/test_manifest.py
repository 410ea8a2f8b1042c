"""Numbers of a manifest that do not belong together are no manifest."""

from pathlib import Path

import pytest

from segdepth_artefacts.manifest import Manifest, Pooling
from tests.models import tiny_model


@pytest.mark.parametrize("changes", [{"dose": (500.0, 100.0)}, {"dose": (100.0,)}, {"correlation": (0.1, 1.5)}])
def test_a_correlation_belongs_to_each_of_ascending_doses(changes: dict[str, object]) -> None:
    numbers = {"prior": ((0.5, 0.5),), "dose": (100.0, 500.0), "correlation": (0.1, 0.3), "hop": 0.02}
    Pooling.model_validate(numbers)
    with pytest.raises(ValueError, match=r"dose|correlation"):
        Pooling.model_validate({**numbers, **changes})


def test_there_is_a_prior_of_each_species(tmp_path: Path) -> None:
    known = tiny_model(tmp_path).model_dump()
    assert Manifest.model_validate(known).species == ("Ce", "O")
    with pytest.raises(ValueError, match=r"pooling\.prior is of 2 species, the model of 1"):
        Manifest.model_validate({**known, "species": ("Au",)})
