"""Pixel sizes of TIFF files: units as programs spell them, and microscopes' own tags."""

import logging

import numpy as np
import pytest
import tifffile

from segdepth.errors import UnreadableFile
from segdepth.files import open_movie
from tests.unit.sdk.files.movies import frames_of, movie_of


@pytest.fixture(autouse=True)
def _tifffile_may_grumble(caplog):
    caplog.set_level(logging.CRITICAL, "tifffile")


@pytest.mark.parametrize(
    "unit, per_unit",
    [
        ("nm", 100),
        ("pm", 0.1),
        ("picometer", 0.1),
        ("nanometers", 100),
        ("nanometres ", 100),
        ("Angstroms", 10),
        ("\\u00C5", 10),
        ("\\u00c5", 10),
        ("\\u00B5m", 1e5),
        ("micron", 1e5),
        ("micrometer", 1e5),
        ("mm", 1e8),
    ],
)
def test_imagejs_units(tmp_path, unit, per_unit):
    metadata = {"axes": "TYX", "unit": unit, "finterval": 0.02}
    tifffile.imwrite(tmp_path / "m.tif", movie_of(), imagej=True, resolution=(per_unit, per_unit), metadata=metadata)
    with open_movie(tmp_path / "m.tif") as movie:
        assert movie.calibration.sampling_A == pytest.approx(0.1)
        assert movie.header.interval_s == 0.02


@pytest.mark.parametrize("unit", ["pixel", "", "s"])
def test_a_unit_that_is_no_length_is_no_sampling(tmp_path, unit):
    tifffile.imwrite(tmp_path / "m.tif", movie_of(), imagej=True, resolution=(10, 10), metadata={"unit": unit})
    with pytest.raises(UnreadableFile, match="no sampling"):
        open_movie(tmp_path / "m.tif")
    assert frames_of(tmp_path / "m.tif", 0.1)[1] == 0.1


def test_imagejs_diffraction_pattern(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", movie_of(), imagej=True, resolution=(10, 10), metadata={"unit": "1/nm"})
    with pytest.raises(UnreadableFile, match="diffraction pattern"):
        open_movie(tmp_path / "m.tif", 0.1)


@pytest.mark.parametrize("unit, size", [("nm", 0.01), ("pm", 10), ("Å", 0.1), ("\u212b", 0.1), ("\u03bcm", 1e-5)])
def test_omes_units_and_times(tmp_path, unit, size):
    metadata = {"axes": "TYX", "PhysicalSizeX": size, "PhysicalSizeXUnit": unit, "TimeIncrement": 20}
    metadata |= {"TimeIncrementUnit": "ms", "AcquisitionDate": "2024-05-06T07:08:09"}
    tifffile.imwrite(tmp_path / "m.tif", movie_of(), ome=True, metadata=metadata)
    with open_movie(tmp_path / "m.tif") as movie:
        assert movie.calibration.sampling_A == pytest.approx(0.1)
        assert movie.header.interval_s == pytest.approx(0.02)
        assert movie.header.start is not None
        assert movie.header.start.isoformat() == "2024-05-06T07:08:09"


def test_damaged_ome_xml_is_left_out_and_said(tmp_path):
    tifffile.imwrite(tmp_path / "m.ome.tif", movie_of(), metadata={"axes": "TYX", "PhysicalSizeX": 1e-5})
    raw = (tmp_path / "m.ome.tif").read_bytes()
    (tmp_path / "m.ome.tif").write_bytes(raw.replace(b"<Pixels", b"<<ixels"))
    with open_movie(tmp_path / "m.ome.tif", 0.1) as movie:
        assert "OME-XML is damaged" in movie.header.notes[0]


def test_axes_that_differ_leave_it_to_the_user(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", movie_of(), imagej=True, resolution=(100, 1), metadata={"unit": "nm"})
    with pytest.raises(UnreadableFile, match="not square"):
        open_movie(tmp_path / "m.tif")
    assert frames_of(tmp_path / "m.tif", 0.1)[1] == 0.1


def tagged(path, *tags, description=None, shape=(32, 32)):
    data = np.zeros(shape, "u2")
    more = {"description": description} if description else {}
    tifffile.imwrite(path, data, photometric="minisblack", metadata=None, extratags=tags, **more)
    return path


def text(code, value):
    return (code, 2, len(value) + 1, value, True)


def double(code, value):
    return (code, 12, 1, value, True)


class TestVendors:
    def test_digitalmicrograph(self, tmp_path):
        tags = [text(65003, "nm"), text(65004, "nm"), text(65005, "s")]
        tags += [double(65009, 0.01), double(65010, 0.01), double(65011, 0.05)]
        with open_movie(tagged(tmp_path / "m.tif", *tags)) as movie:
            assert movie.calibration.sampling_A == pytest.approx(0.1)
            assert movie.header.interval_s == 0.05
            assert "DigitalMicrograph" in movie.header.source

    def test_digitalmicrographs_diffraction_pattern(self, tmp_path):
        tags = [text(65003, "1/nm"), text(65004, "1/nm"), double(65009, 0.01), double(65010, 0.01)]
        with pytest.raises(UnreadableFile, match="diffraction pattern"):
            open_movie(tagged(tmp_path / "m.tif", *tags), 0.1)

    @pytest.mark.parametrize("code", [34680, 34682])
    def test_fei(self, tmp_path, code):
        meta = "[Beam]\r\nHV=300000\r\n[Scan]\r\nPixelWidth=1e-011\r\nPixelHeight=1e-011\r\n"
        with open_movie(tagged(tmp_path / "m.tif", text(code, meta))) as movie:
            assert movie.calibration.sampling_A == pytest.approx(0.1)
            assert movie.calibration.beam_energy_kev == pytest.approx(300)

    def test_fei_without_numbers(self, tmp_path):
        meta = "[Beam]\r\nHV=off\r\n[Scan]\r\nPixelWidth=\r\n"
        with open_movie(tagged(tmp_path / "m.tif", text(34682, meta)), 0.1) as movie:
            assert movie.calibration.beam_energy_kev is None

    def test_zeiss(self, tmp_path):
        lines = ["0", "0", "0", "2.5e-12", "0", "AP_ACTUALKV", "EHT = 30.00 kV"]
        meta = "\r\n".join(lines) + "\r\n"
        with open_movie(tagged(tmp_path / "m.tif", text(34118, meta), shape=(64, 256))) as movie:
            assert movie.calibration.sampling_A == pytest.approx(0.1)
            assert movie.calibration.beam_energy_kev == 30

    REPORT = """<?xml version="1.0"?><TemReporter><DateTime>2024-05-06T07:08:09.1234567+09:00</DateTime>
    <ElectronGun><AccelerationVoltage>200000</AccelerationVoltage></ElectronGun><Eos><EosMode>{eos}</EosMode></Eos>
    <ImageFormingSystem><ImageFormingMode>{mode}</ImageFormingMode><SelectorValue>1000000</SelectorValue>
    </ImageFormingSystem><PixelsPerMeter><Horizontal>100000</Horizontal><Vertical>100000</Vertical></PixelsPerMeter>
    </TemReporter>"""

    def test_jeol(self, tmp_path):
        report = self.REPORT.format(eos="eosTEM", mode="modeMAG1")
        with open_movie(tagged(tmp_path / "m.tif", description=report)) as movie:
            assert movie.calibration.sampling_A == pytest.approx(0.1)
            assert movie.calibration.beam_energy_kev == pytest.approx(200)
            assert movie.header.start is not None
            assert movie.header.start.year == 2024

    def test_jeols_diffraction_pattern(self, tmp_path):
        with pytest.raises(UnreadableFile, match="diffraction pattern"):
            open_movie(tagged(tmp_path / "m.tif", description=self.REPORT.format(eos="eosTEM", mode="modeDIFF")), 0.1)

    def test_jeols_scan_has_no_magnification_of_an_image(self, tmp_path):
        with pytest.raises(UnreadableFile, match="no magnification"):
            open_movie(tagged(tmp_path / "m.tif", description=self.REPORT.format(eos="eosASID", mode="modeMAG1")))
