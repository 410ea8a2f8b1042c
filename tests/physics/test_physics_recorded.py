"""Frames as cameras record them, of a specimen with a known answer: mended, flagged or refused, never wrong in silence.

The frames are those of the demo (an exit wave that training never saw), the answers those of the released model.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from segdepth_core.exposure import Exposure
from segdepth_core.photon_transfer import black_level
from segdepth_core.prediction import Check, Detector, Prediction, Status
from segdepth_core.predictor import Predictor
from segdepth_core.spectrum import measured_noise
from segdepth_training.frames.demo_movie import FIELD_PX, SAMPLING_A, SHIPPED, imaged
from segdepth_training.frames.imaging import blurred
from segdepth_training.frames.labels import View
from tests.models import released_model

Frame = NDArray[np.float32]
DOSE = 500.0


@cache
def frame(specimen: int = 0, dose: float = DOSE) -> Frame:
    """Electrons of 512 x 512 px at 0.1 Å/px; read-only."""
    shipped = np.load(SHIPPED)
    side_A, parts = float(shipped["side_A"]), shipped[f"wave{specimen}"].astype(np.float32)
    origin = (round(side_A / SAMPLING_A) - FIELD_PX) // 2
    view = View(SAMPLING_A, (origin, origin), FIELD_PX, FIELD_PX)
    seen = imaged(torch.from_numpy(parts[0] + 1j * parts[1]), side_A, view, dose, (0, specimen))[0].astype(np.float32)
    seen.flags.writeable = False
    return seen


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(released_model())


@pytest.fixture(scope="module")
def answer(predictor: Predictor) -> Prediction:
    return ask(predictor, frame())


def ask(predictor: Predictor, image: Frame, **known: float) -> Prediction:
    detectors = [Detector(**known)] if known else ()
    (answer,) = predictor.predict([image], [SAMPLING_A], detectors=detectors)
    return answer


def check(answer: Prediction, name: str) -> Check:
    return next(check for check in answer.verdict.checks if check.name == name)


def shift(answer: Prediction, other: Prediction, where: Callable[[NDArray[np.float32]], NDArray[np.bool_]]) -> float:
    """Mean difference of the counts of the columns of both at places `where` says, [n, 2] = x, y."""
    means = []
    for one in (answer, other):
        assert len(one.columns)
        means.append(float(one.columns.count[where(one.columns.xy_px)].mean()))
    return means[1] - means[0]


def spread(image: Frame, sigma_px: float) -> Frame:
    """The image after a sensor that spreads each electron over its neighbours."""
    return blurred(torch.from_numpy(image.copy())[None], torch.tensor([sigma_px]))[0].numpy()


def everywhere(xy_N2: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.ones(len(xy_N2), bool)


def test_the_untouched_frame_is_ok(answer: Prediction) -> None:
    assert answer.verdict.status == Status.OK
    assert len(answer.columns) > 300


@pytest.mark.parametrize("number, value", [(1, 6e4), (5, 6e4), (200, 6e4), (20, 300.0), (20, np.nan)])
def test_hot_pixels_move_no_count(predictor: Predictor, answer: Prediction, number: int, value: float) -> None:
    """Five of 60,000 moved every count by up to .9 with the verdict ok."""
    spoilt = frame().copy()
    spoilt.ravel()[np.random.default_rng(1).choice(spoilt.size, number, replace=False)] = value
    other = ask(predictor, spoilt)
    assert other.verdict.status == Status.OK
    assert check(other, "replaced").value == pytest.approx(number / spoilt.size)
    assert abs(shift(answer, other, everywhere)) < 0.05


@pytest.mark.parametrize("filling", [0.0, np.nan, 5.0])
def test_padding_after_drift_alignment_has_no_columns(predictor: Predictor, answer: Prediction, filling: float) -> None:
    padded = np.full_like(frame(), filling)
    padded[48:, 30:] = frame()[48:, 30:]
    other = ask(predictor, padded)
    assert other.verdict.status == Status.OK
    assert check(other, "recorded").value == pytest.approx((512 - 48) * (512 - 30) / 512**2, abs=0.002)

    def kept(xy_N2: NDArray[np.float32]) -> NDArray[np.bool_]:
        return (xy_N2[:, 0] > 35) & (xy_N2[:, 1] > 53)

    assert kept(other.columns.xy_px).all()
    assert len(other.columns) > 0.97 * kept(answer.columns.xy_px).sum()
    assert abs(shift(answer, other, kept)) < 0.1


def test_a_gap_between_sensors_moves_no_count(predictor: Predictor, answer: Prediction) -> None:
    """A cross of zeros four pixels wide moved every count by .9."""
    spoilt = frame().copy()
    spoilt[254:258] = spoilt[:, 254:258] = 0
    other = ask(predictor, spoilt)

    def away(xy_N2: NDArray[np.float32]) -> NDArray[np.bool_]:
        return (np.abs(xy_N2 - 256) > 15).all(1)

    assert other.verdict.status == Status.OK
    assert (np.abs(other.columns.xy_px - 255.5) > 7).all()
    assert abs(shift(answer, other, away)) < 0.1


def test_a_dead_row_is_mended(predictor: Predictor, answer: Prediction) -> None:
    spoilt = frame().copy()
    spoilt[200] = 0
    other = ask(predictor, spoilt)
    assert len(other.columns) == len(answer.columns)
    assert abs(shift(answer, other, everywhere)) < 0.05


@pytest.mark.parametrize("pedestal", [0.25, 0.5, 1.0])
def test_a_pedestal_is_told_with_its_size(predictor: Predictor, pedestal: float) -> None:
    """In units of the mean of the frame before; it makes the contrast, and with it the counts, too small."""
    lifted = frame() + np.float32(pedestal * frame().mean())
    other = ask(predictor, lifted)
    assert other.verdict.status > Status.OK
    assert check(other, "black").value == pytest.approx(pedestal / (1 + pedestal), abs=0.06)


@pytest.mark.parametrize("specimen", [0, 1])
def test_a_stretched_contrast_is_told(predictor: Predictor, specimen: int) -> None:
    image = frame(specimen, 2000.0)
    low = np.quantile(image, 0.005)
    other = ask(predictor, np.maximum(image - low, 0))
    assert other.verdict.status > Status.OK
    assert check(other, "black").value < -0.15


def test_an_export_clipped_at_black_is_refused(predictor: Predictor) -> None:
    """With 22 % of the pixels at black seven atoms became ten, at a probability of 1."""
    image = ndimage.gaussian_filter(frame(0, 2000.0), 1)
    low, high = np.quantile(image, (0.22, 0.999))
    other = ask(predictor, np.clip((image - low) / (high - low) * 255, 0, 255).astype(np.uint8))
    assert other.verdict.status == Status.REFUSED
    assert check(other, "clipping").value == pytest.approx(0.22, abs=0.04)


@pytest.mark.parametrize("dose, share", [(200.0, 0.6), (500.0, 0.2), (500.0, 0.5), (2000.0, 0.2), (2000.0, 0.5)])
def test_counts_clipped_at_black_are_refused(predictor: Predictor, dose: float, share: float) -> None:
    """Few electrons leave pixels empty too, but then none hold part of one."""
    image = frame(0, dose)
    other = ask(predictor, np.maximum(image - np.quantile(image, share), 0))
    assert check(other, "clipping").status == Status.REFUSED


@pytest.mark.parametrize("sigma_px", [1.2, 2.0, 3.0])
def test_what_was_smoothed_before_is_told(predictor: Predictor, sigma_px: float) -> None:
    """A Gaussian of 2 px added .8 of an atom to every column."""
    other = ask(predictor, ndimage.gaussian_filter(frame(), sigma_px))
    assert other.verdict.status > Status.OK
    assert "smoothed" in other.verdict.reason


@pytest.mark.parametrize("dose", [20.0, 50.0, 200.0])
@pytest.mark.parametrize("sigma_px", [1.2, 1.5, 2.0])
def test_what_was_smoothed_and_rounded_to_eight_bits_is_told(
    predictor: Predictor, sigma_px: float, dose: float
) -> None:
    """Rounding leaves white noise, as if nothing had been smoothed."""
    image = ndimage.gaussian_filter(frame(0, dose), sigma_px)
    other = ask(predictor, np.round(image / image.max() * 255).astype(np.uint8))
    assert other.verdict.status > Status.OK
    assert "smoothed" in other.verdict.reason


@pytest.mark.parametrize("gain", [1, 10, 100])
@pytest.mark.parametrize("sigma_px", [2.0, 3.0])
def test_smoothing_that_rounding_hides_is_told(predictor: Predictor, sigma_px: float, gain: int) -> None:
    """A filtered movie saved in whole numbers has noise again: that of rounding."""
    smooth = ndimage.gaussian_filter(frame(), sigma_px)
    other = ask(predictor, np.round(smooth * gain).astype(np.uint16))
    assert other.verdict.status > Status.OK


@pytest.mark.parametrize("dose", [20.0, 100.0, 500.0, 2000.0])
@pytest.mark.parametrize("gain", [1, 7])
def test_counts_and_digitised_charges_are_not_rounded(predictor: Predictor, dose: float, gain: int) -> None:
    other = ask(predictor, (frame(0, dose) * gain).astype(np.uint16))
    assert check(other, "noise").status == Status.OK


@pytest.mark.parametrize("dose", [50.0, 200.0, 500.0, 2000.0])
@pytest.mark.parametrize("side_px", [256, 512])
def test_noise_has_no_columns(predictor: Predictor, dose: float, side_px: int) -> None:
    noise = np.random.default_rng(3).poisson(dose * SAMPLING_A**2, (side_px, side_px)).astype(np.uint16)
    other = ask(predictor, noise)
    assert other.verdict.status == Status.REFUSED
    assert len(other.columns) == 0


def test_what_is_known_of_the_detector_settles_what_a_frame_cannot(predictor: Predictor, answer: Prediction) -> None:
    lifted = frame() * 30 + 170
    assert ask(predictor, lifted).verdict.status == Status.REFUSED
    told = ask(predictor, lifted, black_level=170.0)
    assert told.verdict.status == Status.OK
    np.testing.assert_array_equal(told.columns.count, answer.columns.count)


def test_a_detector_that_spreads_electrons_far_may_say_so(predictor: Predictor) -> None:
    image = spread(frame(0, 50.0), 0.85)
    assert check(ask(predictor, image), "smoothing").status == Status.SUSPECT
    assert check(ask(predictor, image, blur_px=0.8), "smoothing").status == Status.OK


@pytest.mark.parametrize("told_px", [3.0, 50.0])
def test_what_is_known_of_the_detector_makes_no_smoothing_right(predictor: Predictor, told_px: float) -> None:
    smoothed = ask(predictor, spread(frame(0, 50.0), 1.15), blur_px=told_px)
    assert smoothed.verdict.status == Status.REFUSED
    assert "smoothed" in smoothed.verdict.reason


@pytest.mark.parametrize("blur_px", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("dose", [100.0, 500.0, 2000.0])
def test_the_black_level_is_measured_whatever_the_sensor_spreads(blur_px: float, dose: float) -> None:
    """Without the third moment of Poisson noise a blur of .6 px would pass for a pedestal of .15."""
    image = spread(frame(1, dose), blur_px)
    measured = float(measured_noise(torch.from_numpy(image)[None], SAMPLING_A).blur_px[0])
    assert measured == pytest.approx(blur_px, abs=0.08)
    seen = Exposure.of(image)
    assert seen.around is not None
    level = black_level(seen.around, None, measured, SAMPLING_A)
    assert abs(level.value) < 2.5 * level.error
    assert level.error < 0.06
