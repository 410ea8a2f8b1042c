"""A watched folder whose files change, vanish and come back; a service, a disk and results that fail it."""

import errno
import json
import os
from pathlib import Path

import pytest
import tifffile

from segdepth.errors import CannotWrite, InvalidFrame, Unavailable, UnreadableFile
from segdepth.live.folder.ledger import Ledger
from segdepth.live.folder.watch import FolderWatch, Target
from segdepth.live.states import SourceState
from tests.integration.sdk.watching import Watching, expected, frames, lines, table, watched_once, write_mrc


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


class TestChange:
    def test_replaced_by_another_movie(self, server, folder, out):
        one, two = frames(3, 1), frames(3, 2)
        write_mrc(folder / "m.mrc", one)
        with Watching(server, folder, out) as running:
            running.until(lambda: running.states("m.mrc") == ["running", "ended"])
            write_mrc(folder / "m.mrc", two)
            running.until((out / "m-2.summary.json").exists)
        assert sorted(running.states("m.mrc")) == ["ended", "ended", "replaced", "running", "running"]
        assert running.rows("m") == expected(one)
        assert running.rows("m-2") == expected(two)

    def test_renamed_is_not_done_twice(self, server, folder, out):
        data = frames(6)
        write_mrc(folder / "m.mrc", data[:3])
        with Watching(server, folder, out) as running:
            running.until(lambda: running.states("m.mrc") == ["running", "ended"])
            (folder / "m.mrc").rename(folder / "good.mrc")
            running.until(lambda: "ended" in running.states("good.mrc"))
        (folder / "good.mrc").rename(folder / "best.mrc")
        write_mrc(folder / "best.mrc", data)
        done = watched_once(server, folder, out)
        assert done.states("best.mrc") == ["renamed", "ended"]
        assert (running.account.seen, done.account.seen) == (3, 3)
        assert done.rows("m") == expected(data)
        assert sorted(path.name for path in out.glob("*.csv")) == ["m.columns.csv"]

    def test_a_copy_is_another_movie(self, server, folder, out):
        write_mrc(folder / "m.mrc", data := frames(3))
        watched_once(server, folder, out)
        write_mrc(folder / "copy.mrc", data)
        assert watched_once(server, folder, out).account.seen == 3
        assert table(out / "copy.columns.csv") == table(out / "m.columns.csv") == expected(data)

    def test_shrinks_and_grows_again(self, server, folder, out):
        data = frames(6)
        write_mrc(folder / "m.mrc", data[:4])
        with Watching(server, folder, out) as running:
            running.until(lambda: running.states("m.mrc") == ["running", "ended"])
            write_mrc(folder / "m.mrc", data[:2])
            running.until(lambda: running.states("m.mrc")[-1] == "shrank")
            assert running.rows("m") == expected(data)[:4]
            write_mrc(folder / "m.mrc", data)
            running.until(lambda: running.states("m.mrc")[-1] == "ended")
        assert running.rows("m") == expected(data)
        assert running.account.seen == 6

    @pytest.mark.parametrize(
        "second, how, says",
        [
            (frames(3, 1, (20, 30)), {}, "24 x 16 px of uint16 at 0.1 Å/px before, now 30 x 20 px"),
            (frames(3, 1), {"sampling_A": 0.2}, "now 24 x 16 px of uint16 at 0.2 Å/px"),
        ],
    )
    def test_another_shape_or_pixel_size(self, server, folder, out, second, how, says):
        first = frames(3, 1)
        write_mrc(folder / "m.mrc", first)
        with Watching(server, folder, out) as running:
            running.until(lambda: running.rows("m") == expected(first))
            write_mrc(folder / "m.mrc", second, **how)
            running.until((out / "m-2.summary.json").exists)
        (changed,) = (told for told in running.told if told.state is SourceState.CHANGED)
        assert says in changed.detail
        assert running.rows("m") == expected(first)
        assert running.rows("m-2") == expected(second)

    def test_vanishes_and_comes_back(self, server, folder, out):
        data = frames(5)
        write_mrc(folder / "m.mrc", data[:3], announced=5)
        with Watching(server, folder, out, settle_s=5.0) as running:
            running.until(lambda: running.rows("m") == expected(data)[:3])
            (folder / "m.mrc").unlink()
            running.until(lambda: running.states("m.mrc") == ["running", "vanished"])
            write_mrc(folder / "m.mrc", data)
            running.until(lambda: running.rows("m") == expected(data))
        assert running.account.seen == 5

    def test_the_folder_goes_and_comes_back(self, server, folder, out):
        write_mrc(folder / "m.mrc", data := frames(3))
        with Watching(server, folder, out, settle_s=0.2) as running:
            running.until(lambda: "ended" in running.states("m.mrc"))
            folder.rename(away := folder.with_name("away"))
            running.until(lambda: running.states(str(folder)) == ["vanished"])
            away.rename(folder)
            write_mrc(folder / "n.mrc", data[::-1])
            running.until(lambda: "ended" in running.states("n.mrc"))
        assert running.states(str(folder)) == ["vanished", "restarted", "stopped"]
        assert running.states("m.mrc") == ["running", "ended"]
        assert running.account.seen == 6

    def test_clocks_that_jump(self, server, folder, out):
        for number, mtime in enumerate((4e9, 0.0, 1.0)):
            path = write_mrc(folder / f"m{number}.mrc", frames(2, number))
            os.utime(path, (mtime, mtime))
        done = watched_once(server, folder, out)
        assert done.account.seen == 6
        assert len(list(out.glob("*.summary.json"))) == 3
        # Times alone change: nothing is done again.
        for number, mtime in enumerate((0.0, 4e9, 2.0)):
            os.utime(folder / f"m{number}.mrc", (mtime, mtime))
        assert watched_once(server, folder, out).account.seen == 0

    def test_half_written_is_tried_again(self, server, folder, out):
        data, path = frames(2), folder / "m.tif"
        tifffile.imwrite(path, data, photometric="minisblack", metadata=None)
        whole = path.read_bytes()
        path.write_bytes(whole[:-50])
        with Watching(server, folder, out, sampling_A=0.1) as running:
            running.until(lambda: running.states("m.tif") == ["unreadable"])
            assert "truncated" in running.told[-1].detail
            path.write_bytes(whole)
            running.until(lambda: running.states("m.tif") == ["unreadable", "running", "ended"])
        assert running.rows("m") == expected(data)


class TestTrouble:
    def test_a_service_that_dies(self, server, plan, folder, out):
        data = frames(40)
        write_mrc(folder / "m.mrc", data)
        plan.delay_s = 0.02
        jsonl = out.parent / "x.jsonl"
        with Watching(server, folder, out, jsonl=jsonl) as running:
            running.until(lambda: len(running.rows("m")) > 3)
            server.kill()
            running.join()
        assert isinstance(running.error, Unavailable)
        assert running.states("service") == ["away", "died"]
        done = len(running.rows("m"))
        assert running.rows("m") == expected(data)[:done]
        assert [line["kind"] for line in lines(jsonl)][-2:] == ["state", "account"]
        server.start()
        plan.delay_s = 0.0
        again = watched_once(server, folder, out, jsonl=jsonl)
        assert again.rows("m") == expected(data)
        assert again.account.seen == 40 - done
        of_frames = [line for line in lines(jsonl) if line["kind"] == "frame"]
        assert [line["frame"] for line in of_frames] == list(range(40))
        sequences = [line["sequence"] for line in of_frames]
        assert sequences == sorted(set(sequences))

    def test_a_live_view_drops_and_says_so(self, server, plan, folder, out):
        plan.delay_s, plan.credit_frames = 0.02, 2
        data = frames(150)
        write_mrc(folder / "m.mrc", data)
        done = watched_once(server, folder, out, policy="drop_oldest")
        dropped = done.account.dropped["dropped"]
        assert dropped > 0
        assert done.account.answered.total() + dropped == 150
        summary = json.loads((out / "m.summary.json").read_text())
        assert [frame["frame"] for frame in summary["frames"]] == list(range(150))
        assert summary["counts"]["unanswered"] == dropped

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_a_full_disk(self, server, folder, out):
        write_mrc(folder / "m.mrc", data := frames(3))
        full = watched_once(server, folder, out, jsonl="/dev/full")
        assert isinstance(full.error, CannotWrite)
        assert full.states(str(folder)) == ["disk full"]
        assert full.rows("m") == []
        again = watched_once(server, folder, out, jsonl=out / "x.jsonl")
        assert again.rows("m") == expected(data)
        assert json.loads((out / "m.summary.json").read_text())["counts"]["ok"] == 3

    def test_results_that_were_taken_away_are_made_again(self, server, folder, out):
        data = frames(5)
        write_mrc(folder / "m.mrc", data[:3], announced=5)
        with Watching(server, folder, out, settle_s=5.0) as running:
            running.until(lambda: running.rows("m") == expected(data)[:3])
        (out / "m.columns.csv").unlink()
        write_mrc(folder / "m.mrc", data)
        again = watched_once(server, folder, out)
        assert again.states("m.mrc")[0] == "restarted"
        assert again.account.seen == 5
        assert again.rows("m") == expected(data)
        assert len(json.loads((out / "m.summary.json").read_text())["frames"]) == 5

    def test_two_of_them_never_write_the_same_results(self, server, folder, out):
        with (
            Watching(server, folder, out),
            pytest.raises(CannotWrite, match="another `segdepth watch` writes these results"),
        ):
            FolderWatch(folder, Target(out), print)

    def test_results_of_two_folders_are_not_mixed(self, server, folder, out):
        write_mrc(folder / "m.mrc", data := frames(2))
        watched_once(server, folder, out)
        other = folder.with_name("other")
        other.mkdir()
        with pytest.raises(CannotWrite, match="these are results of"):
            FolderWatch(other, Target(out), print)
        # The same folder at another place.
        other.rmdir()
        folder.rename(other)
        assert watched_once(server, other, out).account.seen == 0
        assert table(out / "m.columns.csv") == expected(data)

    def test_a_ledger_that_is_full_ends_as_full_tables_do(self, server, folder, out, monkeypatch):
        def full(*_):
            raise CannotWrite(errno.ENOSPC, "no space left")

        monkeypatch.setattr(Ledger, "add", full)
        write_mrc(folder / "m.mrc", frames(2))
        done = watched_once(server, folder, out)
        assert isinstance(done.error, CannotWrite)
        assert done.states(str(folder)) == ["disk full"]

    def test_a_ledger_that_is_none(self, folder, out):
        out.mkdir()
        (out / ".segdepth-watch.sqlite").write_text("something else entirely, and long enough to be looked at" * 20)
        with pytest.raises(CannotWrite, match="damaged"):
            FolderWatch(folder, Target(out), print)

    def test_no_folder_and_nowhere_to_write(self, folder, out, tmp_path):
        with pytest.raises(UnreadableFile, match="no such folder"):
            FolderWatch(tmp_path / "nowhere", Target(out), print)
        with pytest.raises(InvalidFrame, match="--out DIR, --jsonl FILE"):
            FolderWatch(folder, Target(), print)
        (tmp_path / "file").write_text("")
        with pytest.raises(CannotWrite, match="file"):
            FolderWatch(folder, Target(tmp_path / "file" / "out"), print)
