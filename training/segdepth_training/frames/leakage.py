"""No specimen may be in two stores of a run: what a model was trained on says nothing about what it can do.

Seed ranges and held-out orientations keep them apart; this looks at what is really there, whatever brought it there.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segdepth_training.machine.storage import Storage

STEP_A = 0.01
"""Positions that agree to this [Å] are the same."""

SHOWN = 5


def fingerprint(columns: NDArray[np.float32]) -> str:
    """Of a specimen's columns [n, 5] (`Specimen.columns`), in any order: positions to STEP_A, counts and species."""
    rows = np.round(columns[:, :4] / [STEP_A, STEP_A, 1, 1]).astype(np.int64)
    return hashlib.sha256(rows[np.lexsort(rows.T)].tobytes()).hexdigest()


def fingerprints(storage: Storage) -> dict[str, int]:
    """The index of each specimen in a store by its fingerprint. No store, no entry.

    Specimens without columns have none, and those whose columns are no numbers: whoever loads them says so.
    """
    try:
        group: Any = zarr.open_group(storage.arrays(), mode="r")
    except FileNotFoundError:
        return {}
    if "digest" not in group.attrs:
        return {}
    number = np.asarray(group["facts"][:])[:, 0]
    found = {}
    for start in range(0, len(number), 256):
        part = np.asarray(group["columns"][start : start + 256])
        for index, columns in enumerate(part, start):
            rows = columns[: number[index]]
            if number[index] > 0 and np.isfinite(rows[:, :4]).all():
                found[fingerprint(rows)] = index
    return found


def refuse_shared(stores: Mapping[str, Storage]) -> None:
    """Raise ValueError, with their indices, where two of the stores (by purpose) hold the same specimen."""
    seen: dict[str, dict[str, int]] = {}
    for purpose, storage in stores.items():
        ours = fingerprints(storage)
        for other, theirs in seen.items():
            shared = sorted((ours[key], theirs[key]) for key in ours.keys() & theirs.keys())
            if shared:
                some = ", ".join(f"{our} is {other} {their}" for our, their in shared[:SHOWN])
                raise ValueError(
                    f"{storage}: {len(shared)} specimens of {purpose} are {other} specimens too ({purpose} {some}"
                    f"{', ...' if len(shared) > SHOWN else ''}); delete this store and run segdepth-train simulate"
                )
        seen[purpose] = ours
