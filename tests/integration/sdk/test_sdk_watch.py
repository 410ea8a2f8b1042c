"""A watched folder: files that arrive, grow, change, vanish and come back, and what is said of each."""

import json

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from typer.testing import CliRunner

from segdepth.cli.app import app
from segdepth.detector import Detector
from segdepth.live.states import SourceState
from tests.integration.sdk.watching import (
    Watching,
    expected,
    frames,
    lines,
    mrc_bytes,
    watched_once,
    write_mrc,
)
from tests.models import lattice_frame


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

    def test_corrected_by_a_detector(self, server, folder, out):
        write_mrc(folder / "m.mrc", data := frames(3))
        done = watched_once(server, folder, out, detector=Detector(dark=np.full((16, 24), 3.0, "f4")))
        assert done.rows("m") == expected(data.astype("f4") - 3)

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

    def test_hdf5_beside_its_writer(self, server, folder, out):
        """SWMR: the writer keeps the file open, and lets others read."""
        data = frames(4)
        with (
            Watching(server, folder, out, settle_s=5.0, sampling_A=0.1) as running,
            h5py.File(folder / "m.h5", "w", libver="latest") as file,
        ):
            movie = file.create_dataset("data", (0, 16, 24), "u2", maxshape=(None, 16, 24), chunks=(1, 16, 24))
            file.swmr_mode = True
            for number, frame in enumerate(data, 1):
                movie.resize(number, 0)
                movie[number - 1] = frame
                movie.flush()
                running.until(lambda number=number: running.rows("m") == expected(data)[:number])

    def test_zarr_chunk_by_chunk(self, server, folder, out):
        data = frames(3)
        with Watching(server, folder, out, settle_s=5.0, sampling_A=0.1) as running:
            store = zarr.create_array(folder / "m.zarr", shape=(0, 16, 24), chunks=(1, 16, 24), dtype="u2")
            for number, frame in enumerate(data, 1):
                store.append(frame[None])
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


def test_tables_are_those_of_estimate(address, folder, out):
    """Byte by byte, by a model on a real stack; and the summary says the same of each frame."""
    for seed in range(2):
        write_mrc(folder / f"m{seed}.mrc", np.stack([lattice_frame(seed, noise=noise) for noise in range(3)]))
    write_mrc(folder / "empty.mrc", np.full((2, 256, 256), 7, "u2"))
    arguments = ["--server", address, "--out"]
    run = CliRunner().invoke(app, ["watch", str(folder), *arguments, str(out), "--once", "--settle", "0.3"])
    assert run.exit_code == 0, run.output
    assert "8 frames seen, 8 sent, 8 answered" in run.stdout
    movies = sorted(str(path) for path in folder.glob("*.mrc"))
    run = CliRunner().invoke(app, ["estimate", *movies, *arguments, str(out.parent / "whole"), "--format", "csv,json"])
    assert run.exit_code == 0, run.output
    for stem in ("m0", "m1", "empty"):
        for name in ("columns.csv", "summary.json"):
            assert (out / f"{stem}.{name}").exists()
        whole = out.parent / "whole" / stem
        assert (out / f"{stem}.columns.csv").read_bytes() == whole.with_suffix(".columns.csv").read_bytes()
        ours, theirs = (json.loads(path.with_name(f"{stem}.summary.json").read_text()) for path in (out / stem, whole))
        assert (ours["counts"], ours["models"]) == (theirs["counts"], theirs["models"])
        for one, other in zip(ours["frames"], theirs["frames"], strict=True):
            checks, others = one.pop("checks"), other.pop("checks")
            assert one == other
            for check, its_twin in zip(checks, others, strict=True):
                assert check == {**its_twin, "value": pytest.approx(its_twin["value"], rel=1e-4)}


def test_only_refused_frames_is_3_and_nothing_readable_2(server, folder, out):
    arguments = ["watch", str(folder), "--server", server.address, "--out", str(out), "--once", "--settle", "0.2"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    (folder / "m.mrc").write_bytes(b"no movie")
    assert CliRunner().invoke(app, arguments).exit_code == 2
    write_mrc(folder / "m.mrc", np.zeros((2, 16, 24), "u2"))
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 3
    assert "2 of 2 refused: pixels" in refused.stdout
