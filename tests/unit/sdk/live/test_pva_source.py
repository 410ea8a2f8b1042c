"""A source on a real PV Access server: what it makes of a camera that behaves, and of one that does not."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from p4p import Value
from p4p.nt import NTNDArray, NTScalar
from p4p.server import Server
from p4p.server.thread import SharedPV

from segdepth import Detector
from segdepth.errors import InvalidFrame, Unavailable
from segdepth.live.frame_attributes import CalibrationAttributes
from segdepth.live.pva import PvaSource
from segdepth.live.pva_server import PvaServer
from segdepth.results import Gap, GapReason
from tests.unit.sdk.live.cameras import ATTRIBUTES, NAME, Camera

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def camera():
    camera = Camera()
    yield camera
    camera.close()


def test_frames_with_number_calibration_and_time(camera):
    camera.post(41, time=NOON)
    with camera.source() as reader:
        reader.take(1)
        camera.post(42, 7, time=NOON + timedelta(seconds=1.5))
        first, second = reader.take(2)
    assert (first.sequence, second.sequence) == (41, 42)
    assert second.image.shape == (6, 8)
    assert second.image.dtype == "u2"
    assert (second.image == 7).all()
    assert (second.calibration.sampling_A, second.calibration.dose_per_A2) == (0.1, 200.0)
    assert second.capture_time == NOON + timedelta(seconds=1.5)
    assert reader.source.account.as_dict() == {"seen": 2, "sent": 2, "answered": {}, "dropped": {}, "under_way": 2}
    assert camera.state_names == ["running", "stopped"]


def test_a_stated_calibration_comes_before_the_attributes(camera):
    camera.post(0)
    with camera.source(0.2, stated={"counts_per_electron": 3.0}) as reader:
        (frame,) = reader.take(1)
    assert (frame.calibration.sampling_A, frame.calibration.counts_per_electron) == (0.2, 3.0)
    assert frame.calibration.dose_per_A2 == 200.0


def test_the_pixel_size_in_an_attribute_of_another_name(camera):
    camera.post(0, attributes={"PixelSize": 0.008})
    with camera.source(attributes=CalibrationAttributes().with_sampling("PixelSize:nm")) as reader:
        (frame,) = reader.take(1)
    assert frame.calibration.sampling_A == 0.08


@pytest.mark.parametrize("attributes", [{"PixelSize": 0.008}, {"SamplingAngstromPerPx": 1.0}])
def test_frames_without_a_pixel_size_end_it_with_a_word_on_what_is_missing(camera, attributes):
    camera.post(0, attributes=attributes)
    with camera.source() as reader:
        reader.until(lambda: reader.error)
    assert isinstance(reader.error, InvalidFrame)
    assert "sampling" in str(reader.error)


def test_a_detector_corrects_frames_and_none_of_another_shape_ends_it(camera):
    detector = Detector(dark=np.full((6, 8), 2.0, np.float32), counts_per_electron=3.0)
    camera.post(0, 11)
    with camera.source(detector=detector) as reader:
        reader.take(1)
        camera.post(1, shape=(4, 4))
        reader.seen(2)
        camera.post(2, 12)
        first, second = reader.take(2)
    assert (first.image == 9).all()
    assert (second.sequence, second.image[0, 0], second.calibration.counts_per_electron) == (2, 10, 3.0)
    account = reader.source.account
    assert (account.sent, account.dropped) == (2, {"not a frame": 1})
    assert "binned alike" in camera.notes[0]


def test_a_detector_that_corrects_nothing_leaves_frames_as_they_are(camera):
    camera.post(0)
    with camera.source(detector=Detector(counts_per_electron=3.0)) as reader:
        (frame,) = reader.take(1)
    assert (frame.image.dtype, frame.calibration.counts_per_electron) == ("u2", 3.0)


def test_a_pixel_size_that_is_none_is_refused_at_once():
    with pytest.raises(InvalidFrame, match="sampling"):
        PvaSource(NAME, 1.0)


def test_what_is_repeated_late_or_lost_is_counted(camera):
    camera.post(5)
    with camera.source() as reader:
        reader.take(1)
        for number in (6, 6, 9, 8, 10):
            before = reader.source.account.as_dict()
            camera.post(number)
            reader.until(lambda: reader.source.account.as_dict() != before)  # noqa: B023 - waited for here
        reader.take(4)
        account = reader.source.account.as_dict()
    assert [frame.sequence for frame in reader.frames] == [5, 6, 9, 10]
    # 7 never came; 8 came late.
    assert account["dropped"] == {"repeated": 1, "out of order": 1, "lost at the source": 1}
    assert account["seen"] == account["under_way"] + 3 == 7


def test_what_a_slow_reader_loses_at_the_server_is_counted(camera):
    camera.post(0)
    with PvaSource(NAME, conf=camera.conf, queue_frames=4) as source:
        frames = source.frames()
        taken = [next(frames).sequence]
        for number in range(1, 200):
            camera.post(number)
        taken += [next(frames).sequence]
        while taken[-1] != 199:
            taken.append(next(frames).sequence)
        account = source.account.as_dict()
    assert len(taken) < 100
    assert account["seen"] == 200
    assert account["dropped"] == {"lost at the source": 200 - len(taken)}


def test_large_frames_wait_in_smaller_numbers_and_none_counts_twice(camera, monkeypatch):
    monkeypatch.setattr("segdepth.live.pva.QUEUE_BYTES", 500)
    camera.post(0)
    with camera.source(queue_frames=64) as reader:
        reader.take(1)
        camera.post(1)
        reader.take(2)
        assert reader.source.account.seen == 2


def test_numbers_that_a_gap_swallows_are_not_counted_twice(camera):
    camera.post(0)
    with camera.source() as reader:
        reader.take(1)
        for number in (5, 9, 10):
            camera.post(number, attributes=ATTRIBUTES | ({"ColorMode": 2} if number == 9 else {}))
            reader.until(lambda number=number: reader.source.account.seen == number + 1)
        account = reader.source.account
        # A window that is full makes one gap of frames that it drops and of numbers that were never sent.
        account.answer(Gap(0, 7, GapReason.DROPPED))
        account.answer(Gap(8, 10, GapReason.DROPPED))
        account = account.as_dict()
    assert account["sent"] == 3
    assert account["dropped"] == {"lost at the source": 7, "not a frame": 1, "dropped": 3}
    assert account["under_way"] == 0


def test_a_disconnect_that_ends_in_time_goes_on(camera):
    camera.post(5)
    with camera.source() as reader:
        reader.take(1)
        camera.channel.close()
        reader.until(lambda: camera.state_names == ["running", "waiting"])
        camera.post(8)
        reader.take(2)
        assert [frame.sequence for frame in reader.frames] == [5, 8]
        assert reader.source.account.dropped == {"lost at the source": 2}
    assert camera.state_names == ["running", "waiting", "running", "stopped"]


def test_a_restart_goes_on_with_higher_sequences_and_says_so(camera):
    camera.post(500)
    with camera.source() as reader:
        reader.take(1)
        camera.channel.close()
        reader.until(lambda: "waiting" in camera.state_names)
        camera.post(1)
        reader.take(2)
        camera.post(2)
        reader.take(3)
    assert [frame.sequence for frame in reader.frames] == [500, 501, 502]
    assert ("restarted", "uniqueId 1 after 500; goes on as 501") in camera.states
    assert reader.source.account.dropped == {}


def test_a_server_that_goes_and_comes_back(camera):
    camera.post(3)
    with camera.source() as reader:
        reader.take(1)
        camera.server.close()
        reader.until(lambda: "waiting" in camera.state_names)
        ports = {
            "port": int(camera.conf["EPICS_PVA_SERVER_PORT"]),
            "search_port": int(camera.conf["EPICS_PVA_BROADCAST_PORT"]),
        }
        camera.server = PvaServer(camera.channel, **ports)
        camera.post(4)
        reader.take(2)
    assert [frame.sequence for frame in reader.frames] == [3, 4]
    assert reader.source.account.as_dict()["dropped"] == {}


def test_another_shape_and_pixel_size_after_a_restart_are_said(camera):
    camera.post(5)
    with camera.source() as reader:
        reader.take(1)
        camera.channel.close()
        reader.until(lambda: "waiting" in camera.state_names)
        camera.post(0, shape=(4, 4), dtype="f4", attributes=ATTRIBUTES | {"SamplingAngstromPerPx": 0.05})
        _, frame = reader.take(2)
        camera.post(1, shape=(4, 4), dtype="f4", attributes=ATTRIBUTES | {"SamplingAngstromPerPx": 0.05})
        reader.take(3)
    assert frame.image.shape == (4, 4)
    assert frame.calibration.sampling_A == 0.05
    assert ("changed", "8 x 6 uint16 at 0.1 Å/px before, 4 x 4 float32 at 0.05 Å/px now") in camera.states
    assert camera.state_names == ["running", "waiting", "restarted", "changed", "running", "stopped"]


def test_a_channel_that_stays_away_has_died_and_what_came_is_kept(camera):
    camera.post(5)
    with camera.source(patience_s=0.5) as reader:
        reader.take(1)
        camera.channel.close()
        assert reader.rest() is None
        assert reader.source.state.value == "died"
    assert camera.state_names == ["running", "waiting", "died"]
    assert len(reader.frames) == 1


def test_a_channel_that_never_was_says_what_to_check(camera):
    with camera.source(patience_s=0.3) as reader:
        error = reader.rest()
    assert isinstance(error, Unavailable)
    assert NAME in str(error)
    assert "EPICS_PVA_ADDR_LIST" in str(error)
    assert "127.0.0.1" in str(error)


def test_a_channel_of_something_else_is_refused():
    pv = SharedPV(nt=NTScalar("d"), initial=4.2)
    with Server([{NAME: pv}], isolate=True) as server:
        source = PvaSource(NAME, 0.1, conf=server.conf())
        with pytest.raises(InvalidFrame, match=r"NTScalar.*not an NTNDArray"):
            next(source.frames())


def test_what_is_no_frame_is_dropped_and_told_once(camera):
    camera.post(0)
    with camera.source() as reader:
        reader.take(1)
        for number in (1, 2):
            camera.post(number, attributes=ATTRIBUTES | {"ColorMode": 2})
        camera.post(3, 2**30 + 1, dtype="i4")
        camera.post(4, attributes={"Other": 1})
        camera.post(5)
        reader.take(2)
        account = reader.source.account.as_dict()
    assert [frame.sequence for frame in reader.frames] == [0, 5]
    assert account["dropped"] == {"not a frame": 4}
    assert account["seen"] == 6
    assert [note.split(":")[1].strip()[:14] for note in camera.notes] == [
        "ColorMode RGB1",
        "values from 10",
        "calibration.sa",
    ]


def test_an_empty_structure_before_the_first_frame_is_not_counted(camera):
    (pv,) = camera.channel.channels().values()
    pv.open(Value(NTNDArray().type, {}))
    with camera.source() as reader:
        camera.post(1)
        reader.take(1)
        assert reader.source.account.seen == 1


@pytest.mark.parametrize(
    "jump_s, told", [(-3600, r"jumps by -3600\.0 s"), (3600, r"jumps by \+(3600\.0|35\d\d\.\d) s")]
)
def test_a_clock_that_jumps_is_a_note_and_no_error(camera, jump_s, told):
    camera.post(0, time=NOON)
    with camera.source() as reader:
        reader.take(1)
        camera.post(1, time=NOON + timedelta(seconds=jump_s))
        reader.take(2)
        camera.post(2, time=NOON + timedelta(seconds=jump_s))
        reader.take(3)
    (note,) = camera.notes
    assert re.search(told, note)
    assert reader.source.account.dropped == {}


def test_a_source_can_be_closed_while_it_waits(camera):
    with camera.source(patience_s=100.0) as reader:
        reader.source.close()
        assert reader.rest() is None
    assert camera.state_names == ["stopped"]


def test_who_leaves_off_reading_stops_it(camera):
    camera.post(0)
    source = PvaSource(f"pva://{NAME}", conf=camera.conf)
    frames = source.frames()
    next(frames)
    frames.close()
    assert source.state.value == "stopped"
