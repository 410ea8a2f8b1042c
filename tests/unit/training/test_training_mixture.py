"""The mixture baseline on intensities that are easy, and on ones that are not."""

from pathlib import Path

import numpy as np
import pytest

from segdepth_core.scoring import score
from segdepth_training.benchmark.mixture import Library, Mixture, intensities, labelled
from segdepth_training.frames.labels import View
from segdepth_training.frames.observation import Observation

BY_WHOLES = Library(edges=((3.5, 4.5, 5.5, 6.5),), atoms=((3, 4, 5, 6, 7),))
"""A library in which intensity is the number of atoms."""


def test_separate_intensities_are_counted() -> None:
    numbers = np.random.default_rng(0)
    counts = numbers.integers(3, 7, 300)
    posterior = labelled(counts + numbers.normal(0, 0.05, 300), BY_WHOLES, 0)
    assert (posterior.argmax(1) == counts).mean() > 0.99
    np.testing.assert_allclose(posterior.sum(1), 1)


def test_intensities_that_overlap_are_not() -> None:
    numbers = np.random.default_rng(0)
    counts = numbers.integers(3, 7, 300)
    posterior = labelled(counts + numbers.normal(0, 5, 300), BY_WHOLES, 0)
    assert (posterior.argmax(1) == counts).mean() < 0.5


def test_a_disk_is_averaged() -> None:
    frame = np.ones((40, 40), np.float32)
    frame[8:13, 18:23] = 3
    inside, outside = intensities(frame, np.array([[20.0, 10.0], [20.0, 30.0]]), 2.0)
    assert inside / outside == pytest.approx(3)


def spots(atoms: int, height: float, seed: int = 0) -> Observation:
    """A frame of like columns of one species."""
    frame = np.random.default_rng(seed).poisson(50, (100, 100)).astype(np.float32)
    columns = np.array([[x, y, atoms, 0, 0] for x in range(10, 95, 14) for y in range(10, 95, 14)], np.float32)
    frame[columns[:, 1].astype(int), columns[:, 0].astype(int)] += height
    return Observation(frame, 0.1, 500.0, columns, 3, "paper", View(0.1, (0, 0), 100, 50))


def test_a_library_is_what_the_simulation_says_of_an_intensity(tmp_path: Path) -> None:
    library = Library.of([spots(2, 200.0), spots(5, 2000.0), spots(9, 4000.0, 1)], 1)
    assert set(library.atoms[0]) == {2, 5, 9}
    (tmp_path / "mixture.json").write_text(library.model_dump_json())
    assert Library.read(tmp_path / "mixture.json") == library
    rows = score(spots(5, 2000.0, 7).truth, Mixture(library).answer(spots(5, 2000.0, 7)))
    assert (rows["count"] == 5).all()


def test_it_answers_where_the_columns_are() -> None:
    observation = spots(5, 20.0)
    always_five = Library(edges=((),), atoms=((5,),))
    rows = score(observation.truth, Mixture(always_five).answer(observation))
    assert rows["found"].all()
    assert (rows["count"] == 5).all()
    assert (rows["centre"] == 5).all()
