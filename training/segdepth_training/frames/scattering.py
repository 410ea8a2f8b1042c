"""Electron scattering factors of the elements in Kirkland's parametrisation.

E. J. Kirkland, Advanced Computing in Electron Microscopy, 3rd ed. (2020), doi 10.1007/978-3-030-33260-0, appendix on
atomic potentials. `kirkland.csv` has its table for H to Lr: a [1/Å], b [1/Å²], c [Å], d [Å²], three of each.
"""

import csv
from functools import cache
from pathlib import Path

from torch import Tensor

TABLE = Path(__file__).parent / "kirkland.csv"
TERMS = 3


@cache
def parameters() -> dict[str, dict[str, float]]:
    """Of each element, a1 ... d3."""
    with TABLE.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {row.pop("element"): {name: float(value) for name, value in row.items()} for row in rows}


def scattering_factor(element: str, k_square: Tensor) -> Tensor:
    """f [Å] at squared spatial frequencies [1/Å²]: the sum of a / (k² + b) + c exp(-d k²).

    Raises ValueError for what is not in the table.
    """
    known = parameters().get(element)
    if known is None:
        raise ValueError(f"{element!r}: no scattering factor; Kirkland's table has the elements from H to Lr")
    terms = (
        known[f"a{i}"] / (k_square + known[f"b{i}"]) + known[f"c{i}"] * (-known[f"d{i}"] * k_square).exp()
        for i in range(1, TERMS + 1)
    )
    return sum(terms, k_square.new_zeros(()))
