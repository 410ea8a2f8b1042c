"""Wrong types of arguments: an error that is ours, that `except TypeError` catches too, and that says what is right."""

import asyncio
import math
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segdepth
from segdepth import Calibration, Detail, Frame, Options, errors
from segdepth.arguments import image_array
from segdepth.files import open_movie
from segdepth.streaming.source import Numbering

IMAGE = np.full((8, 8), 2, "u2")


@pytest.fixture(scope="module")
def client():
    """Of a server that nobody asks: every error comes before the wire."""
    with segdepth.connect("127.0.0.1:1") as client:
        yield client


def refused(call, says):
    with pytest.raises(errors.InvalidType, match=says) as caught:
        call()
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, errors.InvalidFrame)
    return caught.value


IMAGES = {
    "a str": ("movie.mrc", r"open_movie\(path\)"),
    "a path": (Path("movie.mrc"), r"open_movie\(path\)"),
    "rows of numbers": ([[1, 2], [3, 4]], r"numpy.array\(rows"),
    "a picture": (Image.new("L", (8, 8)), r"PIL.Image.Image is not an array.*numpy.asarray\(picture\)"),
    "a tensor": (torch.zeros(8, 8), r"torch.Tensor is not an array.*numpy\(force=True\)"),
    "None": (None, "None is not an array"),
    "a number": (3.5, "3.5"),
    "bytes": (bytes(64), "frombuffer"),
}


class TestImages:
    @pytest.mark.parametrize("image, says", IMAGES.values(), ids=IMAGES)
    def test_what_is_no_array(self, client, image, says):
        assert refused(lambda: client.estimate(image, 0.1), says).field == "frame"

    @pytest.mark.parametrize("image, says", IMAGES.values(), ids=IMAGES)
    def test_in_a_stream_it_is_a_gap(self, image, says):
        entry = Numbering(calibrated=True).entry(image)
        assert entry.gap.reason is segdepth.GapReason.INVALID
        with pytest.raises(AssertionError, match=says):
            raise AssertionError(entry.gap.detail)

    @pytest.mark.parametrize(
        "image",
        [np.zeros((2, 8, 8), "u1"), np.zeros((8, 8), complex), np.full((8, 8), None), np.zeros((8, 8), "U3")],
        ids=["three dimensions", "complex", "objects", "strings"],
    )
    def test_arrays_that_are_no_frame(self, client, image):
        with pytest.raises(errors.InvalidFrame, match="frame"):
            client.estimate(image, 0.1)
        assert Numbering(calibrated=True).entry(image).gap.reason is segdepth.GapReason.INVALID

    def test_masked_pixels_become_nan(self):
        masked = np.ma.masked_array(IMAGE, mask=np.eye(8, dtype=bool))
        image = image_array(masked)
        assert image.dtype == np.float32
        np.testing.assert_array_equal(np.isnan(image), np.eye(8, dtype=bool))
        assert set(image[~np.eye(8, dtype=bool)]) == {2.0}

    def test_a_mask_of_nothing_changes_nothing(self):
        assert image_array(np.ma.masked_array(IMAGE)).dtype == IMAGE.dtype

    def test_arrays_of_other_libraries_that_hold_numpys_types(self):
        class Lazy:
            dtype, ndim = IMAGE.dtype, 2

            def __array__(self, dtype=None, copy=None):
                return IMAGE

        np.testing.assert_array_equal(image_array(Lazy()), IMAGE)


NO_NUMBERS = [
    None,
    "0.1",
    (0.1,),
    [0.1, 0.1],
    {"sampling_A": 0.1},
    0.1j,
    True,
    np.array([0.1]),
    np.ma.masked,
    pytest.param(object(), id="object"),
]


class TestCalibration:
    @pytest.mark.parametrize("sampling", NO_NUMBERS, ids=repr)
    def test_what_is_no_pixel_size(self, client, sampling):
        says = "a pixel size in Å/px, such as 0.1"
        refused(lambda: client.estimate(IMAGE, sampling), says)
        refused(lambda: client.estimate(IMAGE, Calibration(sampling)), says)
        if sampling is not None:
            refused(lambda: client.stream([IMAGE], sampling), says)

    @pytest.mark.parametrize("sampling", [np.float32(0.1), np.float64(0.1), np.array(0.1), np.float16(0.1)], ids=repr)
    def test_numpys_numbers(self, sampling):
        assert Calibration(sampling).message().sampling_angstrom_per_px == pytest.approx(0.1, rel=1e-3)

    @pytest.mark.parametrize(
        "field",
        ["counts_per_electron", "dose_per_A2", "beam_energy_kev", "spherical_aberration_um", "black_level"],
    )
    def test_the_other_numbers(self, field):
        refused(lambda: Calibration(0.1, **{field: "300"}).message(), f"calibration.{field}: '300' .a str. is not")

    @pytest.mark.parametrize("values", ["1, 0.5", 1.0, np.array(1.0), [1.0, "0.5"], [1.0, None]], ids=repr)
    def test_the_modulation_transfer(self, values):
        refused(lambda: Calibration(0.1, modulation_transfer=values), "modulation_transfer")

    def test_a_calibration_travels_whole(self):
        whole = Calibration(0.1, 4.0, 500.0, 300.0, -13.0, 0.0, np.array([1.0, 0.5]))
        assert whole.modulation_transfer == (1.0, 0.5)
        assert Calibration.from_message(whole.message()) == whole

    def test_what_is_not_known_stays_unknown(self):
        assert Calibration.from_message(Calibration(0.1, modulation_transfer=()).message()) == Calibration(0.1)

    def test_a_frames_own(self):
        numbering = Numbering(calibrated=False)
        assert numbering.entry(Frame(IMAGE, calibration=0.1)).gap is None
        assert "pixel size" in numbering.entry(Frame(IMAGE, calibration="0.1")).gap.detail


class TestOptions:
    @pytest.mark.parametrize("options", [{"model": "ceo2-110"}, "ceo2-110", Detail(), 3], ids=repr)
    def test_what_is_none(self, client, options):
        says = r"an Options, such as Options\(model="
        refused(lambda: client.estimate(IMAGE, 0.1, options), says)
        refused(lambda: client.stream([IMAGE], 0.1, options), says)
        refused(lambda: client.track([IMAGE], 0.1, options), says)

    @pytest.mark.parametrize(
        "options, field",
        [
            (Options(model=110), "options.model"),
            (Options(version=None), "options.version"),
            (Options(strict="no"), "options.strict"),
            (Options(priority=["batch"]), "priority"),
            (Options(detail={"depth_map": True}), "options.detail"),
            (Options(detail=Detail(depth_map=1)), "options.detail.depth_map"),
        ],
    )
    def test_their_fields(self, client, options, field):
        assert refused(lambda: client.estimate(IMAGE, 0.1, options), field).field == field


SOURCES = {
    "one image": (IMAGE, r"estimate\(image"),
    "one frame": (Frame(IMAGE), r"estimate\(image"),
    "a name": ("movie.mrc", r"open_movie\(path\)"),
    "a path": (Path("movie.mrc"), r"open_movie\(path\)"),
    "one picture": (Image.new("L", (8, 8)), r"numpy.asarray\(picture\)"),
    "tensors": (torch.zeros(3, 8, 8), r"numpy\(force=True\)"),
    "None": (None, "a movie"),
    "a number": (5, "a movie"),
    "colours": (np.zeros((4, 8, 8, 3), "u1"), "4 dimensions"),
    "a line": (np.zeros(8, "u1"), "1 dimensions"),
    "a generator not yet called": (lambda: iter([IMAGE]), "call it"),
}


class TestStream:
    @pytest.mark.parametrize("frames, says", SOURCES.values(), ids=SOURCES)
    def test_what_is_no_movie(self, client, frames, says):
        assert refused(lambda: client.stream(frames, 0.1), says).field == "frames"

    def test_movies(self, client, tmp_path):
        np.save(tmp_path / "movie.npy", np.zeros((2, 8, 8), "u1"))
        with open_movie(tmp_path / "movie.npy", 0.1) as movie:
            for frames in (movie, np.zeros((2, 8, 8), "u1"), [IMAGE], iter([IMAGE]), np.array([IMAGE, None], object)):
                client.stream(frames, 0.1).close()

    @pytest.mark.parametrize("sequence", ["1", 1.5, True, None.__class__], ids=repr)
    def test_numbers_of_frames(self, sequence):
        refused(lambda: Numbering(calibrated=True).entry(Frame(IMAGE, sequence)), "frame.sequence")

    def test_numpys_numbers_of_frames(self):
        assert Numbering(calibrated=True).entry(Frame(IMAGE, np.int64(7))).first == 7

    @pytest.mark.parametrize("time", ["2026-01-01", 0.0, np.datetime64("2026-01-01")], ids=repr)
    def test_capture_times(self, time):
        assert "a datetime" in Numbering(calibrated=True).entry(Frame(IMAGE, capture_time=time)).gap.detail

    def test_a_capture_time(self):
        taken = datetime(2026, 1, 1)  # noqa: DTZ001 - as cameras' programs hand them over
        assert Numbering(calibrated=True).entry(Frame(IMAGE, capture_time=taken)).gap is None

    @pytest.mark.parametrize(
        "given, field",
        [
            ({"policy": ["block"]}, "policy"),
            ({"policy": None}, "policy"),
            ({"frame_deadline_s": "1"}, "frame_deadline_s"),
            ({"name": 7}, "name"),
            ({"waiting_frames": "64"}, "waiting_frames"),
            ({"waiting_frames": 1.5}, "waiting_frames"),
        ],
        ids=repr,
    )
    def test_the_rest(self, client, given, field):
        assert refused(lambda: client.stream([IMAGE], 0.1, **given), field).field == field

    @pytest.mark.parametrize("deadline", [0, -1, math.nan, math.inf])
    def test_deadlines_that_are_none(self, client, deadline):
        with pytest.raises(errors.InvalidFrame, match="frame_deadline_s"):
            client.stream([IMAGE], 0.1, frame_deadline_s=deadline)


class TestTrack:
    def test_what_is_tracked(self, client):
        refused(lambda: client.track(None, 0.1), "frames")
        refused(lambda: client.track(IMAGE, 0.1), "of one frame")

    def test_how(self, client):
        for settings in (15, {"hop_rate": 0}, "live"):
            says = r"a Tracking, such as Tracking\(\)"
            refused(lambda settings=settings: client.track([IMAGE], 0.1, tracking=settings), says)


CALLS = {
    "estimate": lambda client, **given: client.estimate(IMAGE, 0.1, **given),
    "models": lambda client, **given: client.models(**given),
    "promote": lambda client, **given: client.promote("f", "1", "why", **given),
    "rollback": lambda client, **given: client.rollback("f", "why", **given),
    "history": lambda client, **given: client.history("f", **given),
    "whoami": lambda client, **given: client.whoami(**given),
    "healthy": lambda client, **given: client.healthy(**given),
    "track": lambda client, **given: client.track([IMAGE], 0.1, **given),
}


class TestTimeouts:
    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    def test_no_time(self, client, call):
        for timeout in (None, "30", (30,), True):
            refused(lambda timeout=timeout: call(client, timeout_s=timeout), "timeout_s: .* is not a time in seconds")
        for timeout in (math.nan, -1, 0):
            with pytest.raises(errors.InvalidFrame, match=r"timeout_s: .* positive"):
                call(client, timeout_s=timeout)

    def test_of_the_twin(self):
        async def ask():
            async with segdepth.connect_async("127.0.0.1:1") as client:
                await client.estimate(IMAGE, 0.1, timeout_s=None)

        refused(lambda: asyncio.run(ask()), "timeout_s")


class TestNames:
    def test_of_models(self, client):
        refused(lambda: client.models(family=5), "family")
        refused(lambda: client.promote("f", 1, "why"), "version")
        refused(lambda: client.promote("f", "1", None), "reason")
        refused(lambda: client.promote("f", "1", "why", force="yes"), "force")
        refused(lambda: client.rollback(None, "why"), "family")
        refused(lambda: client.history(["f"]), "family")

    @pytest.mark.parametrize(
        "given, field",
        [
            ({"server": None}, "server"),
            ({"server": 50051}, "server"),
            ({"server": "127.0.0.1:1", "token": 7}, "token"),
            ({"server": "127.0.0.1:1", "tls": "yes"}, "tls"),
            ({"server": "127.0.0.1:1", "patience": 5}, "patience"),
            ({"server": "127.0.0.1:1", "store": "models"}, "store: only local mode"),
        ],
        ids=repr,
    )
    def test_of_a_server(self, given, field):
        refused(lambda: segdepth.connect(**given), field)

    def test_options_that_local_mode_does_not_have(self):
        with segdepth.connect("local", modle="ceo2-110") as client:
            refused(client.models, "local mode takes model, store.*modle")
