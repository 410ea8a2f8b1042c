"""Motifs: a pattern that is known, turned and beside vacuum, comes back with the noise that is stated."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from segdepth_training.frames.motif import fit_lattice, motif, turned_alike
from segdepth_training.frames.movie_files import MovieFile
from segdepth_training.frames.unit_cell import reflections_of
from segdepth_training.specimens.projection import project
from tests.unit.training.small import recipe

PROJECTION = project(recipe().crystal)
HK = reflections_of(PROJECTION)
SAMPLING_A, SIDE, DOSE = 0.1, 400, 800.0
TURN, ORIGIN_A = 0.3, np.array([1.1, 0.7])


def turned(xy_A: np.ndarray, angle: float = TURN) -> np.ndarray:
    return xy_A @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def split(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return columns[:, :2], columns[:, 2].astype(int)


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expected electrons, columns as x, y [Å] and species, and coefficients; the right fifth is vacuum."""
    rng = np.random.default_rng(3)
    values = 0.04 * (rng.normal(size=len(HK)) + 1j * rng.normal(size=len(HK)))
    values = values * np.exp(-1.5 * (HK / PROJECTION.cell_A).__pow__(2).sum(1))
    y, x = np.mgrid[:SIDE, :SIDE] * SAMPLING_A
    per_A = turned(HK / PROJECTION.cell_A)
    image = np.ones((SIDE, SIDE))
    for value, g in zip(values, per_A, strict=True):
        phase = np.exp(2j * np.pi * ((x - ORIGIN_A[0]) * g[0] + (y - ORIGIN_A[1]) * g[1]))
        image += 2 * (value * np.sinc(g * SAMPLING_A).prod() * phase).real
    end_A = 0.8 * SIDE * SAMPLING_A
    sites = PROJECTION.columns(60.0)
    columns = np.column_stack([turned(sites[:, :2]) + ORIGIN_A, sites[:, 3]])
    inside = (columns[:, :2] > 0).all(1) & (columns[:, 0] < end_A) & (columns[:, 1] < SIDE * SAMPLING_A)
    return np.where(x < end_A, image, 1.05) * DOSE * SAMPLING_A**2, columns[inside], values


def test_the_pattern_comes_back(scene: tuple[np.ndarray, np.ndarray, np.ndarray]):
    expected, columns, values = scene
    rng = np.random.default_rng(4)
    found = motif(expected.astype(np.float32), SAMPLING_A, *split(columns), DOSE, PROJECTION, HK)
    assert found is not None
    (alike,) = turned_alike([found])
    # By half a turn a lattice looks the same: its coefficients are then conjugated.
    same = min((alike.values, alike.values.conj()), key=lambda each: np.abs(each - values).max())
    np.testing.assert_allclose(same, values, atol=1.5e-3)
    assert 900 < found.area_A2 < 1280
    noisy = [
        motif(rng.poisson(expected).astype(np.float32), SAMPLING_A, *split(columns), DOSE, PROJECTION, HK)
        for _ in range(12)
    ]
    off = [np.abs(one.values - found.values) ** 2 / one.variance for one in noisy if one is not None]
    assert len(off) == 12
    assert 0.85 < np.mean(off) < 1.2


def test_a_turned_frame_has_the_same_motif(scene: tuple[np.ndarray, np.ndarray, np.ndarray]):
    expected, columns, _ = scene
    frames = (expected, expected[::-1, ::-1])
    places = (columns, np.column_stack([(SIDE - 1) * SAMPLING_A - columns[:, :2], columns[:, 2]]))
    found = [
        motif(np.ascontiguousarray(frame, np.float32), SAMPLING_A, *split(xy), DOSE, PROJECTION, HK)
        for frame, xy in zip(frames, places, strict=True)
    ]
    first, second = found
    assert first is not None
    assert second is not None
    turned_values = min(
        (second.values, second.values.conj()), key=lambda each: np.abs(each - first.values.conj()).max()
    )
    np.testing.assert_allclose(turned_values, first.values.conj(), atol=1e-3)


def test_columns_off_the_lattice_make_none(scene: tuple[np.ndarray, np.ndarray, np.ndarray]):
    expected, columns, _ = scene
    rng, (xy_A, species) = np.random.default_rng(5), split(columns)
    jittered = fit_lattice(xy_A + rng.normal(0, 0.1, xy_A.shape), species, PROJECTION)
    assert jittered is not None
    assert jittered.residual_A == pytest.approx(0.14, abs=0.02)
    anywhere = rng.uniform(0, SIDE * SAMPLING_A, xy_A.shape)
    assert fit_lattice(anywhere, species, PROJECTION) is None
    assert fit_lattice(xy_A * 1.1, species, PROJECTION) is None
    few = expected.astype(np.float32), SAMPLING_A, *split(columns[:5])
    assert motif(*few, DOSE, PROJECTION, HK) is None


def test_columns_whose_elements_are_mistaken_still_tell_the_lattice(scene: tuple[np.ndarray, np.ndarray, np.ndarray]):
    _, columns, _ = scene
    xy_A, species = split(columns)
    right, wrong = fit_lattice(xy_A, species, PROJECTION), fit_lattice(xy_A, 1 - species, PROJECTION)
    assert right is not None
    assert wrong is not None
    cerium = xy_A[species == 0]
    sites = PROJECTION.sites[PROJECTION.sites[:, 3] == 0][:, :2] / PROJECTION.cell_A
    for fit in (right, wrong):
        off = fit.cells(cerium)[:, None] - sites
        assert np.abs(off - np.round(off)).max(-1).min(1).max() < 0.01


def test_files_say_their_pixel_size_or_ask_for_it(tmp_path: Path):
    frames = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    with mrcfile.new(tmp_path / "a.mrc") as movie:
        movie.set_data(frames)
        movie.set_image_stack()
        movie.voxel_size = 0.12
    opened = MovieFile.open(tmp_path / "a.mrc")
    assert (len(opened), opened.sampling_A) == (2, pytest.approx(0.12))
    np.testing.assert_array_equal(opened[1], frames[1])
    assert MovieFile.open(tmp_path / "a.mrc", 0.2).sampling_A == 0.2
    np.save(tmp_path / "one.npy", frames[0])
    assert len(MovieFile.open(tmp_path / "one.npy", 0.1)) == 1
    with pytest.raises(ValueError, match=r"one\.npy: its pixel size is not known; state it with --sampling"):
        MovieFile.open(tmp_path / "one.npy")


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("a.dm4", b"", r"MRC and NPY are read here; write it as NPY first: .*open_movie\('.*a\.dm4', 0\.1\)"),
        ("a.mrc", b"nothing", "not an MRC file"),
        ("a.npy", b"nothing", "not an NPY file"),
    ],
)
def test_what_is_no_movie_is_named(tmp_path: Path, name: str, content: bytes, said: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        MovieFile.open(tmp_path / name, 0.1)
    with pytest.raises(FileNotFoundError, match="no such file"):
        MovieFile.open(tmp_path / "none.mrc")
