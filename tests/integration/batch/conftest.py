"""A small model, movies, and what they hold when nothing goes wrong."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from tests.models import lattice_frame, tiny_store

FRAMES = {"night": 30, "day": 6}
"""Movies and their frames; one of `day` is outside the model's domain."""


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("batch") / "store", strict_domain=True)


@pytest.fixture(scope="package")
def movies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("movies")
    for offset, (name, frames) in enumerate(FRAMES.items()):
        stack = np.stack([lattice_frame(100 * offset + seed) for seed in range(frames)])
        if name == "day":
            stack[3] = 0
        with mrcfile.new(folder / f"{name}.mrc") as mrc:
            mrc.set_data(stack)
            mrc.set_image_stack()
            mrc.voxel_size = 0.1
    return folder
