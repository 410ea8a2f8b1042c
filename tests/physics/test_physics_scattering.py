"""Kirkland's table, against what holds for every atom."""

import math

import pytest
import torch
from ase.data import atomic_numbers, chemical_symbols

from segdepth_training.frames.scattering import parameters, scattering_factor

BOHR_A = 0.529177


@pytest.mark.parametrize("element", chemical_symbols[1:104])
def test_close_to_the_nucleus_its_charge_alone_scatters(element: str):
    """Mott and Bethe: f goes to Z / (2 pi² a0 k²), for which the Lorentzians stand; the fit ends at 12 /Å."""
    known = parameters()[element]
    charge = sum(known[f"a{i}"] for i in (1, 2, 3)) * 2 * math.pi**2 * BOHR_A
    assert charge == pytest.approx(atomic_numbers[element], rel=0.1)


@pytest.mark.parametrize(
    # Sums of the Gaussians of P. A. Doyle & P. S. Turner, Acta Cryst. A 24 (1968) 390.
    "element, forward_A",
    [("C", 2.507), ("O", 1.982), ("Al", 5.879), ("Si", 5.819), ("Cu", 5.589), ("Au", 10.558)],
)
def test_forward_scattering(element: str, forward_A: float):
    assert float(scattering_factor(element, torch.zeros(1))) == pytest.approx(forward_A, rel=0.01)


def test_hydrogen_is_known_exactly():
    """f(k) of the 1s orbital [Å] (Mott and Bethe): 1 - (1 + x)^-2 over 2 pi² a0 k², x = (pi a0 k)²; a0 forwards."""
    k_square = torch.tensor([0.25, 1.0, 4.0, 9.0], dtype=torch.float64)
    x = (math.pi * BOHR_A) ** 2 * k_square
    expected = (1 - (1 + x) ** -2) / (2 * math.pi**2 * BOHR_A * k_square)
    assert scattering_factor("H", k_square).numpy() == pytest.approx(expected.numpy(), rel=0.02)
    assert float(scattering_factor("H", torch.zeros(1))) == pytest.approx(BOHR_A, rel=0.01)


def test_an_element_without_factors_is_named():
    with pytest.raises(ValueError, match=r"'Rf'.*from H to Lr"):
        scattering_factor("Rf", torch.zeros(1))
