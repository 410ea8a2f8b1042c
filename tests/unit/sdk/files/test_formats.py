"""The table of formats: docs/files.md says the same, and readers name no other place of a pixel size."""

import re
from importlib.metadata import requires
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from segdepth.files import FORMATS, SUFFIXES, Format, format_of, open_movie
from segdepth.files.ome_zarr import PIXEL_SIZE as OF_ZARR
from segdepth.files.velox import PIXEL_SIZE as OF_VELOX
from tests.unit.sdk.files.dm_writer import dm_file, dm_image
from tests.unit.sdk.files.movies import movie_of, write_mrc
from tests.unit.sdk.files.ser_writer import ser_file

PAGE = Path(__file__).parents[4] / "docs" / "files.md"


def row(each: Format) -> str:
    """A format's line of the page."""
    cells = (
        each.name,
        " ".join(f"`{suffix}`" for suffix in each.suffixes),
        each.holds,
        "; ".join(each.sources) or "`--sampling`",
        ", ".join(each.also) or "-",
        each.dataset or "-",
        f"{each.read_by}; `{each.extra}`",
    )
    return f"| {' | '.join(cells)} |"


def test_the_page_has_this_table():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert lines[2:] == [row(each) for each in FORMATS]


def test_every_name_belongs_to_one_format():
    names = [suffix for each in FORMATS for suffix in each.suffixes]
    assert len(names) == len(set(names)) == len(SUFFIXES)
    assert format_of(Path("MOVIE.DM4")).name == "DM"
    assert format_of(Path("movie.docx")) is None


def test_extras_are_of_the_package():
    extras = {each.extra.split("]")[0].partition("[")[2] for each in FORMATS}
    offered = set(re.findall(r"extra == ['\"]([\w-]+)['\"]", " ".join(requires("segdepth"))))
    assert extras - {""} <= offered


def written(folder: Path) -> list[Path | str]:
    """A file of each format that is quickly written, with its pixel size in it."""
    frames = movie_of()
    tifffile.imwrite(
        folder / "m.tif", frames, imagej=True, resolution=(100, 100), metadata={"unit": "nm", "axes": "TYX"}
    )
    (folder / "m.dm4").write_bytes(dm_file([dm_image(frames)]))
    (folder / "m.ser").write_bytes(ser_file(frames))
    with h5py.File(folder / "m.emd", "w") as file:
        group = file.create_group("data/movie")
        group.attrs["emd_group_type"] = 1
        group["data"] = frames
        for number, (size, name, unit) in enumerate(zip(frames.shape, "tyx", ("s", "nm", "nm"), strict=True), 1):
            axis = group.create_dataset(f"dim{number}", data=np.arange(size) * 0.01)
            axis.attrs.update({"name": name, "units": unit})
    return [write_mrc(folder / "m.mrc", frames), *(folder / f"m.{end}" for end in ("tif", "dm4", "ser", "emd"))]


def test_readers_say_what_the_table_says(tmp_path):
    for path in written(tmp_path):
        with open_movie(path) as movie:
            assert movie.header.source in format_of(path).sources, path
            assert movie.calibration.sampling_A == pytest.approx(0.1)
    assert (OF_VELOX in format_of(Path("m.emd")).sources, OF_ZARR in format_of(Path("m.zarr")).sources) == (True, True)


def test_formats_without_a_place_for_it_need_a_stated_one():
    assert {each.name for each in FORMATS if not each.sources} == {"NPY", "PNG, JPEG"}


def test_what_may_be_sent_alone():
    assert {each.name for each in FORMATS if each.instead} == {"Zarr", "EMI"}
