"""Scenes: images sampled anew without an error, drift as large as is said, hops where columns are."""

import numpy as np
import pytest

from segdepth.camera.scene import MARGIN_A, Field, load_scene, scene_names
from segdepth.errors import InvalidFrame


@pytest.fixture(params=scene_names())
def scene(request):
    return load_scene(request.param)


def none(scene):
    return np.zeros(len(scene.by), bool)


def displacement(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """By how many pixels (x, y) the second image is displaced: the correlation's peak, then the phases' slope."""
    cross = np.fft.fft2(second - second.mean()) * np.fft.fft2(first - first.mean()).conj()
    peak = np.array(np.unravel_index(np.fft.ifft2(cross).real.argmax(), first.shape))
    y, x = np.where(peak > len(first) // 2, peak - len(first), peak)
    size = len(first) - max(abs(y), abs(x))
    one = first[max(0, -y) :, max(0, -x) :][:size, :size]
    other = second[max(0, y) :, max(0, x) :][:size, :size]
    return np.array([x, y]) + slope(one, other)


def slope(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    window = np.outer(np.hanning(len(first)), np.hanning(len(first)))
    one, other = (np.fft.fft2((image - image.mean()) * window) for image in (first, second))
    cross = other * one.conj()
    ky, kx = np.meshgrid(*(2 * np.pi * np.fft.fftfreq(len(first)),) * 2, indexing="ij")
    design = np.stack([kx, ky], -1).reshape(-1, 2)
    normal = (design * np.abs(cross).reshape(-1, 1)).T
    shift = np.zeros(2)
    for _ in range(4):
        phase = np.angle(cross * np.exp(1j * (kx * shift[0] + ky * shift[1])))
        shift -= np.linalg.solve(normal @ design, normal @ phase.ravel())
    return shift


@pytest.mark.parametrize("drift_A", [(0.05, 0.0), (0.0, -0.0375), (0.3125, 0.425), (-0.8, 0.7)])
def test_drift_is_true(scene, drift_A):
    field = Field(scene, 256, 0.1)
    still, moved = (field.expected(scene.base, at) for at in ((0.0, 0.0), drift_A))
    np.testing.assert_allclose(displacement(still, moved) * 0.1, drift_A, atol=0.02)


def test_whole_pixels_of_drift_move_the_image_by_whole_pixels(scene):
    field = Field(scene, 200, 0.1, spread_px=0.3)
    still, moved = field.expected(scene.base, (0.0, 0.0)), field.expected(scene.base, (0.3, -0.2))
    np.testing.assert_allclose(moved[:-2, 3:], still[2:, :-3], atol=2e-5)


def test_sampling_anew_is_exact(scene):
    """At the scene's own sampling, undone what the pixels' width takes, its own samples come back."""
    sampling_A = scene.side_A / len(scene.base)
    field = Field(scene, 101, sampling_A)
    frequencies = np.fft.fftfreq(len(scene.base), sampling_A)
    passed = np.sinc(frequencies * sampling_A)
    sharper = np.fft.ifft2(np.fft.fft2(scene.base) / np.outer(passed, passed)).real.astype(np.float32)
    first = field.first_A / sampling_A
    drift_A = (first - round(first)) * sampling_A
    seen = field.expected(sharper, (drift_A, drift_A))
    start = round(field.first_A / sampling_A - drift_A / sampling_A)
    np.testing.assert_allclose(seen, scene.base[start : start + 101, start : start + 101], atol=1e-3)


def test_finer_pixels_add_up_to_coarser_ones(scene):
    """Pixels integrate: two by two of half the size have the mean of one."""
    coarse, fine = Field(scene, 128, 0.2), Field(scene, 256, 0.1)
    together = fine.expected(scene.base, (0.0, 0.0)).reshape(128, 2, 128, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(together, coarse.expected(scene.base, (0.0, 0.0)), atol=1e-4)


def test_a_hop_changes_the_image_at_its_column_alone(scene):
    field = Field(scene, 512, 0.1)
    before = field.expected(scene.base, (0.0, 0.0))
    xy_px = field.positions_A()[scene.hopping] / 0.1
    y, x = np.mgrid[:512, :512]
    for index in range(len(scene.by)):
        hopped = none(scene)
        hopped[index] = True
        difference = np.abs(field.expected(scene.image(hopped), (0.0, 0.0)) - before)
        away_px = np.hypot(x - xy_px[index, 0], y - xy_px[index, 1])
        if (away_px < 10).any():
            assert difference[away_px < 10].max() > 0.03
        assert difference[away_px > 55].max() < 1e-3
        (changed,) = np.flatnonzero(scene.counts(hopped) != scene.atoms)
        assert changed == scene.hopping[index]


def test_hops_are_of_one_and_two_atoms_of_either_element(scene):
    kinds = set(zip(scene.species[scene.hopping].tolist(), np.abs(scene.by).tolist(), strict=True))
    assert {(0, 1), (0, 2), (1, 1)} <= kinds
    after = scene.counts(~none(scene))
    assert after.min() >= 1
    assert after[scene.hopping].max() <= 10
    apart = np.hypot(*np.moveaxis(scene.xy_A[scene.hopping][:, None] - scene.xy_A[scene.hopping][None], -1, 0))
    assert apart[~np.eye(len(apart), dtype=bool)].min() >= 9


def test_a_field_that_does_not_fit_says_what_would():
    scene = load_scene("particle")
    with pytest.raises(InvalidFrame, match=r"size: 700 px of 0.1 Å do not fit .* at most (\d+)") as error:
        Field(scene, 700, 0.1)
    most = int(str(error.value).split()[-1])
    assert Field(scene, most, 0.1).first_A >= MARGIN_A
    with pytest.raises(InvalidFrame):
        Field(scene, most + 1, 0.1)
    with pytest.raises(InvalidFrame, match="one of terraces, particle, islands"):
        load_scene("gold")
