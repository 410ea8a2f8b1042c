"""One stack (gateway, replica, api) on a tiny model for all tests of this folder, and a movie to send through it."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from segdepth_stack.settings import StackSettings
from segdepth_stack.stack import Stack
from tests.models import lattice_frame, tiny_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of the tiny model; `stable` points at the first."""
    return tiny_store(tmp_path_factory.mktemp("stack") / "store", versions=2)


@pytest.fixture(scope="module")
def stack(store: Path) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGDEPTH_INFERENCE_POLL_S", "0.5")
        with Stack(StackSettings(store=str(store), port=0, http_port=0, metrics_port=0)) as running:
            yield running


@pytest.fixture(scope="module")
def movie() -> np.ndarray:
    """Sixteen different frames of 256² [n, H, W]."""
    return np.stack([lattice_frame(seed, (256, 256), 0.1) for seed in range(16)])


def replicas(deployment: str) -> list[psutil.Process]:
    """Processes of this test's own stack that run a deployment."""
    ours = psutil.Process(os.getpid()).children(recursive=True)
    title = f"ray::ServeReplica:segdepth:{deployment}"
    return [process for process in ours if title in " ".join(cmdline(process))]


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
