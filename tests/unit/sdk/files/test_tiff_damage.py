"""TIFF files that are cut off, contradict themselves or inflate without end: an error, soon and in little memory."""

import io
import logging
import struct
import tracemalloc
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile

from segdepth.errors import UnreadableFile
from segdepth.files import open_movie
from tests.unit.sdk.files.movies import frames_of, movie_of

BODY = 8
"""Pixels come right behind the file's header."""


@pytest.fixture(autouse=True)
def _tifffile_may_grumble(caplog):
    caplog.set_level(logging.CRITICAL, "tifffile")


def page(following=0, **changes):
    """The directory of a grey page of 16 x 16 pixels; `changes` by the names of tags."""
    tags = {"width": 16, "height": 16, "bits": 8, "compression": 1, "photometric": 1}
    tags |= {"offset": BODY, "samples": 1, "rows": 16, "count": 256} | changes
    codes = {"width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262}
    codes |= {"description": 270, "offset": 273, "samples": 277, "rows": 278, "count": 279}
    entries = []
    for name, value in tags.items():
        if value is not None:
            kind, number, value = (2, *value) if isinstance(value, tuple) else (4, 1, value)
            entries.append(struct.pack("<HHII", codes[name], kind, number, value))
    return (
        struct.pack("<H", len(entries))
        + b"".join(sorted(entries, key=lambda e: e[:2][::-1]))
        + struct.pack("<I", following)
    )


def one_page(body=bytes(256), **changes):
    return b"II*\0" + struct.pack("<I", BODY + len(body)) + body + page(**changes)


def refused(tmp_path, data, says):
    (tmp_path / "m.tif").write_bytes(data)
    with pytest.raises(UnreadableFile, match=says):
        frames_of(tmp_path / "m.tif", 0.1)


class TestImageJ:
    def beyond_4_gb(self, there, **counts):
        """As ImageJ writes a stack that is too large for pages: one, and all pixels behind it."""
        lines = "".join(f"{name}={value}\n" for name, value in counts.items())
        description = f"ImageJ=1.53t\n{lines}unit=nm\n".encode() + b"\0"
        pixels = movie_of("u1", (there, 16, 16)).tobytes()
        size = len(page(description=(0, 0)))
        described = BODY + size
        start = described + len(description)
        return (
            b"II*\0"
            + struct.pack("<I", BODY)
            + page(description=(len(description), described), offset=start)
            + description
            + pixels
        )

    def test_a_whole_one(self, tmp_path):
        (tmp_path / "m.tif").write_bytes(self.beyond_4_gb(9, images=9, frames=9))
        np.testing.assert_array_equal(frames_of(tmp_path / "m.tif", 0.1)[0], movie_of("u1", (9, 16, 16)))

    @pytest.mark.parametrize("lost", [1, 256, 600, 2000])
    def test_one_that_was_cut_off(self, tmp_path, lost):
        there = 9 - -(-lost // 256)
        data = self.beyond_4_gb(9, images=9, slices=9)[:-lost]
        refused(tmp_path, data, f"truncated: ImageJ announces 9 frames, {there} are there")

    def test_counts_that_contradict_each_other(self, tmp_path):
        refused(tmp_path, self.beyond_4_gb(9, images=9, slices=4), "announces 9 images, and 4 in slices and frames")

    def test_a_count_that_no_file_has(self, tmp_path):
        refused(tmp_path, self.beyond_4_gb(9, images=10**15), "announces 1000000000000000 frames, 9 are there")

    def test_pages_that_are_missing(self, tmp_path):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, movie_of("u1"), imagej=True, metadata={"axes": "TYX"})
        data = buffer.getvalue().replace(b"images=5", b"images=7").replace(b"frames=5", b"frames=7")
        refused(tmp_path, data, "ImageJ announces 7 frames, 5 are there")


@pytest.mark.parametrize("planes", [3, 9])
def test_ome_announces_another_number_of_planes(tmp_path, planes):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, movie_of(), ome=True, metadata={"axes": "TYX"})
    data = buffer.getvalue().replace(b'SizeT="5"', f'SizeT="{planes}"'.encode())
    refused(tmp_path, data, f"OME-XML announces {planes} frames, 5 are there")


@pytest.mark.parametrize("name", ["../other.tif", "/data/other.tif", "C:\\data\\other.tif", "a/b.tif"])
def test_ome_names_a_file_elsewhere(tmp_path, name):
    """What a stranger sends must not lead to other files of this machine."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, movie_of(), ome=True, metadata={"axes": "TYX"})
    data = buffer.getvalue()
    plane = b'<TiffData IFD="0" PlaneCount="5"/>'
    assert plane in data
    elsewhere = f'<TiffData><UUID FileName="{name}">urn:uuid:1</UUID></TiffData>'.encode()
    # The description moves to the end of the file: it has become longer.
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        text = tiff.pages.first.description.encode().replace(plane, elsewhere) + b"\0"
        tag = tiff.pages.first.tags["ImageDescription"].offset
    data = data[: tag + 4] + struct.pack("<II", len(text), len(data)) + data[tag + 12 :] + text
    refused(tmp_path, data, "not beside it")


def test_a_page_of_another_shape_among_the_others(tmp_path):
    with tifffile.TiffWriter(tmp_path / "m.tif") as writer:
        for number in range(9):
            writer.write(np.zeros((8, 32) if number == 4 else (16, 16), "u1"), contiguous=False, metadata=None)
    with pytest.raises(UnreadableFile, match="different shapes"):
        frames_of(tmp_path / "m.tif", 0.1)


class TestPages:
    def test_a_chain_that_comes_back(self, tmp_path):
        data = one_page()
        refused(tmp_path, data[:-4] + struct.pack("<I", BODY + 256), "page 1 is one of those before it")

    def test_empty_pages(self, tmp_path):
        pages = b"".join(struct.pack("<HI", 0, BODY + 6 * (number + 1)) for number in range(1000))
        refused(tmp_path, b"II*\0" + struct.pack("<I", BODY) + pages, "empty")

    def test_more_pages_than_a_movie_has(self, tmp_path, monkeypatch):
        monkeypatch.setattr("segdepth.files.tiff_pages.MOST_PAGES", 3)
        tifffile.imwrite(tmp_path / "m.tif", movie_of(), photometric="minisblack", metadata=None)
        with pytest.raises(UnreadableFile, match="more than 3 pages"):
            open_movie(tmp_path / "m.tif", 0.1)


class TestStrips:
    def test_one_that_is_missing_is_not_zeros(self, tmp_path):
        refused(tmp_path, one_page(compression=8, offset=0, count=0), "missing")

    def test_fewer_than_the_rows_need(self, tmp_path):
        refused(tmp_path, one_page(zlib.compress(bytes(16)), compression=8, rows=1, count=24), "16 needed")

    @pytest.mark.parametrize("side", [60_000, 2**31 - 1])
    def test_a_frame_that_is_larger_than_the_file(self, tmp_path, side):
        refused(tmp_path, one_page(width=side, height=side, rows=side), "truncated: 1 frames announced, 0 there")

    @pytest.mark.parametrize("code, encode", [(8, zlib.compress), (50000, imagecodecs.zstd_encode)])
    def test_a_bomb_ends_at_the_size_of_the_strip(self, tmp_path, code, encode):
        bomb = encode(bytes(100_000_000))
        data = one_page(bomb, compression=code, count=len(bomb))
        tracemalloc.start()
        try:
            refused(tmp_path, data, "damaged or truncated")
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("side", [2000, 20_000])
    def test_a_jpeg_of_another_size(self, tmp_path, side):
        bomb = imagecodecs.jpeg_encode(np.zeros((side, side), "u1"))
        refused(tmp_path, one_page(bomb, compression=7, count=len(bomb)), "damaged")
