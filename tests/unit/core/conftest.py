"""A small model, fetched and loaded once."""

from pathlib import Path

import pytest
import torch

from segdepth_core.predictor import Predictor
from tests.models import released_model, tiny_model

# The models are small, and other tests may run beside these.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def strict_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strict-model")
    tiny_model(folder, strict_domain=True)
    return folder


@pytest.fixture(scope="session")
def predictor(model_folder: Path) -> Predictor:
    return Predictor.load(model_folder, device="cpu")


@pytest.fixture(scope="session")
def strict_predictor(strict_folder: Path) -> Predictor:
    return Predictor.load(strict_folder, device="cpu")


@pytest.fixture(scope="session")
def released() -> Predictor:
    """The released model."""
    return Predictor.load(released_model(), device="cpu")
