"""The lattice in the spectrum: found at any turn, with the pixel size that it implies."""

import numpy as np
import pytest
import torch

from segdepth_artefacts.manifest import Domain, Range, Reflection
from segdepth_core.domain import Gate
from segdepth_core.lattice import Lattice, find_lattice
from segdepth_core.prediction import Check, Status
from segdepth_core.predictor import Predictor
from segdepth_core.prepare import prepare
from segdepth_core.spectrum import Spectrum, measured_dose
from tests.models import SPACING_A, lattice_positions

CERIA = tuple(
    Reflection(spacing_A=spacing, azimuth_deg=azimuth)
    for spacing, azimuth in (
        (3.1242, 54.736),
        (3.1242, -54.736),
        (2.7057, 0.0),
        (1.9132, 90.0),
        (1.6316, 25.239),
        (1.6316, -25.239),
    )
)
"""CeO2 [110]: {111}, {002}, {220}, {113}; azimuths from [001]."""

GATE = Gate(
    Domain(
        description="",
        checks={"lattice": Range(lower=0.96, upper=1.04, ok_lower=0.985, ok_upper=1.015)},
        reflections=CERIA,
    ),
    0.2,
)


def frame(
    turn_deg: float = 20.0,
    sampling_A: float = 0.1,
    size: tuple[int, int] = (256, 256),
    dose: float = 500.0,
    reflections: tuple[Reflection, ...] = CERIA,
    sign: float = 1.0,
) -> torch.Tensor:
    """Counts of interference fringes of every reflection, each of amplitude 0.12, with random phases."""
    rng = np.random.default_rng([int(turn_deg * 10), int(dose)])
    y, x = np.mgrid[: size[0], : size[1]] * sampling_A
    contrast = np.zeros(size)
    for reflection in reflections:
        azimuth = np.radians(reflection.azimuth_deg + turn_deg)
        along = (x * np.cos(azimuth) + y * np.sin(azimuth)) / reflection.spacing_A
        contrast += 0.12 * np.cos(2 * np.pi * along + rng.uniform(0, 2 * np.pi))
    expected = (1 + sign * contrast).clip(0) * dose * sampling_A**2
    return torch.from_numpy(rng.poisson(expected).astype(np.float32))


def lattice(image: torch.Tensor, stated_A: float) -> Lattice:
    x = prepare(image[None], stated_A, 0.2)
    sampling_A = (image.shape[0] * stated_A / x.shape[1], image.shape[1] * stated_A / x.shape[2])
    return find_lattice(Spectrum.of(x, sampling_A), CERIA)


def judged(image: torch.Tensor, stated_A: float) -> Check | None:
    """The gate's check of a frame, None where it says nothing of a lattice."""
    x = prepare(image[None], stated_A, 0.2)
    dose = measured_dose(image[None], stated_A)
    shape = (image.shape[0], image.shape[1])
    (checks,) = GATE.spectrum(x, dose, shape, stated_A)
    return checks[0] if checks else None


@pytest.mark.parametrize("turn_deg", [0.0, 17.0, 45.3, 90.0, 133.7, 179.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_found_at_any_turn_in_either_contrast(turn_deg: float, sign: float) -> None:
    found = lattice(frame(turn_deg, sign=sign), 0.1)
    assert float(found.score) > found.certain
    assert float(found.scale) == pytest.approx(1, abs=0.004)


@pytest.mark.parametrize("sampling_A, size", [(0.06, 400), (0.1, 205), (0.16, 256), (0.25, 200), (0.1, 700)])
def test_at_any_sampling_and_field(sampling_A: float, size: int) -> None:
    found = lattice(frame(33.0, sampling_A, (size, size)), sampling_A)
    assert float(found.scale) == pytest.approx(1, abs=0.006)
    assert float(found.score) > found.certain


def test_frames_that_are_not_square() -> None:
    found = lattice(frame(33.0, 0.1, (220, 501)), 0.1)
    assert float(found.scale) == pytest.approx(1, abs=0.006)


@pytest.mark.parametrize("dose", [40.0, 100.0, 5000.0])
def test_at_any_dose(dose: float) -> None:
    assert float(lattice(frame(70.0, dose=dose), 0.1).scale) == pytest.approx(1, abs=0.012)


@pytest.mark.parametrize("factor", [0.5, 0.7, 0.5**0.5, 0.86, 0.95, 0.98, 1.02, 1.05, 1.17, 2**0.5, 1.5, 2.0])
def test_implies_the_true_sampling_where_another_is_stated(factor: float) -> None:
    stated_A = 0.1 * factor
    found = lattice(frame(10.0), stated_A)
    assert float(found.scale) * stated_A == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize(
    "factor, status",
    [(1.0, Status.OK), (1.01, Status.OK), (1.025, Status.SUSPECT), (0.97, Status.SUSPECT), (1.06, Status.REFUSED)],
)
def test_the_gate_names_the_sampling_implied(factor: float, status: Status) -> None:
    stated_A = 0.1 * factor
    found = judged(frame(25.0), stated_A)
    assert found is not None
    assert found.status == status
    assert found.value == pytest.approx(1 / factor, rel=0.005)
    if status != Status.OK:
        assert "the lattice implies 0.0" in found.message or "the lattice implies 0.1" in found.message
        assert f"where {stated_A:.4g} Å/px is stated" in found.message


@pytest.mark.parametrize("electrons", [0.5, 8.0])
def test_noise_shows_no_lattice(electrons: float) -> None:
    rng = np.random.default_rng(8)
    for _ in range(20):
        noise = torch.from_numpy(rng.poisson(electrons, (256, 256)).astype(np.float32))
        assert judged(noise, 0.1) is None


@pytest.mark.parametrize("spacing_A, status", [(None, Status.REFUSED), (SPACING_A, Status.SUSPECT)])
def test_where_no_lattice_shows_the_columns_found_tell(
    strict_predictor: Predictor, spacing_A: float | None, status: Status
) -> None:
    """Columns at random places are noise; on the family's lattice they are what the frame shows too weakly."""
    gate, shape, rng = strict_predictor.gate, (256, 256), np.random.default_rng(9)
    places = rng.uniform(0, 128, (90, 2))
    if spacing_A is not None:
        places = lattice_positions((128, 128), 0.2, 9, spacing_A)[0]
    y, x = np.mgrid[:128, :128]
    near = sum(np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2)) for cx, cy in places)
    centre = torch.logit(torch.from_numpy(near.astype(np.float32)).clamp(1e-4, 0.98))
    for dose, expected in ((1000.0, status), (20.0, status if status == Status.REFUSED else None)):
        found = [check.status for check in gate.unseen([], centre, dose, shape, 0.1)]
        assert found == ([] if expected is None else [expected])


def test_another_crystal_is_not_ok() -> None:
    """A square lattice of 3.9 Å (a perovskite along [001]) shares no pattern with ceria."""
    square = tuple(
        Reflection(spacing_A=3.905 / order, azimuth_deg=azimuth)
        for order, azimuth in ((1, 0.0), (1, 90.0), (2**0.5, 45.0), (2**0.5, 135.0), (2, 0.0), (2, 90.0))
    )
    found = judged(frame(15.0, reflections=square), 0.1)
    assert found is not None
    assert found.status != Status.OK


def test_frames_of_a_batch_do_not_know_each_other() -> None:
    images = [frame(15.0), frame(100.0, sampling_A=0.11), frame(60.0, dose=60.0)]
    x = torch.cat([prepare(image[None], 0.1, 0.2) for image in images])
    together = find_lattice(Spectrum.of(x, (0.2, 0.2)), CERIA)
    for index, image in enumerate(images):
        assert float(together.scale[index]) == pytest.approx(float(lattice(image, 0.1).scale), rel=1e-4)


def test_white_noise_has_the_density_of_its_dose() -> None:
    """One over the dose [Å²], in every band: variance in a band is its area over the dose."""
    noise = torch.from_numpy(np.random.default_rng(2).poisson(20.0, (8, 256, 256)).astype(np.float32)) / 20 - 1
    variance = Spectrum.of(noise, (0.2, 0.2)).band(0.5, 1.0).mean()
    assert float(variance) == pytest.approx(np.pi * (1 - 0.25) / 500, rel=0.03)
