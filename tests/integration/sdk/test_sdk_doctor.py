"""`segdepth doctor FILE`: what is read of a file, and whether the model takes its frames; it ticks nothing else."""

import mrcfile
import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from segdepth.cli.app import app
from tests.models import lattice_frame
from tests.unit.sdk.files.dm_writer import dm_file, dm_image

SHAPE = (224, 240)


@pytest.fixture
def run(store, monkeypatch):
    monkeypatch.setenv("SEGDEPTH_STORE", str(store))

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def doctor(run):
    """The report's lines on a file, by what they are about, and the exit status."""

    def doctor(*arguments):
        done = run("doctor", *arguments)
        lines, what = {}, ""
        for line in done.stdout.splitlines():
            cells = [cell.strip() for cell in line.strip("│┃").split("│")]
            if len(cells) == 4:
                what = cells[1] or what
                mark, found, remedy = lines.get(what, (cells[0], "", ""))
                lines[what] = (mark, f"{found} {cells[2]}".strip(), f"{remedy} {cells[3]}".strip())
        return lines, done.exit_code

    return doctor


@pytest.fixture(scope="module")
def frames():
    return np.stack([lattice_frame(seed, SHAPE) for seed in range(5)])


def write_mrc(path, frames, sampling_A=0.1):
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(frames)
        mrc.voxel_size = sampling_A
    return path


def test_everything_that_is_read_of_a_dm4_file(doctor, frames, tmp_path):
    image = dm_image(
        frames.astype("i4"),
        scales=(0.01, 0.01, 2.5),
        units=("nm", "nm", "ms"),
        brightness=(0.05, "e-"),
        **{"Microscope Info": {"Voltage": 300000.0, "Cs(mm)": -0.009}},
    )
    (tmp_path / "m.dm4").write_bytes(dm_file([image]))
    lines, status = doctor(tmp_path / "m.dm4")
    assert status == 0, lines
    assert lines["format"][1] == "DM, read by ncempy"
    assert lines["frames"][1] == f"5 of 224 x 240 px, int32 sent as {np.dtype('f4')}"
    assert lines["pixel size"][:2] == ("✓", "0.1 Å/px, from ImageData.Calibrations.Dimension")
    for fact in ("beam energy 300 kV", "C3 -9 µm", "counts per electron 20", "interval 0.0025 s"):
        assert fact in lines["calibration"][1]
    assert "not in the file: dose, black level, start" in lines["calibration"][1]
    assert [name for name in lines if name.startswith("frame ")] == ["frame 0", "frame 2", "frame 4"]
    assert all(lines[f"frame {index}"][1].startswith("ok: ") for index in (0, 2, 4))
    assert "columns" in lines["frame 0"][1]


def test_where_the_pixel_size_comes_from(doctor, frames, tmp_path):
    write_mrc(tmp_path / "m.mrc", frames)
    lines, _ = doctor(tmp_path / "m.mrc", "--sampling", 0.101)
    assert lines["pixel size"][1] == (
        "0.101 Å/px, as stated (--sampling); the file: 0.1 from cell / grid of the header"
    )
    lines, _ = doctor(tmp_path / "m.mrc", "--sampling", "auto-lattice")
    assert "by the lattice, from 0.1" in lines["pixel size"][1]


def test_without_a_pixel_size_the_rest_is_said_all_the_same(doctor, frames, tmp_path):
    np.save(tmp_path / "m.npy", frames)
    lines, status = doctor(tmp_path / "m.npy")
    assert status == 1
    assert lines["frames"][1].startswith("5 of 224 x 240 px")
    assert lines["pixel size"][0] == "✗"
    assert "an NPY file has no place for it" in lines["pixel size"][1]
    assert "frame 0" not in lines


def test_what_estimate_refuses_is_not_ticked(doctor, run, frames, tmp_path):
    frames = frames.astype("f4")
    frames[2] = 0
    write_mrc(tmp_path / "m.mrc", frames)
    lines, status = doctor(tmp_path / "m.mrc")
    assert status == 1
    assert [lines[f"frame {index}"][0] for index in (0, 2, 4)] == ["✓", "✗", "✓"]
    assert "an empty frame" in lines["frame 2"][1]
    # Of another lattice, and too coarse: each with value and range.
    for value, check in ((0.107, "lattice"), (0.3, "sampling")):
        refused, status = doctor(tmp_path / "m.mrc", "--sampling", value)
        assert status == 1
        assert refused["frame 0"][0] == "✗"
        assert f"{check}: " in refused["frame 0"][1]
        assert "permitted 0." in refused["frame 0"][1]
        assert run("estimate", tmp_path / "m.mrc", "--sampling", value).exit_code == 3


def test_a_suspect_frame_is_a_warning_with_its_reason(doctor, frames, tmp_path):
    write_mrc(tmp_path / "m.mrc", frames[:1])
    lines, status = doctor(tmp_path / "m.mrc", "--sampling", 0.102)
    assert (status, lines["frame 0"][0]) == (0, "-")
    assert "lattice: the lattice implies" in lines["frame 0"][1]
    assert lines["frame 0"][2].startswith("lattice: if it is the model's crystal: within 4 % --sampling auto-lattice")


def test_a_frame_that_cannot_be_read_is_1_and_the_others_are_counted(doctor, run, frames, tmp_path):
    path = tmp_path / "m.tif"
    tifffile.imwrite(
        path, frames[:3], compression="zlib", photometric="minisblack", resolution=(1e9, 1e9), resolutionunit=3
    )
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[1].dataoffsets[0], tiff.pages[1].databytecounts[0]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(count))
    lines, status = doctor(path)
    assert status == 1
    assert [lines[f"frame {index}"][0] for index in range(3)] == ["✓", "✗", "✓"]
    assert "damaged" in lines["frame 1"][1]


def test_notes_are_warnings(doctor, frames, tmp_path):
    Image.fromarray((frames[0] // 4).clip(0, 255).astype("u1")).save(tmp_path / "export.png")
    lines, _ = doctor(tmp_path / "export.png", "--sampling", 0.1)
    assert lines["note"][0] == "-"
    assert "a display export" in lines["note"][1]


def test_several_datasets_are_listed_and_one_can_be_named(doctor, frames, tmp_path):
    (tmp_path / "m.dm4").write_bytes(dm_file([dm_image(frames), dm_image(frames[0])]))
    lines, status = doctor(tmp_path / "m.dm4")
    assert status == 1
    (found,) = (line[1] for line in lines.values() if "holds 2 movies or images, say which" in line[1])
    assert "::3 224x240 uint16" in found
    lines, status = doctor(f"{tmp_path / 'm.dm4'}::3")
    assert status == 0, lines
    assert lines["file"][1].endswith("m.dm4::3")
    assert lines["frames"][1].startswith("1 of 224 x 240 px")


def test_frames_are_counted_as_a_detectors_profile_corrects_them(doctor, frames, tmp_path):
    dark = np.tile(np.linspace(2000, 2050, SHAPE[1], dtype="f4"), (SHAPE[0], 1))
    np.save(tmp_path / "dark.npy", dark)
    (tmp_path / "detector.toml").write_text('[camera]\ndark = "dark.npy"\n')
    write_mrc(tmp_path / "m.mrc", frames.astype("f4") + dark)
    lines, status = doctor(tmp_path / "m.mrc")
    assert (status, lines["frame 0"][0]) == (1, "✗"), lines["frame 0"]
    assert "black: no electrons at" in lines["frame 0"][1]
    lines, status = doctor(tmp_path / "m.mrc", "--detector", tmp_path / "detector.toml")
    assert (status, lines["frame 0"][0]) == (0, "✓"), lines
    assert "black level 0" in lines["calibration"][1]
    (tmp_path / "detector.toml").write_text("[camera]\ndork = 1\n")
    done, status = doctor(tmp_path / "m.mrc", "--detector", tmp_path / "detector.toml")
    assert (done, status) == ({}, 2)


def test_a_sampling_that_is_no_number_is_2(run, frames, tmp_path):
    done = run("doctor", write_mrc(tmp_path / "m.mrc", frames), "--sampling", "fine")
    assert done.exit_code == 2
    assert "a pixel size in Å/px, or auto-lattice" in done.stderr
