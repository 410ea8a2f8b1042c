"""What a frame shows of a column: mean intensities, at any place and pixel size, with pixels that say nothing."""

import numpy as np
import pytest

from segdepth.tracks.figures import RADII_A, REACH_A, expected_count, intensities


def directly(image, x_px, y_px, sampling_A):
    """The same by sums over every pixel of the window."""
    reach = round(REACH_A / sampling_A)
    column, row = round(x_px), round(y_px)
    y, x = np.mgrid[row - reach : row + reach + 1, column - reach : column + reach + 1]
    window = image[row - reach : row + reach + 1, column - reach : column + reach + 1]
    away2 = ((x - x_px) ** 2 + (y - y_px) ** 2) * sampling_A**2
    weights = [np.exp(-away2 / (2 * radius**2)) for radius in RADII_A]
    return [(weight * window).sum() / weight.sum() / image.mean() for weight in weights]


def noise(shape, seed=0):
    return np.random.default_rng(seed).poisson(30, shape).astype(np.uint16)


@pytest.mark.parametrize("sampling_A", [0.11, 0.15, 0.24])
def test_unbinned_it_is_the_weighted_mean(sampling_A):
    image = noise((90, 80))
    x_px, y_px = np.array([30.0, 41.37, 28.5]), np.array([44.0, 39.81, 51.49])
    expected = [directly(image, x, y, sampling_A) for x, y in zip(x_px, y_px, strict=True)]
    np.testing.assert_allclose(intensities(image, x_px, y_px, sampling_A).T, expected, rtol=2e-3)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_fine_pixels_are_binned_first(number):
    sampling_A = 0.2 / number
    image = noise((41 * number + 1, 37 * number + number - 1))
    binned = image[: 41 * number, : 37 * number].reshape(41, number, 37, number).mean(axis=(1, 3))
    x_px, y_px = np.array([14.2, 20.0]) * number, np.array([17.0, 22.7]) * number
    first = (number - 1) / 2
    expected = [
        directly(binned, (x - first) / number, (y - first) / number, 0.2) for x, y in zip(x_px, y_px, strict=True)
    ]
    expected = np.array(expected) * binned.mean() / image.mean()
    np.testing.assert_allclose(intensities(image, x_px, y_px, sampling_A).T, expected, rtol=2e-3)


def test_a_place_between_pixels_shows_the_same_peak_at_any_pixel_size():
    shown = []
    for sampling_A in (0.05, 0.1, 0.13, 0.2):
        pixels_A = np.arange(round(16 / sampling_A)) * sampling_A
        across, down = (np.exp(-0.5 * ((pixels_A - at_A) / 0.45) ** 2) for at_A in (7.93, 8.11))
        image = 1 + down[:, None] * across
        at_px = np.array([7.93]) / sampling_A, np.array([8.11]) / sampling_A
        shown.append(intensities(image, *at_px, sampling_A)[:, 0] * image.mean())
    np.testing.assert_allclose(shown, np.broadcast_to(shown[1], (4, 3)), rtol=0.03)
    assert shown[1][0] > shown[1][1] > shown[1][2] > 1.1


@pytest.mark.parametrize("sampling_A", [0.1, 0.2])
def test_a_column_that_drifts_across_pixels_shows_no_step(sampling_A):
    x_px = np.linspace(30, 36, 2401)
    shown = intensities(noise((90, 80)), x_px, np.full_like(x_px, 41.3), sampling_A).T
    # The widest weights reach beyond their window, whose edge jumps by a pixel.
    assert (np.abs(np.diff(shown, axis=0)).max(axis=0) < (1e-3, 2e-3, 6e-3)).all()
    assert np.ptp(shown[:, 0]) > 0.04


def test_pixels_without_a_value_say_nothing_of_columns_near_them():
    image = noise((80, 80)).astype(np.float32)
    x_px, y_px = np.array([20.0, 60.0]), np.array([20.0, 60.0])
    whole = intensities(image, x_px, y_px, 0.2)
    image[58, 61] = np.nan
    holed = intensities(image, x_px, y_px, 0.2)
    np.testing.assert_allclose(holed[:, 0], whole[:, 0], rtol=1e-3)
    assert np.isnan(holed[:, 1]).all()


@pytest.mark.parametrize("dtype", ["u1", "i2", ">u2", "f2", "f4", ">f4", "f8"])
def test_any_type_of_pixel_shows_the_same(dtype):
    image = noise((60, 60))
    place = np.array([30.3]), np.array([28.8])
    np.testing.assert_allclose(
        intensities(image.astype(dtype), *place, 0.1), intensities(image, *place, 0.1), rtol=1e-5
    )


def test_at_the_edge_what_there_is_of_the_window_is_weighed():
    image = np.full((40, 40), 7, np.uint16)
    edge = np.array([0.0, 39.0, 0.4]), np.array([0.0, 39.0, 20.0])
    np.testing.assert_allclose(intensities(image, *edge, 0.2), 1, rtol=1e-5)


def test_a_frame_without_light_says_nothing():
    assert np.isnan(intensities(np.zeros((40, 40), np.uint16), np.array([20.0]), np.array([20.0]), 0.2)).all()


def test_no_column_and_one():
    image = noise((40, 40))
    assert intensities(image, np.zeros(0), np.zeros(0), 0.2).shape == (3, 0)
    assert intensities(image, np.array([20.0]), np.array([20.0]), 0.2).shape == (3, 1)


def test_the_expected_count_is_the_posteriors_mean():
    np.testing.assert_allclose(expected_count(np.eye(11)[[0, 4, 10]]), [0, 4, 10])
