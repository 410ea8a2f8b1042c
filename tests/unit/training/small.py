"""A recipe small enough to simulate and train within a test, and real exit waves for it."""

import copy
from pathlib import Path
from typing import Any

from segdepth_training.frames.exit_waves import Plan, compute, prepare_store
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.recipe import Recipe

SMALL: dict[str, Any] = {
    "family": "small",
    "description": "for tests",
    "train_specimens": 3,
    "crystal": {
        "elements": ["Ce", "O"],
        "basis": [[0.0, 0.0, 0.0], [0.25, 0.25, 0.25]],
        "spacegroup": 225,
        "lattice_A": 5.4113,
        "axes": [[0.0, 0.0, 1.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0]],
    },
    "specimens": {"cell_A": 24.0, "kinds": {"flat": 0.5, "stepped": 0.3, "particle": 0.2}, "thick_share": 0.0},
    "camera": {"samplings_A": [0.1, 0.2]},
    "training": {
        "field_px": 104,
        "steps": 6,
        "frames": 2,
        "checkpoint_every": 4,
        "workers": 0,
        "network": {"widths": [8, 12], "decoder_blocks": [1]},
    },
    "calibration": {"specimens": 3, "doses": [1000, "noise-free"]},
    "benchmark": {"specimens": 3, "doses": [1000, "noise-free"]},
}


def fields(**changes: Any) -> dict[str, Any]:
    """The small recipe with changes, each as section__field=value or field=value."""
    parts = copy.deepcopy(SMALL)
    for name, value in changes.items():
        section, _, field = name.partition("__")
        if field:
            parts.setdefault(section, {})[field] = value
        else:
            parts[section] = value
    return parts


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate(fields(**changes))


def filled(where: Path | Storage, plan: Plan) -> Storage:
    """A store with every exit wave of a plan, computed here."""
    storage = Storage.at(where)
    prepare_store(storage, plan)
    compute(storage, plan, list(range(plan.specimens)))
    return storage
