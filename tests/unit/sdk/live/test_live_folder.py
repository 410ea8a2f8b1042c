"""Parts of the folder source: what is looked at, what wakes it, when a frame is there, and what the ledger keeps."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

from segdepth.detector import Detector
from segdepth.errors import CannotWrite, UnreadableFile
from segdepth.files import open_movie
from segdepth.live.folder.ledger import Ledger
from segdepth.live.folder.listing import Listing
from segdepth.live.folder.opened import Opened, digest
from segdepth.live.folder.results import Results
from segdepth.live.folder.waker import Waker
from segdepth.live.states import SourceState
from segdepth.results import Gap, GapReason
from tests.answers import result

FRAMES = np.random.default_rng(0).integers(1, 99, (4, 12, 16), dtype="u2")


def taken(_: str) -> bool:
    return False


class TestListing:
    def test_what_is_looked_at(self, tmp_path: Path) -> None:
        for name in ("a.mrc", "b.MRC", "c.npy", ".d.mrc", "e.txt", "f.png", "g.emi", "m.columns.csv", "m.depth.tif"):
            (tmp_path / name).write_bytes(b"x")
        (tmp_path / "below").mkdir()
        (tmp_path / "below" / "h.mrc").write_bytes(b"x")
        (tmp_path / "i.mrc").mkdir()
        zarr.create_array(tmp_path / "j.zarr", data=FRAMES)
        (tmp_path / "k.zarr").write_bytes(b"no folder")
        (tmp_path / "l.mrc").symlink_to(tmp_path / "nowhere.mrc")
        found = Listing(tmp_path).look()
        assert list(found.movies) == ["a.mrc", "b.MRC", "c.npy", "j.zarr"]
        assert found.foreign == ["e.txt", "f.png", "k.zarr"]
        assert list(Listing(tmp_path, "*.mrc").look().movies) == ["a.mrc"]
        assert list(Listing(tmp_path, "*.png").look().movies) == ["f.png"]
        deep = Listing(tmp_path, "**/*").look()
        assert list(deep.movies) == ["a.mrc", "b.MRC", "below/h.mrc", "c.npy", "j.zarr"]
        assert not Listing(tmp_path, "**/*", (tmp_path / "below",)).look().movies.keys() & {"below/h.mrc"}

    def test_a_name_in_no_encoding_is_foreign(self, tmp_path: Path) -> None:
        (tmp_path / os.fsdecode(b"\xff.mrc")).write_bytes(b"x")
        found = Listing(tmp_path).look()
        assert (found.movies, found.foreign) == ({}, ["\\udcff.mrc"])
        assert not Listing(tmp_path).is_movie(os.fsdecode(b"\xff.mrc"))

    def test_one_name_is_judged_as_all_are(self, tmp_path: Path) -> None:
        (tmp_path / "a.mrc").write_bytes(b"x")
        (tmp_path / "e.txt").write_bytes(b"x")
        zarr.create_array(tmp_path / "j.zarr", data=FRAMES)
        listing = Listing(tmp_path)
        assert [listing.is_movie(name) for name in ("a.mrc", "e.txt", "j.zarr", ".b.mrc")] == [True, False, True, False]
        assert listing.name_of(tmp_path / "j.zarr" / "c" / "0") == "j.zarr"
        assert listing.name_of(tmp_path / "a.mrc") == "a.mrc"
        assert listing.name_of(tmp_path.parent) is None

    def test_a_signature_changes_with_the_file(self, tmp_path: Path) -> None:
        listing, path = Listing(tmp_path), tmp_path / "a.mrc"
        assert listing.signature("a.mrc") is None
        path.write_bytes(b"x")
        first = listing.signature("a.mrc")
        assert listing.signature("a.mrc") == first
        path.write_bytes(b"xy")
        assert listing.signature("a.mrc") != first
        store = zarr.create_array(tmp_path / "j.zarr", shape=(0, 12, 16), chunks=(1, 12, 16), dtype="u2")
        first = listing.signature("j.zarr")
        store.append(FRAMES[:1])
        assert listing.signature("j.zarr") != first

    def test_a_folder_that_is_gone_is_no_empty_one(self, tmp_path: Path) -> None:
        for pattern in ("*", "**/*"):
            with pytest.raises(OSError, match="nowhere"):
                Listing(tmp_path / "nowhere", pattern).look()


class TestWaker:
    def test_names_what_has_changed(self, tmp_path: Path) -> None:
        waker = Waker(tmp_path, recursive=False)
        waker.start()
        try:
            changed: set[Path] = set()
            end = time.monotonic() + 30
            while tmp_path / "a.mrc" not in changed and time.monotonic() < end:
                # Written again until the listener is there.
                (tmp_path / "a.mrc").write_bytes(b"x")
                waker.wait(0.2)
                changed |= waker.take()
            assert tmp_path / "a.mrc" in changed
        finally:
            waker.stop()

    def test_does_without_watchfiles(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "watchfiles", None)
        waker = Waker(tmp_path, recursive=False)
        waker.start()
        assert "watchfiles is not installed" in waker.trouble
        waker.wait(0.01)
        waker.wake()
        waker.wait(1000)
        waker.stop()


class TestOpened:
    def opened(self, path: Path, frames: np.ndarray, detector: Detector | None = None) -> Opened:
        np.save(path, frames)
        return Opened.open(path, 0.1, detector or Detector(), growing=True)

    def test_zeros_are_no_frame_unless_one_follows(self, tmp_path: Path) -> None:
        frames = FRAMES.copy()
        frames[0, -1] = 0  # Its last row, and another frame after it.
        frames[2, 6:] = 0
        frames[3] = 0
        opened = self.opened(tmp_path / "m.npy", frames)
        written = [opened.written(index, opened.movie.frame(index)) for index in range(4)]
        assert written == [True, True, False, False]

    def test_what_is_there_is_judged_before_it_is_corrected(self, tmp_path: Path) -> None:
        frames = FRAMES.copy()
        frames[3] = 0
        opened = self.opened(tmp_path / "m.npy", frames, Detector(dark=7.0))
        empty = opened.movie.frame(3)
        assert not opened.written(3, empty)
        assert opened.corrected(empty).max() == -7
        assert opened.calibration.black_level == 0

    def test_a_detector_of_another_shape(self, tmp_path: Path) -> None:
        with pytest.raises(UnreadableFile, match="binned alike"):
            self.opened(tmp_path / "m.npy", FRAMES, Detector(dark=np.zeros((5, 5))))

    def test_a_digest_is_of_the_pixels(self) -> None:
        assert digest(FRAMES[0]) == digest(np.asfortranarray(FRAMES[0].copy()))
        assert digest(FRAMES[0]) != digest(FRAMES[1])
        assert digest(FRAMES[0]) != digest(FRAMES[0].reshape(16, 12))


def test_what_is_there_of_an_npy_file(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", FRAMES)
    whole = (tmp_path / "m.npy").read_bytes()
    (tmp_path / "m.npy").write_bytes(whole[:-1])
    with pytest.raises(UnreadableFile, match="truncated"):
        open_movie(tmp_path / "m.npy", 0.1)
    with open_movie(tmp_path / "m.npy", 0.1, growing=True) as movie:
        assert len(movie) == 3
        assert np.array_equal(movie[2], FRAMES[2])
    (tmp_path / "m.npy").write_bytes(whole[:200])
    with pytest.raises(UnreadableFile, match="no frames"):
        open_movie(tmp_path / "m.npy", 0.1, growing=True)


class TestLedger:
    def test_what_was_committed_is_there_again(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path / "l.sqlite")
        row = ledger.add("a.mrc", "first", "facts", taken)
        row.done, row.csv_bytes, row.counts = 2, 99, {"ok": 2}
        ledger.commit([row], [(row.id, 1, "b"), (row.id, 0, "a")], {"key": [1]})
        ledger.add("sub/a.mrc", "other", "facts", taken)
        ledger.close()
        again = Ledger(tmp_path / "l.sqlite")
        found = again.by_path("a.mrc")
        assert found is not None
        assert (found.done, found.read, found.csv_bytes, found.counts) == (2, 2, 99, {"ok": 2})
        assert list(again.lines(found)) == ["a", "b"]
        assert again.meta("key") == [1]
        assert [row.results for row in again.unfinished()] == ["a", "sub/a"]
        again.close()

    def test_no_frame_counts_twice(self) -> None:
        ledger = Ledger(None)
        row = ledger.add("a.mrc", "first", "facts", taken)
        ledger.commit([row], [(row.id, 0, "a")], {})
        with pytest.raises(CannotWrite, match="UNIQUE"):
            ledger.commit([row], [(row.id, 1, "b"), (row.id, 0, "again")], {"key": 1})
        assert list(ledger.lines(row)) == ["a"]
        assert ledger.meta("key") is None
        ledger.close()

    def test_names_of_results_are_given_once(self) -> None:
        ledger = Ledger(None)
        names = [ledger.add(path, "x", "f", lambda name: name == "a-2").results for path in ("a.mrc", "a.tif", "b.mrc")]
        assert names == ["a", "a-3", "b"]
        ledger.close()

    def test_of_another_version(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path / "l.sqlite")
        ledger._db.execute("PRAGMA user_version=9")
        ledger.close()
        with pytest.raises(CannotWrite, match="another version"):
            Ledger(tmp_path / "l.sqlite")


def test_results_that_do_not_fit_leave_no_half_rows(tmp_path: Path) -> None:
    ledger = Ledger(None)
    row = ledger.add("a.mrc", "first", "facts", taken)
    results = Results(ledger, tmp_path)
    results.add(row, 0, result(7), "digest")
    results.commit()
    before = (tmp_path / "a.columns.csv").read_bytes()
    (tmp_path / "b.columns.csv").mkdir()
    other = ledger.add("b.mrc", "second", "facts", taken)
    results.add(row, 1, result(8), "digest")
    results.add(other, 0, Gap(9, 9, GapReason.DROPPED), "digest")
    with pytest.raises(CannotWrite, match=r"b\.columns\.csv"):
        results.commit()
    assert (tmp_path / "a.columns.csv").read_bytes() == before
    assert (row.done, row.csv_bytes, other.done) == (1, len(before), 0)
    assert row.state is SourceState.RUNNING
    results.close()
    ledger.close()
