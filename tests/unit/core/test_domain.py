"""The gate: every kind of bad frame is refused with a number and a reason, good ones pass."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch

from segdepth_artefacts.manifest import Domain, Range
from segdepth_core.domain import Gate, contrast, judge
from segdepth_core.exposure import Exposure
from segdepth_core.network import Heads
from segdepth_core.piles import saturated_share
from segdepth_core.prediction import Check, Prediction, Status, Verdict
from segdepth_core.predictor import Predictor
from segdepth_core.spectrum import Spectrum, measured_dose
from tests.models import lattice_frame

NOISE = np.random.default_rng(0)


def check(prediction: Prediction, name: str) -> Check:
    return next(check for check in prediction.verdict.checks if check.name == name)


def spoiled(**changes: Any) -> np.ndarray:
    frame = lattice_frame(1).astype(np.float32)
    for kind, value in changes.items():
        if kind == "everywhere":
            frame[:] = value
        elif kind == "minus":
            frame -= value
    return frame


@pytest.mark.parametrize(
    "frame, said",
    [
        (spoiled(everywhere=np.nan), r"65536 of 65536 pixels are constant, NaN or infinite"),
        (spoiled(everywhere=7.0), "every pixel is 7"),
        (np.zeros((256, 256), np.uint8), "every pixel is 0"),
        (np.full((256, 256), 255, np.uint8), "every pixel is 255"),
        (spoiled(minus=1e5), "must be positive"),
        (spoiled(everywhere=1.0) * np.float32(1e-42) * lattice_frame(1), "must be 1e-30 to"),
    ],
)
def test_pixels_that_are_no_picture(predictor: Predictor, frame: np.ndarray, said: str) -> None:
    (answer,) = predictor.predict([frame], [0.1])
    assert answer.verdict.status == Status.REFUSED
    assert len(answer.columns) == 0
    assert math.isnan(answer.dose)
    pixels = check(answer, "pixels")
    assert pixels.status == Status.REFUSED
    assert re.search(said, pixels.message)
    assert math.isfinite(pixels.value)


@pytest.mark.parametrize(
    "share, status", [(0.0, Status.OK), (0.0005, Status.OK), (0.008, Status.SUSPECT), (0.2, Status.REFUSED)]
)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_saturated_frames(predictor: Predictor, share: float, status: Status, dtype: str) -> None:
    """A share of the pixels piled up at the highest value, whichever that is."""
    frame = lattice_frame(2).astype(np.float64)
    top = np.quantile(frame, 1 - share)
    clipped = np.minimum(frame, top) if share else frame
    scaled = (clipped / clipped.max() * (250 if dtype == "u1" else 4000)).astype(dtype)
    (answer,) = predictor.predict([scaled], [0.1])
    found = check(answer, "saturation")
    assert found.status == status
    assert found.value == pytest.approx(share, abs=0.3 * share + 2e-4)
    assert (status == Status.OK) == (found.message == "")


@pytest.mark.parametrize("mean", [0.05, 0.45, 3.0, 40.0])
def test_counting_noise_is_not_saturated(mean: float) -> None:
    frame = NOISE.poisson(mean, (256, 256)).astype(np.uint8)
    assert saturated_share(frame) < 1e-3


def test_a_camera_that_counts_to_one_is_not_saturated() -> None:
    """At 0.2 electrons a pixel a fifth of the pixels are at the highest value, and more at the one below."""
    assert saturated_share(NOISE.poisson(0.2, (256, 256)).clip(max=1).astype(np.uint8)) == 0


@pytest.mark.parametrize(
    "shape, sampling_A, status",
    [((199, 300), 0.1, Status.REFUSED), ((300, 199), 0.1, Status.REFUSED), ((200, 200), 0.1, Status.OK)],
)
def test_the_field_counts_in_each_direction(
    predictor: Predictor, shape: tuple[int, int], sampling_A: float, status: Status
) -> None:
    (answer,) = predictor.predict([lattice_frame(3, shape, sampling_A)], [sampling_A])
    field = check(answer, "field")
    assert field.status == status
    assert field.value == pytest.approx(min(shape) * sampling_A)
    assert (field.lower, field.unit) == (20.0, "Å")
    if status == Status.REFUSED:
        assert "19.9" in field.message
        assert "permitted 20 to 820 Å" in field.message


@pytest.mark.parametrize("sampling_A, status", [(0.049, 3), (0.05, 1), (0.26, 1), (0.27, 3), (4.9, 3)])
def test_the_sampling_must_be_the_models(strict_predictor: Predictor, sampling_A: float, status: int) -> None:
    size = 450 if sampling_A < 1 else 64
    checks = strict_predictor.gate.pixels(Exposure.of(lattice_frame(1, (size, size), 0.1)), sampling_A)
    sampling = next(check for check in checks if check.name == "sampling")
    assert sampling.status == status
    assert (sampling.lower, sampling.upper, sampling.unit) == (0.05, 0.26, "Å/px")


def test_a_frame_of_2_x_2_pixels_or_a_long_line_is_refused(predictor: Predictor) -> None:
    for shape in ((2, 2), (2, 4000), (3000, 3)):
        frame = NOISE.integers(0, 200, shape).astype(np.uint8)
        (answer,) = predictor.predict([frame], [0.1])
        assert check(answer, "field").status == Status.REFUSED


@pytest.mark.parametrize("dose, status", [(60.0, Status.REFUSED), (150.0, Status.SUSPECT), (1000.0, Status.OK)])
def test_the_dose_is_measured(strict_predictor: Predictor, dose: float, status: Status) -> None:
    (answer,) = strict_predictor.predict([lattice_frame(4, dose=dose)], [0.1])
    snr = check(answer, "snr")
    assert snr.value == pytest.approx(dose, rel=0.15)
    assert snr.status == status
    assert (snr.lower, snr.unit) == (100.0, "e/Å²")


def test_the_dose_does_not_depend_on_gain_or_pixel_size() -> None:
    for sampling_A in (0.06, 0.1, 0.16, 0.25):
        frame = torch.from_numpy(lattice_frame(1, (300, 300), sampling_A, dose=500.0).astype(np.float32))[None]
        assert float(measured_dose(frame * 3, sampling_A)) == pytest.approx(500, rel=0.15)


def test_a_frame_without_noise_counts_as_a_high_dose(predictor: Predictor) -> None:
    (answer,) = predictor.predict([lattice_frame(1, dose=1e5)], [0.1])
    assert answer.dose > 3e4
    assert answer.verdict.status == Status.OK


def test_contrast_is_what_the_lattice_adds_to_noise() -> None:
    """A sinusoid of amplitude a has standard deviation a / sqrt(2), whatever the noise."""
    x = np.arange(256) * 0.2 * np.ones((256, 1))
    rng = np.random.default_rng(3)
    for dose in (200.0, 2000.0):
        expected = (1 + 0.3 * np.sin(2 * np.pi * x / 2.4)) * dose * 0.04
        frame = torch.from_numpy(rng.poisson(expected).astype(np.float32))[None]
        spectrum = Spectrum.of(frame / frame.mean() - 1, (0.2, 0.2))
        assert float(contrast(spectrum, torch.tensor([dose]))) == pytest.approx(0.3 / 2**0.5, rel=0.08)


def test_vacuum_has_no_contrast() -> None:
    frame = torch.from_numpy(np.random.default_rng(3).poisson(20, (1, 256, 256)).astype(np.float32))
    spectrum = Spectrum.of(frame / frame.mean() - 1, (0.2, 0.2))
    assert float(contrast(spectrum, torch.tensor([500.0]))) < 0.02


def test_contrast_outside_the_simulated_domain_is_refused() -> None:
    gate = Gate(Domain(description="", checks={"contrast": Range(lower=0.02, upper=0.6)}), 0.2)
    rng = np.random.default_rng(3)
    vacuum = torch.from_numpy(rng.poisson(20, (1, 256, 256)).astype(np.float32))
    ((found,),) = gate.spectrum((vacuum / 20 - 1) * 4, torch.tensor([500.0]), (256, 256), 0.2)
    assert (found.name, found.status) == ("contrast", Status.REFUSED)
    assert found.message.startswith("contrast: a contrast of 0")


@pytest.mark.parametrize("logit, status", [(-5.0, 1), (0.5, 2), (5.0, 3)])
def test_inverted_contrast_is_judged_by_the_network(logit: float, status: int) -> None:
    gate = Gate(Domain(description="", checks={"inverted": Range(upper=0.9, ok_upper=0.5)}), 0.2)
    nothing = torch.zeros(1, 11, 8, 8)
    heads = Heads(nothing, nothing[:, :2], nothing[:, 0], torch.tensor([logit]), torch.zeros(1, 4))
    ((found,),) = gate.network(heads, torch.tensor([500.0]), 40.0)
    assert found.status == status
    assert found.value == round(1 / (1 + math.exp(-logit)), 4)


def test_a_frame_found_inverted_after_the_network_has_no_columns(predictor: Predictor) -> None:
    manifest = predictor.manifest
    checks = manifest.domain.checks | {"inverted": Range(upper=-1.0)}
    refusing = Predictor(
        predictor.engine, manifest.model_copy(update={"domain": manifest.domain.model_copy(update={"checks": checks})})
    )
    (answer,) = refusing.predict([lattice_frame(1)], [0.1])
    assert answer.verdict.status == Status.REFUSED
    assert len(answer.columns) == 0
    assert answer.timings.network_ms > 0


@pytest.mark.parametrize(
    "value, expected",
    [(0.95, 3), (0.96, 2), (0.984, 2), (0.985, 1), (1.0, 1), (1.015, 1), (1.02, 2), (1.041, 3), (math.nan, 3)],
)
def test_ranges(value: float, expected: int) -> None:
    permitted = Range(lower=0.96, upper=1.04, ok_lower=0.985, ok_upper=1.015, unit="x")
    found = judge("lattice", value, permitted, "so much")
    assert found.status == expected
    permitted_said = {1: "", 2: "permitted 0.985 to 1.015 x", 3: "permitted 0.96 to 1.04 x"}[expected]
    assert found.message == (permitted_said and f"lattice: so much; {permitted_said}")
    assert (found.lower, found.upper, found.ok_lower, found.ok_upper) == (0.96, 1.04, 0.985, 1.015)


def test_open_ranges() -> None:
    assert judge("a", 1e9, Range(lower=1.0), "").status == Status.OK
    assert judge("a", 0.0, Range(lower=1.0), "it").message == "a: it; permitted from 1"
    assert judge("a", 2.0, Range(upper=1.0), "it").message == "a: it; permitted up to 1"
    assert judge("a", 1e9, Range(), "").status == Status.OK


def test_a_verdict_is_its_worst_check() -> None:
    checks = [Check("a", Status.OK, 1), Check("b", Status.SUSPECT, 1, message="b"), Check("c", Status.OK, 1)]
    assert Verdict(tuple(checks)).status == Status.SUSPECT
    assert Verdict((*checks, Check("d", Status.REFUSED, 1, message="d"))).reason == "b; d"
    assert Verdict(()).status == Status.OK


def test_where_a_frame_does_not_tell_its_black_level_it_is_suspect(predictor: Predictor) -> None:
    frame = np.random.default_rng(4).normal(1000, 5, (256, 256)).astype(np.float32)
    (answer,) = predictor.predict([frame], [0.1])
    assert check(answer, "black").status == Status.SUSPECT
    assert "not told by the frame" in check(answer, "black").message
