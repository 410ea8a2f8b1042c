"""A watched folder: files that arrive, grow, change, vanish and come back, and what is said of each."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from segdepth.errors import CannotWrite, InvalidFrame, Unavailable, UnreadableFile
from segdepth.live.folder.watch import FolderWatch, Target
from segdepth.live.states import SourceState
from tests.integration.sdk.watching import (
    Watching,
    expected,
    frames,
    lines,
    mrc_bytes,
    table,
    watched_once,
    write_mrc,
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


class TestArrival:
    def test_each_frame_of_each_movie_once(self, server, folder, out):
        data = {stem: frames(4, seed) for seed, stem in enumerate("abc")}
        write_mrc(folder / "a.mrc", data["a"])
        tifffile.imwrite(folder / "b.tif", data["b"], imagej=True, resolution=(1e8, 1e8), metadata={"unit": "cm"})
        np.save(folder / "c.npy", data["c"])
        (folder / "notes.txt").write_text("a Tuesday")
        (folder / "preview.png").write_bytes(b"a picture, as of results")
        (folder / "a.columns.csv").write_text("of another command, beside the movies")
        jsonl = out.parent / "x.jsonl"
        done = watched_once(server, folder, out, jsonl=jsonl, sampling_A=0.1)
        assert done.error is None
        for stem, each in data.items():
            assert done.rows(stem) == expected(each)
        summary = json.loads((out / "a.summary.json").read_text())
        assert [frame["frame"] for frame in summary["frames"]] == [0, 1, 2, 3]
        assert (summary["counts"]["ok"], summary["state"], summary["model"]["family"]) == (4, "ended", "sum")
        (foreign,) = (told.detail for told in done.told if told.state is SourceState.FOREIGN)
        assert "notes.txt" in foreign
        assert "preview.png" in foreign
        assert "columns.csv" not in foreign
        assert done.account.as_dict() == {
            "seen": 12, "sent": 12, "answered": {"ok": 12}, "dropped": {}, "under_way": 0
        }  # fmt: skip
        told = lines(jsonl)
        of_frames = [line for line in told if line["kind"] == "frame"]
        assert [line["sequence"] for line in of_frames] == list(range(12))
        assert {(line["source"], line["frame"]) for line in of_frames} == {
            (name, frame) for name in ("a.mrc", "b.tif", "c.npy") for frame in range(4)
        }
        assert told[-1] == {"kind": "account", **done.account.as_dict()}

    def test_what_comes_while_it_runs(self, server, folder, out):
        with Watching(server, folder, out) as running:
            write_mrc(folder / "late.mrc", data := frames(3))
            running.until((out / "late.summary.json").exists)
            (folder / "later").mkdir()
            write_mrc(folder / "later" / "deep.mrc", data)
        assert running.rows("late") == expected(data)
        assert running.account.seen == 3
        assert running.states(str(folder)) == ["stopped"]

    def test_folders_below_where_the_pattern_goes(self, server, folder, out):
        (folder / "day1").mkdir()
        write_mrc(folder / "day1" / "m.mrc", one := frames(2, 1))
        write_mrc(folder / "m.mrc", two := frames(2, 2))
        np.save(folder / "other.npy", two)
        done = watched_once(server, folder, out, pattern="**/*.mrc")
        assert done.rows("day1/m") == expected(one)
        assert done.rows("m") == expected(two)
        assert done.account.seen == 4

    def test_results_beside_the_movies_are_no_movies(self, server, folder):
        write_mrc(folder / "m.mrc", data := frames(2))
        for _ in range(2):
            done = watched_once(server, folder, folder, jsonl=folder / "x.jsonl")
            assert not [told for told in done.told if told.state is SourceState.FOREIGN]
        assert done.rows("m") == expected(data)

    def test_same_stem_and_results_of_another_command(self, server, folder, out):
        out.mkdir()
        (out / "m.columns.csv").write_text("by segdepth estimate\n")
        write_mrc(folder / "m.mrc", one := frames(2, 1))
        np.save(folder / "m.npy", two := frames(2, 2))
        done = watched_once(server, folder, out, sampling_A=0.1)
        assert (out / "m.columns.csv").read_text() == "by segdepth estimate\n"
        assert done.rows("m-2") == expected(one)
        assert done.rows("m-3") == expected(two)

    def test_a_frame_that_is_damaged(self, server, folder, out):
        data = frames(3)
        tifffile.imwrite(folder / "m.tif", data, compression="zlib", photometric="minisblack", metadata=None)
        with tifffile.TiffFile(folder / "m.tif") as tiff:
            offset, size = tiff.pages[1].dataoffsets[0], tiff.pages[1].databytecounts[0]
        raw = bytearray((folder / "m.tif").read_bytes())
        raw[offset : offset + size] = b"\xff" * size
        (folder / "m.tif").write_bytes(raw)
        done = watched_once(server, folder, out, sampling_A=0.1)
        assert done.rows("m") == [expected(data)[0], expected(data)[2]]
        assert done.account.dropped == {"not a frame": 1}
        damaged = json.loads((out / "m.summary.json").read_text())["frames"][1]
        assert (damaged["frame"], damaged["status"]) == (1, "unanswered")
        assert "damaged" in damaged["detail"]

    def test_more_files_than_are_followed_at_once(self, server, folder, out, monkeypatch):
        monkeypatch.setattr("segdepth.live.folder.source.MOST_AT_A_TIME", 4)
        for number in range(15):
            write_mrc(folder / f"m{number:02d}.mrc", frames(1, number))
        done = watched_once(server, folder, out, settle_s=0.1)
        assert done.account.seen == 15
        assert len(list(out.glob("*.summary.json"))) == 15


class TestGrowth:
    def test_mrc_whose_header_announces_what_comes(self, server, folder, out):
        data, path = frames(6), folder / "m.mrc"
        whole = mrc_bytes(data, folder=folder)
        frame_bytes = data[0].nbytes
        path.write_bytes(whole[: 1024 + 2 * frame_bytes + 100])
        with Watching(server, folder, out, settle_s=5.0) as running:
            running.until(lambda: running.rows("m") == expected(data)[:2])
            with path.open("ab") as file:
                file.write(whole[1024 + 2 * frame_bytes + 100 : 1024 + 4 * frame_bytes])
            running.until(lambda: running.rows("m") == expected(data)[:4])
            with path.open("ab") as file:
                file.write(whole[1024 + 4 * frame_bytes :])
            running.until(lambda: running.rows("m") == expected(data))
            assert not (out / "m.summary.json").exists()
        assert running.states("m.mrc") == ["running"]

    def test_mrc_that_stays_short(self, server, folder, out):
        data = frames(6)
        (folder / "m.mrc").write_bytes(mrc_bytes(data, folder=folder)[: 1024 + 4 * data[0].nbytes])
        done = watched_once(server, folder, out)
        assert done.states("m.mrc") == ["running", "unreadable"]
        assert "6 frames announced, 4 there" in done.told[-2].detail
        assert done.rows("m") == expected(data)[:4]
        # And grows after all, when nobody looks.
        write_mrc(folder / "m.mrc", data)
        done = watched_once(server, folder, out)
        assert done.account.seen == 2
        assert done.rows("m") == expected(data)
        assert json.loads((out / "m.summary.json").read_text())["counts"]["ok"] == 6

    def test_npy(self, server, folder, out):
        data, path = frames(3), folder / "m.npy"
        np.save(path, data)
        whole = path.read_bytes()
        path.write_bytes(whole[: -data[0].nbytes])
        with Watching(server, folder, out, settle_s=5.0, sampling_A=0.1) as running:
            running.until(lambda: running.rows("m") == expected(data)[:2])
            path.write_bytes(whole)
            running.until(lambda: running.rows("m") == expected(data))

    def test_tiff_page_by_page(self, server, folder, out):
        data, path = frames(4), folder / "m.tif"
        with Watching(server, folder, out, settle_s=5.0, sampling_A=0.1) as running:
            for number, frame in enumerate(data, 1):
                tifffile.imwrite(path, frame, append=True, photometric="minisblack", metadata=None)
                running.until(lambda number=number: running.rows("m") == expected(data)[:number])

    def test_hdf5_chunk_by_chunk(self, server, folder, out):
        data = frames(4)
        with Watching(server, folder, out, settle_s=5.0, sampling_A=0.1) as running:
            for number, frame in enumerate(data, 1):
                with h5py.File(folder / "m.h5", "a") as file:
                    if number == 1:
                        file.create_dataset("data", data=frame[None], maxshape=(None, 16, 24), chunks=(1, 16, 24))
                    else:
                        file["data"].resize(number, 0)
                        file["data"][number - 1] = frame
                running.until(lambda number=number: running.rows("m") == expected(data)[:number])

    def test_laid_out_beforehand_and_filled(self, server, folder, out):
        """As by mrcfile.new_mmap and numpy.memmap: zeros are no frames yet, and half a frame is none."""
        data = frames(4)
        raw = bytearray(mrc_bytes(data, folder=folder))
        raw[1024:] = bytes(len(raw) - 1024)
        path = folder / "m.mrc"
        path.write_bytes(raw)
        with Watching(server, folder, out, settle_s=5.0) as running, path.open("r+b", buffering=0) as file:
            file.seek(1024)
            file.write(data[0].tobytes() + data[1].tobytes()[:100])
            running.until(lambda: running.rows("m") == expected(data)[:1])
            file.write(data[1].tobytes()[100:])
            running.until(lambda: running.rows("m") == expected(data)[:2])
            file.write(data[2:].tobytes())
            running.until(lambda: running.rows("m") == expected(data))

    def test_goes_on_after_it_was_complete(self, server, folder, out):
        data = frames(5)
        write_mrc(folder / "m.mrc", data[:3])
        with Watching(server, folder, out) as running:
            running.until((out / "m.summary.json").exists)
            write_mrc(folder / "m.mrc", data)
            running.until(lambda: running.states("m.mrc").count("ended") == 2)
        assert running.rows("m") == expected(data)
        assert running.account.seen == 5
        assert len(json.loads((out / "m.summary.json").read_text())["frames"]) == 5


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
        assert running.states("service") == ["died"]
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
