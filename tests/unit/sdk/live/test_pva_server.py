"""Frames and results as clients of PV Access see them."""

from datetime import UTC, datetime

import numpy as np
import psutil
import pytest
from p4p.client.thread import Context

from segdepth.errors import InvalidFrame
from segdepth.live.account import FrameAccount
from segdepth.live.pva_server import FrameChannel, PvaServer, ResultTable
from segdepth.results import Gap, GapReason
from tests.answers import result


@pytest.fixture
def get():
    """A function that reads a channel of the given ones as a client does."""
    opened = []

    def get(name, *served):
        if not opened:
            opened.append(PvaServer(*served, port=0, search_port=0))
            opened.append(Context("pva", conf=opened[0].client_conf(), useenv=False, nt=False))
        return opened[1].get(name, timeout=20)

    yield get
    for each in reversed(opened):
        each.close()


def test_a_frame_as_areadetector_serves_it(get):
    channel = FrameChannel("CAM:Image")
    time = datetime(2026, 5, 4, 12, 0, 0, 250_000, UTC)
    channel.post(np.arange(6, dtype="u2").reshape(2, 3), 77, time, {"SamplingAngstromPerPx": 0.1, "Sample": "CeO2"})
    value = get("CAM:Image", channel)
    assert value.getID() == "epics:nt/NTNDArray:1.0"
    assert value.changed("value")
    np.testing.assert_array_equal(value.value, np.arange(6, dtype="u2"))
    assert value.value.dtype == "u2"
    assert [each["size"] for each in value.dimension] == [3, 2]
    assert (value.uniqueId, value["codec.name"], value.uncompressedSize) == (77, "", 12)
    for stamp in (value.timeStamp, value.dataTimeStamp):
        assert (stamp.secondsPastEpoch, stamp.nanoseconds) == (int(time.timestamp()), 250_000_000)
    said = {each.name: each.value for each in value.attribute}
    assert said == {"ColorMode": 0, "SamplingAngstromPerPx": 0.1, "Sample": "CeO2"}


def test_the_cameras_buffer_may_be_used_again(get):
    channel, buffer = FrameChannel("CAM:Image"), np.ones((2, 2), "f4")
    channel.post(buffer, 0)
    buffer[:] = 9
    assert (get("CAM:Image", channel).value == 1).all()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", ">u2"])
def test_pixels_keep_their_type(get, dtype):
    channel = FrameChannel("CAM:Image")
    channel.post(np.full((2, 2), 100, dtype), 0)
    value = get("CAM:Image", channel).value
    assert value.dtype.str[1:] == dtype[-2:]
    assert (value == 100).all()


@pytest.mark.parametrize("image", [np.zeros(4, "u2"), np.zeros((2, 2, 3), "u1"), np.zeros((2, 2), "c8")])
def test_what_is_no_frame_is_not_served(image):
    with pytest.raises(InvalidFrame, match="image"):
        FrameChannel("CAM:Image").post(image, 0)


@pytest.mark.parametrize("name", ["", "two words", "a\ttab"])
def test_a_name_that_is_none(name):
    with pytest.raises(InvalidFrame, match="name"):
        ResultTable(name)


def test_the_latest_answer_as_a_table(get):
    table = ResultTable("LAB:Columns")
    table.add(result(6))
    table.add(result(7))
    value = get("LAB:Columns", table)
    fields = result(7).fields()
    assert list(value.labels) == list(value.value.keys()) == list(fields)
    for name, column in fields.items():
        assert list(value.value[name]) == list(column), name
    assert (value.alarm.severity, value.alarm.message, value.timeStamp.userTag) == (0, "", 7)


@pytest.mark.parametrize("kind, severity", [("refused", 2), ("suspect", 1)])
def test_the_alarm_says_what_is_wrong_with_a_frame(get, kind, severity):
    table = ResultTable("LAB:Columns")
    table.add(result(6))
    table.add(result(7, **{kind: True}))
    value = get("LAB:Columns", table)
    assert value.alarm.severity == severity
    assert value.alarm.message.startswith(f"{kind}: ")
    assert len(value.value.frame) == len(result(7, **{kind: True}).columns)


def test_a_gap_leaves_the_rows_with_an_invalid_alarm(get):
    table = ResultTable("LAB:Columns")
    table.add(result(6))
    table.add(Gap(7, 9, GapReason.DROPPED))
    value = get("LAB:Columns", table)
    assert (value.alarm.severity, value.alarm.message) == (3, "no answer to 7-9, dropped")
    assert set(value.value.frame) == {6}
    table.add(result(10))
    value = get("LAB:Columns")
    assert (value.alarm.severity, set(value.value.frame)) == (0, {10})


def test_without_an_answer_and_without_a_service_the_alarm_is_invalid(get):
    table = ResultTable("LAB:Columns")
    value = get("LAB:Columns", table)
    assert (value.alarm.severity, value.alarm.message) == (3, "no frame has been answered yet")
    table.add(result(6))
    table.away("service away since 12:03:04: refused; reconnecting")
    value = get("LAB:Columns")
    assert value.alarm.severity == 3
    assert value.alarm.message.startswith("service away since")
    assert (value.timeStamp.userTag, set(value.value.frame)) == (6, {6})


def test_the_account_as_a_table(get):
    account = FrameAccount()
    account.see(5)
    account.send(4)
    account.drop("repeated")
    account.answer(result(0))
    table = ResultTable("LAB:Columns")
    table.account(account)
    value = get("LAB:Columns:Account", table).value
    rows = dict(zip(value.what, value.frames.tolist(), strict=True))
    assert rows == {"seen": 5, "sent": 4, "under way": 3, "answered: ok": 1, "dropped: repeated": 1}


def test_clients_cannot_write(get):
    table = ResultTable("LAB:Columns")
    get("LAB:Columns", table)
    with PvaServer(table, port=0, search_port=0) as server:
        conf = server.client_conf()
        with Context("pva", conf=conf, useenv=False) as client, pytest.raises(Exception, match="not"):
            client.put("LAB:Columns", {"descriptor": "mine"}, timeout=20)


def test_it_listens_on_loopback_alone_unless_told_otherwise(monkeypatch):
    monkeypatch.setenv("EPICS_PVAS_INTF_ADDR_LIST", "0.0.0.0")
    monkeypatch.setenv("EPICS_PVAS_AUTO_BEACON_ADDR_LIST", "YES")
    monkeypatch.setenv("EPICS_PVA_ADDR_LIST", "192.0.2.255")
    with PvaServer(FrameChannel("CAM:Image"), port=0, search_port=0) as server:
        conf = server._server.conf()
        connections = psutil.Process().net_connections("inet")
    assert {each.laddr.ip for each in connections if each.status == "LISTEN"} <= {"127.0.0.1", "::1"}
    assert conf["EPICS_PVAS_INTF_ADDR_LIST"].split(":")[0] == "127.0.0.1"
    assert conf["EPICS_PVAS_BEACON_ADDR_LIST"] == "127.0.0.1"
    assert conf["EPICS_PVAS_AUTO_BEACON_ADDR_LIST"] == "NO"
