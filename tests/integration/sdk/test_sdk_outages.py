"""A service that goes away and comes back while a live command runs: said as it happens, and no frame is lost."""

import json
import re
import threading
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from segdepth.cli.app import app
from tests.integration.sdk.watching import frames, write_mrc
from tests.unit.sdk.live.cameras import NAME, Camera

AWAY = re.compile(r"service away since \d\d:\d\d:\d\d: \S.*; reconnecting")
BACK = re.compile(r"service back after \d+ s")


@pytest.fixture
def outage(server, plan):
    """Takes the service away once some frames are answered, and starts it again."""
    plan.delay_s = 0.02

    def run():
        while sum(plan.packs) < 4:
            time.sleep(0.02)
        server.kill()
        time.sleep(0.3)
        server.start()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(30)


@pytest.fixture
def camera(monkeypatch):
    """A channel with a frame every 20 ms, until the test is over."""
    camera, over = Camera(), threading.Event()
    for name, value in camera.conf.items():
        monkeypatch.setenv(name, value)

    def run():
        number = 0
        while not over.wait(0.02):
            camera.post(number)
            number += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield camera
    over.set()
    thread.join()
    camera.close()


def run(*arguments):
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    # Whatever is bold or of a colour.
    return done, re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)


def states(path):
    told = map(json.loads, path.read_text().splitlines())
    return [(line["state"], line["detail"]) for line in told if line["kind"] == "state" and line["source"] == "service"]


def check(stderr, jsonl=None):
    assert len(AWAY.findall(stderr)) == 1, stderr
    assert len(BACK.findall(stderr)) == 1, stderr
    if jsonl is not None:
        away, back = states(jsonl)
        assert AWAY.fullmatch(f"service {away[0]} {away[1]}")
        assert BACK.fullmatch(f"service {back[0]} {back[1]}")


@pytest.mark.usefixtures("outage")
@pytest.mark.parametrize("command", ["watch", "track"])
def test_of_a_folder(server, tmp_path, command):
    (tmp_path / "in").mkdir()
    # Refused frames: tracking asks for no numbers of the model that this service has not.
    write_mrc(tmp_path / "in" / "m.mrc", frames(40) if command == "watch" else np.zeros((40, 16, 24), "u2"))
    jsonl = tmp_path / "lines.jsonl"
    done, stderr = run(
        *(command, tmp_path / "in", "--server", server.address, "--jsonl", jsonl, "--once", "--settle", "0.2"),
    )
    assert done.exit_code == (0 if command == "watch" else 3), done.output
    check(stderr, jsonl)
    assert json.loads(jsonl.read_text().splitlines()[-1])["dropped"] == {}


@pytest.mark.usefixtures("outage", "camera")
def test_of_a_channel(server, tmp_path):
    jsonl = tmp_path / "lines.jsonl"
    done, stderr = run("pva", NAME, "--server", server.address, "--jsonl", jsonl, "--frames", "60")
    assert done.exit_code == 0, done.output
    check(stderr, jsonl)


@pytest.mark.usefixtures("outage")
def test_of_the_simulated_camera(server):
    done, stderr = run("camera", "--server", server.address, "--fps", "50", "--frames", "60", "--size", "64")
    assert done.exit_code == 0, done.output
    check(stderr)
