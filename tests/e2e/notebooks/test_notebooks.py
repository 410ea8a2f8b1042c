"""The notebooks of the docs, executed as they are, against the released model in this process."""

import os
from pathlib import Path

import mrcfile
import nbformat
import numpy as np
import pyarrow.parquet as pq
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

from segdepth_training.frames.demo_movie import DOSES, FRAMES, SAMPLING_A, make_movie

NOTEBOOKS = Path(__file__).parents[3] / "docs" / "notebooks"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    """The demo's particle at all doses: a third of its movie."""
    folder = tmp_path_factory.mktemp("notebook")
    with mrcfile.mmap(make_movie(folder, seed=0)) as whole:
        frames = np.array(whole.data[-len(DOSES) * FRAMES :])
    with mrcfile.new(folder / "particle.mrc") as mrc:
        mrc.set_data(frames)
        mrc.set_image_stack()
        mrc.voxel_size = SAMPLING_A
    return folder / "particle.mrc"


def executed(name: str, folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in its own folder as jupyter does. What a cell raises, this raises."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    # A kernel that listens on no port, but in a folder of the test's own.
    own = Config({"KernelManager": {"transport": "ipc", "ip": str(folder / "kernel")}})
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=120, resources={"metadata": {"path": str(NOTEBOOKS)}}, config=own
    )
    return client.execute(env=dict(os.environ))


def outputs(notebook: nbformat.NotebookNode, kind: str) -> list[str]:
    """What its cells gave, of a MIME type."""
    given = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["data"][kind] for output in given if kind in output.get("data", {})]


def test_first_movie(movie, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEPTH_DEMO_MOVIE", str(movie))
    monkeypatch.delenv("MPLBACKEND")
    notebook = executed("first_movie.ipynb", tmp_path)
    assert len(outputs(notebook, "image/png")) == 3
    shown = "\n".join(outputs(notebook, "text/plain"))
    assert "FrameResult(sequence=0, status='ok'" in shown
    assert "Calibration(sampling_A=0.1)" in shown
    table = pq.read_table(movie.with_suffix(".columns.parquet")).to_pandas()
    assert table["frame"].nunique() == len(DOSES) * FRAMES
    assert set(table["species"]) == {"Ce", "O"}
    assert set(table["status"]) == {"ok"}


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert not any(cell.outputs or cell.execution_count for cell in cells)
