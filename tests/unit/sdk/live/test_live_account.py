"""The account of a live source's frames, and answers as JSON lines."""

import json
import math
import threading
from pathlib import Path

import pytest

from segdepth.errors import CannotWrite
from segdepth.live.account import FrameAccount
from segdepth.live.json_lines import JsonLines, account_line, answer_line, state_line
from segdepth.live.states import SourceState, disk_full
from segdepth.results import Gap, GapReason, Status
from tests.answers import result


def test_every_frame_is_accounted_for() -> None:
    account = FrameAccount()
    account.see(10)
    account.drop("repeated", 2)
    account.lose(5)
    account.send(8)
    account.answer(result(0))
    account.answer(result(1, refused=True))
    account.answer(Gap(2, 4, GapReason.DROPPED))
    account.answer(Gap(5, 5, GapReason.REFUSED, "not of this facility"))
    # The five that were lost at the source, as the stream tells them: counted already.
    account.answer(Gap(6, 10, GapReason.NOT_SENT))
    assert account.answered == {Status.OK: 1, Status.REFUSED: 1}
    assert account.dropped == {"repeated": 2, "lost at the source": 5, "dropped": 3, "refused by the server": 1}
    assert account.usable == 1
    assert account.seen == account.answered.total() + account.dropped.total() + account.under_way
    assert account.under_way == 2
    assert account.lines() == [
        "15 frames seen, 8 sent, 2 answered (1 ok, 1 refused)",
        "11 dropped (5 lost at the source, 3 dropped, 2 repeated, 1 refused by the server)",
        "2 under way",
    ]


def test_threads_lose_no_count() -> None:
    account = FrameAccount()

    def work() -> None:
        for _ in range(2000):
            account.see()
            account.send()
            account.drop("late")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert account.as_dict() == {"seen": 8000, "sent": 8000, "answered": {}, "dropped": {"late": 8000}, "under_way": 0}


def test_what_a_line_says() -> None:
    frame = json.loads(answer_line(result(7), "camera", latency_ms=12.5, file="m.mrc"))
    assert (frame["kind"], frame["sequence"], frame["source"], frame["status"]) == ("frame", 7, "camera", "ok")
    assert (frame["latency_ms"], frame["file"], frame["model"]) == (12.5, "m.mrc", "f 7 (torch-fp32)")
    assert frame["columns"]["count"] == [5, 5, 5]
    # Sorted and rounded as columns.csv is.
    assert frame["columns"]["y_px"] == [1.0, 1.0, 9.0]
    assert frame["columns"]["abstained"] == [True, False, False]
    refused = json.loads(answer_line(result(8, refused=True), "camera"))
    assert refused["status"] == "refused"
    assert refused["columns"]["count"] == []
    assert refused["why"]
    gap = json.loads(answer_line(Gap(3, 5, GapReason.DEADLINE), "camera"))
    assert gap == {"kind": "gap", "first": 3, "last": 5, "source": "camera", "reason": "deadline", "detail": ""}
    state = json.loads(state_line(SourceState.DISK_FULL, "camera", "no space left"))
    assert state == {"kind": "state", "source": "camera", "state": "disk full", "detail": "no space left"}
    assert json.loads(account_line(FrameAccount()))["under_way"] == 0


def test_lines_are_there_at_once_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"kind":"frame","half')
    with JsonLines(path) as lines:
        lines.answer(result(1), "camera")
        lines.state(SourceState.RESTARTED, "camera")
        assert len(path.read_text().splitlines()) == 3
        lines.account(FrameAccount())
    half, *whole = path.read_text().splitlines()
    assert half == '{"kind":"frame","half'
    assert [json.loads(line)["kind"] for line in whole] == ["frame", "state", "account"]


def test_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonLines("-") as lines:
        lines.answer(result(1), "camera", latency_ms=1.0)
    assert json.loads(capsys.readouterr().out)["sequence"] == 1


def test_no_json_that_is_none() -> None:
    with pytest.raises(ValueError, match="JSON"):
        answer_line(result(1), "camera", latency_ms=math.nan)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_from_other_trouble(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="/dev/full") as full, JsonLines("/dev/full") as lines:
        lines.answer(result(1), "camera")
    assert disk_full(full.value)
    with pytest.raises(CannotWrite) as missing:
        JsonLines(tmp_path / "no folder" / "x.jsonl")
    assert not disk_full(missing.value)


def test_which_states_end_a_source() -> None:
    assert {state for state in SourceState if state.final} == {
        SourceState.ENDED,
        SourceState.STOPPED,
        SourceState.DIED,
        SourceState.DISK_FULL,
    }
