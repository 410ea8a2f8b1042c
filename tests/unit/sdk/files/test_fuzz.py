"""Damaged files of every format that has one file: a typed error, or frames of the shape that the file says."""

import logging
import warnings

import mrcfile
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.unit.sdk.files.fuzz import damaged, outcome
from tests.unit.sdk.files.movies import movie_of, write_mrc

DATA = movie_of("u2", (3, 16, 20))


def _mrc(path):
    write_mrc(path, DATA)


def _fei_mrc(path):
    write_mrc(path, DATA.astype("f4"))
    with mrcfile.open(path, "r+") as mrc:
        mrc.set_extended_header(np.zeros(1, mrcfile.dtypes.get_ext_header_dtype(b"FEI1", "<")))
        mrc.header.exttyp = b"FEI1"


def _tiff(dtype="u2", **options):
    def write(path):
        tifffile.imwrite(path, DATA.astype(dtype), **{"photometric": "minisblack", **options})

    return write


def _npy(path):
    np.save(path, DATA)


def _picture(path):
    Image.fromarray(DATA[0].astype("u1")).save(path)


FILES = {
    "plain.mrc": _mrc,
    "fei.mrc": _fei_mrc,
    "pages.tif": _tiff(metadata=None),
    "big.tif": _tiff(metadata=None, bigtiff=True),
    "shaped.tif": _tiff(),
    "ome.tif": _tiff(ome=True, metadata={"axes": "TYX", "PhysicalSizeX": 1e-5}),
    "imagej.tif": _tiff(imagej=True, resolution=(100, 100), metadata={"axes": "TYX", "unit": "nm"}),
    "lzw.tif": _tiff(compression="lzw", predictor=2, metadata=None),
    "deflate.tif": _tiff(compression="zlib", tile=(16, 16)),
    "zstd.tif": _tiff(compression="zstd", rowsperstrip=4, metadata=None),
    "jpeg.tif": _tiff(dtype="u1", compression="jpeg", metadata=None),
    "plain.npy": _npy,
    "plain.png": _picture,
    "plain.jpg": _picture,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("sampling_A", [None, 0.1])
def test_damaged(tmp_path, caplog, name, sampling_A):
    caplog.set_level(logging.CRITICAL, "tifffile")
    path = tmp_path / name
    FILES[name](path)
    assert outcome(path, 0.1) == "read"
    with warnings.catch_warnings():
        # Libraries warn of what they find odd.
        warnings.simplefilter("ignore")
        outcomes = []
        for data in damaged(path.read_bytes(), seed=len(name)):
            path.write_bytes(data)
            outcomes.append(outcome(path, sampling_A))
    assert "refused" in outcomes
