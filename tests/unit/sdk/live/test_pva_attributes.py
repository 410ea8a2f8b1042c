"""Which attributes of a frame say how it was taken."""

import pytest

from segdepth import Calibration
from segdepth.errors import InvalidFrame
from segdepth.live.frame_attributes import CalibrationAttributes, attributes_of

CALIBRATION = Calibration(0.1, 2.5, 500.0, 300.0, -10.0, 4.0)


def test_what_is_served_is_read():
    assert CalibrationAttributes().calibration(attributes_of(CALIBRATION), {}) == CALIBRATION


def test_a_stated_field_comes_before_an_attribute():
    said = CalibrationAttributes().calibration(attributes_of(CALIBRATION), {"sampling_A": 0.2, "dose_per_A2": 7.0})
    assert (said.sampling_A, said.dose_per_A2, said.counts_per_electron) == (0.2, 7.0, 2.5)


@pytest.mark.parametrize("unit, sampling_A", [("nm", 0.1), ("Å", 0.01), ("pm", 0.0001), ("m", 1e8)])
def test_the_unit_of_another_attribute_is_said(unit, sampling_A):
    attributes = CalibrationAttributes().with_sampling(f"PixelSize:{unit}")
    assert attributes.calibration({"PixelSize": 0.01}, {}).sampling_A == pytest.approx(sampling_A)


@pytest.mark.parametrize("form", ["PixelSize", "PixelSize:", ":nm", "PixelSize:kg", "PixelSize:1/nm"])
def test_an_attribute_without_a_unit_of_length_is_refused(form):
    with pytest.raises(InvalidFrame, match="PixelSize:nm"):
        CalibrationAttributes().with_sampling(form)


@pytest.mark.parametrize("value", ["n/a", "", None, float("nan"), 0.0, -1.0])
def test_what_is_no_number_is_no_pixel_size(value):
    assert CalibrationAttributes().calibration({"SamplingAngstromPerPx": value}, {}) is None


def test_a_number_as_text_is_one():
    assert CalibrationAttributes().calibration({"SamplingAngstromPerPx": " 0.08 "}, {}).sampling_A == 0.08
