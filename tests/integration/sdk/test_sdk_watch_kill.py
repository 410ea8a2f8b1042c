"""`segdepth watch` as a process: killed at any moment, stopped, out of disk; and what stands in the results then."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.integration.sdk.watching import expected, frames, lines, mrc_bytes, table, write_mrc

KILLS = 8


def command(folder, server, out, *more):
    run = [sys.executable, "-c", "from segdepth.cli import main; main()", "watch", folder, "--server", server.address]
    return [str(part) for part in [*run, "--out", out, "--settle", "0.5", *more]]


def start(*arguments):
    return subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def written(out):
    return sum(path.stat().st_size for path in out.glob("*.columns.csv"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_killed_again_and_again_each_frame_stands_once(server, plan, folder, tmp_path):
    """SIGKILL while tables and lines are written and movies grow: a torn tail is cut off, nothing is done twice."""
    plan.delay_s = 0.003
    out, jsonl = tmp_path / "out", tmp_path / "x.jsonl"
    data = {f"m{number}": frames(150, number) for number in range(3)}
    raw = {stem: mrc_bytes(each, folder=folder) for stem, each in data.items()}
    rng = np.random.default_rng(0)
    for kill in range(1, KILLS + 1):
        process = start(folder, server, out, "--jsonl", jsonl)
        before = written(out)
        for stem, bytes_of in raw.items():
            there = len(bytes_of) * kill // KILLS
            with (folder / f"{stem}.mrc").open("r+b" if kill > 1 else "wb") as file:
                file.seek(0, 2)
                file.write(bytes_of[file.tell() : there])
        wait_for(lambda before=before: written(out) > before, process)
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.communicate()
        # What a kill between two writes leaves: here made sure of.
        with (out / "m0.columns.csv").open("a") as file:
            file.write("999,1.000,")
        with jsonl.open("a") as file:
            file.write('{"kind":"frame","sou')
    done = subprocess.run(command(folder, server, out, "--jsonl", jsonl, "--once"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    of_frames = [line for line in lines(jsonl) if line["kind"] == "frame"]
    for stem, each in data.items():
        assert table(out / f"{stem}.columns.csv") == expected(each)
        summary = json.loads((out / f"{stem}.summary.json").read_text())
        assert [frame["frame"] for frame in summary["frames"]] == list(range(150))
        assert summary["counts"]["ok"] == 150
        assert [line["frame"] for line in of_frames if line["source"] == f"{stem}.mrc"] == list(range(150))
    sequences = [line["sequence"] for line in of_frames]
    assert sequences == sorted(set(sequences))


KILLED = """
import os, signal, sys
from segdepth.cli import main
from segdepth.live.folder.ledger import Ledger

of, moment = sys.argv.pop(1), sys.argv.pop(1)
commit = Ledger.commit

def killed(self, rows, lines, meta):
    now = of == ("answers" if lines else "summaries" if rows and not meta else "")
    if now and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    commit(self, rows, lines, meta)
    if now:
        os.kill(os.getpid(), signal.SIGKILL)

Ledger.commit = killed
main()
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("of", ["answers", "summaries"])
def test_killed_between_the_files_and_the_ledger(server, plan, folder, tmp_path, of, moment):
    """Around the first commit: tables and lines are written and do not count yet, or count and nobody was told."""
    plan.delay_s = 0.01
    data = {stem: frames(5, seed) for seed, stem in enumerate("abc")}
    for stem, each in data.items():
        write_mrc(folder / f"{stem}.mrc", each)
    out, jsonl = tmp_path / "out", tmp_path / "x.jsonl"
    arguments = command(folder, server, out, "--jsonl", jsonl, "--once")
    killed = [sys.executable, "-c", KILLED, of, moment, *arguments[3:]]
    first = subprocess.run(killed, capture_output=True, text=True)
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert (first.returncode, done.returncode) == (-signal.SIGKILL, 0), done.stderr
    of_frames = [line for line in lines(jsonl) if line["kind"] == "frame"]
    for stem, each in data.items():
        assert table(out / f"{stem}.columns.csv") == expected(each)
        assert len(json.loads((out / f"{stem}.summary.json").read_text())["frames"]) == 5
        assert [line["frame"] for line in of_frames if line["source"] == f"{stem}.mrc"] == list(range(5))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_answers_what_is_under_way(server, plan, folder, tmp_path, number):
    plan.delay_s = 0.01
    data = frames(400)
    write_mrc(folder / "m.mrc", data)
    process = start(folder, server, tmp_path / "out", "--jsonl", "-")
    wait_for(lambda: written(tmp_path / "out"), process)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    *answers, state, account = [json.loads(line) for line in stdout.splitlines()]
    assert (state["state"], account["kind"]) == ("stopped", "account")
    assert account["under_way"] == 0
    assert 0 < account["seen"] == account["sent"] == account["answered"]["ok"] < 400
    assert len([line for line in answers if line["kind"] == "frame"]) == account["seen"]
    assert table(tmp_path / "out" / "m.columns.csv") == expected(data)[: account["seen"]]
    # For people, beside the lines.
    assert f"{account['seen']} frames seen" in stderr


def test_a_full_disk_and_a_larger_one(server, folder, tmp_path):
    """A file system of 128 kB. What fits is kept; with more room it goes on."""
    data = frames(3000)
    write_mrc(folder / "m.mrc", data)
    out = tmp_path / "out"
    out.mkdir()
    mounted = f"mount -t tmpfs -o size=128k none '{out}'"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mounted], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    watch = " ".join(f"'{part}'" for part in command(folder, server, out, "--once")).replace("'-c' ", "-c ")
    script = f"{mounted} && {watch}; echo status $?; cp '{out}/m.columns.csv' '{tmp_path}/first.csv';"
    script += f" mount -o remount,size=4m '{out}' && {watch}; echo status $?; cp '{out}'/m.* '{tmp_path}'"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, timeout=120)
    assert "status 2" in done.stdout, done.stdout + done.stderr
    assert "disk full" in done.stderr
    assert "status 0" in done.stdout, done.stdout + done.stderr
    first = table(tmp_path / "first.csv")
    assert 0 < len(first) < 3000
    assert first == expected(data)[: len(first)]
    assert table(tmp_path / "m.columns.csv") == expected(data)
    assert json.loads((tmp_path / "m.summary.json").read_text())["counts"]["ok"] == 3000
