"""Files of real microscopes, where SEGDEPTH_MICROSCOPE_FILES names a folder of them: read as they are, or refused.

They are not part of the repository. Where RosettaSciIO is installed, it says what is right.
"""

import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from segdepth.errors import NotInstalled, UnreadableFile
from segdepth.files import SUFFIXES, open_movie

FOLDER = os.environ.get("SEGDEPTH_MICROSCOPE_FILES", "")
INDEPENDENT = {
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".ser": "tia",
    ".emd": "emd",
    ".hspy": "hspy",
    ".mrc": "mrc",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""RosettaSciIO's readers."""

FILES = sorted(path for path in Path(FOLDER).rglob("*") if path.suffix.lower() in SUFFIXES) if FOLDER else []

pytestmark = pytest.mark.skipif(not FILES, reason="SEGDEPTH_MICROSCOPE_FILES names no folder of microscopes' files")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_frames_are_the_files_or_it_is_refused(path):
    try:
        with open_movie(path, 0.1) as movie:
            frames = np.stack(list(movie))
    except (UnreadableFile, NotInstalled):
        # Every other error fails the test.
        return
    reader = INDEPENDENT.get(path.suffix.lower())
    if reader is None or not _installed():
        return
    shapes = {frames.shape, frames[0].shape if len(frames) == 1 else frames.shape}
    images = [signal["data"] for signal in import_module(f"rsciio.{reader}").file_reader(str(path))]
    # Some of its readers put x before y.
    turned = [np.swapaxes(image, -1, -2) for image in images if image.ndim > 1]
    alike = [image for image in [*images, *turned] if image.shape in shapes]
    assert any(np.array_equal(image.reshape(frames.shape), frames) for image in alike)


def _installed() -> bool:
    try:
        import rsciio  # noqa: F401 - an extra
    except ImportError:
        return False
    return True
