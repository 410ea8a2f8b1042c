"""`segdepth pva` from a camera on p4p's own server, through the real gateway, to files, lines and a channel."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from p4p.client.thread import Context

import segdepth
from segdepth.live.pva import PvaSource
from segdepth.results import FrameResult
from tests.integration.live.counting import Counting, gateway
from tests.unit.sdk.live.cameras import NAME, Camera

COMMAND = str(Path(sys.executable).with_name("segdepth"))

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def camera():
    camera = Camera()
    yield camera
    camera.close()


@pytest.fixture
def estimator():
    return Counting()


@pytest.fixture
def address(estimator):
    with gateway(estimator) as address:
        yield address


class Command:
    """The command in a process of its own, fed by the test."""

    def __init__(self, camera, address, *arguments):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
        self.process = subprocess.Popen(
            [COMMAND, "pva", NAME, "--server", address, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment | camera.conf,
        )
        self.lines = []
        self._thread = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self._thread.start()

    def frames(self, total, timeout_s=60.0):
        """The JSON lines of the first frames, once there are so many."""
        until = time.monotonic() + timeout_s
        while len(found := self.told("frame")) < total:
            assert self.process.poll() is None or self._thread.is_alive(), self.process.stderr.read()
            assert time.monotonic() < until, self.lines
            time.sleep(0.02)
        return found

    def told(self, kind):
        """The JSON lines of a kind."""
        return [told for told in map(json.loads, list(self.lines)) if told["kind"] == kind]

    def end(self):
        """(exit status, stderr)."""
        self.process.wait(60)
        self._thread.join(10)
        with self.process.stderr as stderr:
            return self.process.returncode, stderr.read()


@pytest.fixture
def command(camera, address):
    commands = []

    def start(*arguments):
        commands.append(Command(camera, address, *arguments))
        return commands[-1]

    yield start
    for each in commands:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait()


def test_a_running_source_in_python(camera, address, estimator):
    camera.post(10, time=NOON)
    with segdepth.connect(address) as client, PvaSource(NAME, conf=camera.conf) as source:
        results, gaps = [], []
        for answer in client.stream(source.frames()):
            source.account.answer(answer)
            if isinstance(answer, FrameResult):
                results.append(answer)
                if len(results) == 3:
                    source.close()
                else:
                    camera.post(10 + len(results) * 2, 20 + len(results))
            else:
                gaps.append(answer)
        account = source.account.as_dict()
    assert [(result.sequence, *result.columns.x_px) for result in results] == [(10, 3.0), (12, 21.0), (14, 22.0)]
    assert [(gap.first, gap.last, gap.reason.value) for gap in gaps] == [(11, 11, "not sent"), (13, 13, "not sent")]
    assert estimator.calibrations[0].dose_electrons_per_angstrom2 == 200
    assert account == {
        "seen": 5,
        "sent": 3,
        "answered": {"ok": 3},
        "dropped": {"lost at the source": 2},
        "under_way": 0,
    }


def test_frames_to_lines_table_and_account(camera, command, tmp_path):
    camera.post(5, 11, time=NOON)
    running = command("--jsonl", "-", "--out", tmp_path / "out")
    running.frames(1)
    for number, value in ((6, 12), (6, 12), (9, 255), (10, 13)):
        camera.post(number, value)
        time.sleep(0.05)
    frames = running.frames(4)
    running.process.send_signal(signal.SIGINT)
    status, stderr = running.end()
    assert status == 0, stderr
    assert [(frame["sequence"], frame["status"]) for frame in frames] == [
        (5, "ok"),
        (6, "ok"),
        (9, "refused"),
        (10, "ok"),
    ]
    assert frames[0]["source"] == NAME
    assert frames[0]["capture_time"] == NOON.isoformat()
    assert frames[0]["latency_ms"] > 0
    assert frames[3]["columns"]["x_px"] == [13.0]
    last = json.loads(running.lines[-1])
    assert last == {
        "kind": "account",
        "seen": 7,
        "sent": 4,
        "answered": {"ok": 3, "refused": 1},
        "dropped": {"lost at the source": 2, "repeated": 1},
        "under_way": 0,
    }
    assert [told["state"] for told in running.told("state")] == ["running", "stopped"]
    assert "7 frames seen, 4 sent, 4 answered" in stderr
    (table,) = (tmp_path / "out").iterdir()
    rows = table.read_text().splitlines()
    assert rows[0].startswith("frame,x_px")
    assert [row.split(",")[:2] for row in rows[1:]] == [["5", "11.000"], ["6", "12.000"], ["10", "13.000"]]


def test_a_channel_of_results_while_it_runs(camera, address, command, monkeypatch):
    camera.post(1, 40)
    running = command("--jsonl", "-", "--publish", "TEST:Columns", "--frames", "2")
    # The search port is the camera's, so that one list of addresses finds both.
    with Context("pva", conf=camera.conf, useenv=False, nt=False) as client:
        running.frames(1)
        value = client.get("TEST:Columns", timeout=30)
        rows = client.get("TEST:Columns:Account", timeout=30)
        camera.post(2)
        status, stderr = running.end()
    assert status == 0, stderr
    assert value.value.x_px.tolist() == [40.0]
    assert value.value.status == ["ok"]
    assert "seen" in rows.value.what
    assert json.loads(running.lines[-1])["sent"] == 2


def test_a_camera_that_dies_ends_it_in_that_state_with_everything_before(camera, command, tmp_path):
    camera.post(1)
    running = command("--jsonl", tmp_path / "a.jsonl", "--patience", "0.5")
    until = time.monotonic() + 60
    while not (tmp_path / "a.jsonl").exists() or "frame" not in (tmp_path / "a.jsonl").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    camera.channel.close()
    status, stderr = running.end()
    assert status == 0, stderr
    assert f"died: {NAME}: away for more than 0.5 s" in stderr
    told = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [(each["kind"], each.get("state")) for each in told] == [
        ("state", "running"),
        ("frame", None),
        ("state", "waiting"),
        ("state", "died"),
        ("account", None),
    ]
    assert "1 frames seen" in "".join(running.lines)


@pytest.mark.parametrize("policy", ["drop_oldest", "block"])
def test_a_service_that_is_slower_drops_by_reason_and_the_account_is_whole(camera, estimator, command, policy):
    estimator.delay_s = 0.2
    camera.post(0)
    running = command("--jsonl", "-", "--policy", policy, "--queue", "4")
    running.frames(1)
    for number in range(1, 1000):
        camera.post(number)
    # The newest frame is answered under either policy.
    until = time.monotonic() + 60
    while not any(frame["sequence"] == 999 for frame in running.told("frame")):
        assert time.monotonic() < until
        time.sleep(0.05)
    running.process.send_signal(signal.SIGTERM)
    status, stderr = running.end()
    assert status == 0, stderr
    account = running.told("account")[0]
    assert account["seen"] == 1000
    assert account["under_way"] == 0
    assert account["seen"] == sum(account["answered"].values()) + sum(account["dropped"].values())
    reason = "dropped" if policy == "drop_oldest" else "lost at the source"
    assert account["dropped"][reason] > 0


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        (("--patience", "0.3"), 1, "EPICS_PVA_ADDR_LIST"),
        (("--sampling", "1.0"), 2, "sampling"),
        (("--sampling-attribute", "PixelSize"), 2, "PixelSize:nm"),
        (("--sampling", "0.1", "--sampling-attribute", "PixelSize:nm"), 2, "give one of them"),
        (("--attribute", "dose=Dose"), 2, "dose_per_A2"),
    ],
)
def test_what_cannot_be_used_says_what_would_be_right(command, arguments, status, words):
    ended, stderr = command(*arguments).end()
    assert (ended, words in stderr) == (status, True), stderr


def test_frames_without_a_pixel_size_are_unusable_input(camera, command):
    camera.post(0, attributes={"PixelSize": 0.01})
    status, stderr = command().end()
    assert status == 2, stderr
    assert "there are: ColorMode, PixelSize" in stderr


def test_without_p4p_it_says_how_to_install_it(tmp_path):
    (tmp_path / "p4p.py").write_text("raise ImportError('not here')")
    done = subprocess.run(
        [COMMAND, "pva", NAME, "--sampling", "0.1"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "pip install 'segdepth[pva]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_all_refused_is_3(camera, command):
    camera.post(0, 255)
    running = command("--jsonl", "-", "--frames", "1")
    status, stderr = running.end()
    assert status == 3, stderr
    assert "first pixel is 255" in stderr


def test_a_detector_corrects_the_frames(camera, command, tmp_path):
    (tmp_path / "camera.toml").write_text("[camera]\ndark = 4.0\ncounts_per_electron = 2.0\n")
    camera.post(0, 11)
    running = command("--jsonl", "-", "--frames", "1", "--detector", tmp_path / "camera.toml")
    (frame,) = running.frames(1)
    assert running.end()[0] == 0
    assert frame["columns"]["x_px"] == [7.0]


def test_a_service_that_is_not_there_leaves_nothing_under_way(camera):
    camera.post(0)
    running = Command(camera, "127.0.0.1:1", "--jsonl", "-")
    status, stderr = running.end()
    assert status == 1, stderr
    assert "error: 127.0.0.1:1" in stderr
    (account,) = running.told("account")
    assert account["dropped"] == {"not answered": account["seen"]}
    assert account["under_way"] == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_ends_it_in_that_state_and_keeps_what_was_written(camera, command, tmp_path):
    camera.post(0)
    (tmp_path / "lines").symlink_to("/dev/full")
    running = command("--jsonl", tmp_path / "lines", "--out", tmp_path / "out")
    status, stderr = running.end()
    assert status == 2, stderr
    assert "disk full: " in stderr
    assert "error: " in stderr
    assert "frames seen" in "".join(running.lines)
    (table,) = (tmp_path / "out").iterdir()
    assert table.read_text().startswith("frame,x_px")
