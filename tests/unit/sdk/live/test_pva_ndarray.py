"""Structures as areaDetector makes them, as pictures."""

import io

import h5py
import hdf5plugin
import imagecodecs
import numpy as np
import pytest
from p4p import Value
from p4p.nt import NTNDArray
from PIL import Image

from segdepth.errors import InvalidFrame
from segdepth.live import ndarray

TYPE = NTNDArray().type
UNION = {"i1": "byte", "u1": "ubyte", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "i8": "long"} | {
    "u8": "ulong",
    "f4": "float",
    "f8": "double",
}
PVDATA = {"i1": 1, "i2": 2, "i4": 3, "u1": 5, "u2": 6, "u4": 7, "f4": 9, "f8": 10}


def structure(pixels, sizes=None, **more):
    pixels = np.asarray(pixels)
    member = UNION[pixels.dtype.str[1:]] + "Value"
    sizes = sizes or pixels.shape[::-1]
    return Value(TYPE, {"value": (member, pixels.ravel()), "dimension": [{"size": size} for size in sizes], **more})


def picture(value, said=None):
    return ndarray.image(value, said or {})


def compressed(frame, codec, data):
    parameters = ("i", PVDATA[frame.dtype.str[1:]])
    sizes = frame.shape[::-1]
    raw = np.frombuffer(data, "u1")
    # areaDetector's buffer is as long as the frame; only so much of it counts.
    raw = np.concatenate([raw, np.full(11, 99, "u1")])
    return structure(raw, sizes, codec={"name": codec, "parameters": parameters}, compressedSize=len(data))


@pytest.fixture
def frame():
    return np.random.default_rng(0).poisson(40, (61, 83)).astype("u2")


def test_x_is_the_first_dimension(frame):
    np.testing.assert_array_equal(picture(structure(frame)), frame)


@pytest.mark.parametrize(
    "stored, sent",
    [
        *(("u1", "u1"), ("i1", "i2"), ("u2", "u2"), ("i2", "i2"), ("u4", "f4"), ("i4", "f4")),
        *(("i8", "f4"), ("u8", "f4"), ("f4", "f4"), ("f8", "f4")),
    ],
)
def test_pixels_of_every_type_keep_their_values(stored, sent):
    pixels = np.array([[0, 1, 2], [3, 100, 127]], stored)
    if pixels.dtype.kind != "u":
        pixels[0, 0] = -5
    converted = picture(structure(pixels))
    assert converted.dtype == sent
    np.testing.assert_array_equal(converted, pixels)


@pytest.mark.parametrize("value, stored", [(2**24 + 1, "u4"), (-(2**30), "i4"), (1e300, "f8")])
def test_what_does_not_fit_is_said(value, stored):
    with pytest.raises(InvalidFrame, match="fit f32"):
        picture(structure(np.full((4, 4), value, stored)))


def test_a_third_dimension_of_one_is_none(frame):
    np.testing.assert_array_equal(picture(structure(frame, (83, 61, 1))), frame)


@pytest.mark.parametrize("sizes", [(83,), (83, 61, 2), (3, 83, 61), (), (83, 0)])
def test_other_dimensions_are_refused(sizes):
    pixels = np.zeros(max(int(np.prod(sizes)), 1), "u2")
    value = Value(TYPE, {"value": ("ushortValue", pixels), "dimension": [{"size": size} for size in sizes]})
    with pytest.raises(InvalidFrame, match="two axes"):
        picture(value)


def test_pixels_that_do_not_fit_their_dimensions_are_refused(frame):
    with pytest.raises(InvalidFrame, match="5063 pixels where dimension says 84 x 61"):
        picture(structure(frame, (84, 61)))


@pytest.mark.parametrize("colour, name", [(1, "Bayer"), (2, "RGB1"), ("RGB3", "RGB3"), (5, "YUV444")])
def test_colours_are_refused_by_name(frame, colour, name):
    with pytest.raises(InvalidFrame, match=f"ColorMode {name}: .*Mono"):
        picture(structure(frame), {"ColorMode": colour})


@pytest.mark.parametrize("colour", [0, "Mono", None, "a view of mine"])
def test_grey_is_taken(frame, colour):
    assert picture(structure(frame), {"ColorMode": colour}).shape == (61, 83)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f4"])
def test_lz4(frame, dtype):
    frame = frame.astype(dtype)
    value = compressed(frame, "lz4", imagecodecs.lz4_encode(frame.tobytes()))
    np.testing.assert_array_equal(picture(value), frame)


@pytest.mark.parametrize("compressor", ["lz4", "zlib", "blosclz"])
def test_blosc(frame, compressor):
    data = imagecodecs.blosc_encode(frame.tobytes(), typesize=2, shuffle=1, compressor=compressor)
    np.testing.assert_array_equal(picture(compressed(frame, "blosc", data)), frame)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(61, 83), (2, 3), (64, 64), (128, 129)])
def test_bslz4_as_bitshuffle_itself_makes_it(dtype, shape):
    frame = np.random.default_rng(1).poisson(3, shape).astype(dtype)
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        data = h5.create_dataset("frame", data=frame, chunks=shape, **hdf5plugin.Bitshuffle(cname="lz4"))
        _, chunk = data.id.read_direct_chunk((0, 0))
    # HDF5's filter writes the size and that of a block before it: 12 bytes.
    value = compressed(frame, "bslz4", chunk[12:])
    np.testing.assert_array_equal(picture(value), frame)


def test_jpeg_of_a_grey_frame():
    frame = np.full((16, 24), 77, "u1")
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=95)
    assert np.abs(picture(compressed(frame, "jpeg", file.getvalue())).astype(int) - 77).max() <= 2


@pytest.mark.parametrize("size", [(24, 17), (2400, 1600)])
def test_a_jpeg_of_another_size_is_damaged(size):
    file = io.BytesIO()
    Image.new("L", size).save(file, "JPEG")
    with pytest.raises(InvalidFrame, match="jpeg is damaged"):
        picture(compressed(np.zeros((16, 24), "u1"), "jpeg", file.getvalue()))


@pytest.mark.parametrize("codec", ["lz4", "blosc", "bslz4", "jpeg"])
def test_damage_is_said(frame, codec):
    damaged = np.random.default_rng(2).integers(0, 255, 500, "u1").tobytes()
    with pytest.raises(InvalidFrame, match=f"compressed with {codec} is damaged"):
        picture(compressed(frame, codec, damaged))


def test_a_frame_that_inflates_beyond_its_size_is_damaged(frame):
    data = imagecodecs.blosc_encode(bytes(10_000_000))
    with pytest.raises(InvalidFrame, match="inflates beyond its size"):
        picture(compressed(frame, "blosc", data))


def test_an_unknown_codec_names_those_that_are_read(frame):
    with pytest.raises(InvalidFrame, match="'zfp' are not read; jpeg, blosc, lz4, bslz4"):
        picture(compressed(frame, "zfp", b"1234"))


def test_announced_sizes_beyond_a_message_are_refused_before_anything_is_made():
    huge = Value(
        TYPE,
        {
            "value": ("ubyteValue", np.zeros(10, "u1")),
            "codec": {"name": "lz4"},
            "dimension": [{"size": 2**31 - 1}, {"size": 2**31 - 1}],
        },
    )
    with pytest.raises(InvalidFrame, match="bytes can be sent"):
        picture(huge)


def test_the_time_is_timeStamp_or_else_dataTimeStamp(frame):
    later, earlier = ({"secondsPastEpoch": 1_700_000_000 + more, "nanoseconds": 250_000_000} for more in (9, 0))
    both = ndarray.stamp(structure(frame, uniqueId=7, timeStamp=later, dataTimeStamp=earlier))
    assert (both.number, both.time_s) == (7, 1_700_000_009.25)
    assert ndarray.stamp(structure(frame, dataTimeStamp=earlier)).time.isoformat() == "2023-11-14T22:13:20.250000+00:00"
    assert ndarray.stamp(structure(frame)).time is None


def test_a_time_that_no_calendar_has_is_none(frame):
    assert ndarray.stamp(structure(frame, timeStamp={"secondsPastEpoch": 2**60})).time is None


def test_an_empty_structure_is_no_frame():
    assert ndarray.is_empty(Value(TYPE, {}))
    assert ndarray.is_empty(Value(TYPE, {"value": ("ubyteValue", np.zeros(0, "u1"))}))
