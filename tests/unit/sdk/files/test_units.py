"""Units as files spell them."""

import pytest

from segdepth.files.units import angstrom_per, is_reciprocal


@pytest.mark.parametrize("unit", ["1/nm", "1 / nm", "[n_m^-1]", "nm-1", "nm⁻¹", "$A^{-1}$", "Å⁻¹", "mrad"])
def test_of_a_diffraction_pattern(unit):
    assert is_reciprocal(unit)
    assert angstrom_per(unit) is None


@pytest.mark.parametrize("unit", ["nm", "[n_m]", "Å", "", "px", "s", "-1"])
def test_of_an_image(unit):
    assert not is_reciprocal(unit)
