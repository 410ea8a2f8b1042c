"""The command line against a real server: what it says, what it writes, and its exit status."""

import errno
import json
import subprocess
import sys

import grpc
import mrcfile
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from segdepth.cli.app import app


@pytest.fixture
def run():
    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def write_mrc(path, frames=4, value=None, sampling_A=0.1):
    data = np.random.default_rng(0).integers(1, 99, (frames, 16, 24)).astype("u2")
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data if value is None else np.full_like(data, value))
        mrc.voxel_size = sampling_A
    return path


@pytest.fixture
def movie(tmp_path):
    return write_mrc(tmp_path / "movie.mrc")


class TestEstimate:
    def test_files_and_status(self, run, server, movie, tmp_path):
        done = run(
            "estimate", movie, "--server", server.address, "--out", tmp_path / "out", "--format", "csv,json,tiff"
        )
        assert done.exit_code == 0, done.output
        assert "4 frames answered" in done.stdout
        lines = (tmp_path / "out" / "movie.columns.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines] == ["frame", "0", "1", "2", "3"]
        summary = json.loads((tmp_path / "out" / "movie.summary.json").read_text())
        assert summary["counts"]["ok"] == 4
        assert (tmp_path / "out" / "movie.depth.tif").exists()
        assert not list((tmp_path / "out").glob(".*"))

    def test_all_refused_is_3(self, run, server, tmp_path):
        done = run("estimate", write_mrc(tmp_path / "m.mrc", value=0), "--server", server.address)
        assert done.exit_code == 3
        assert "every pixel is zero" in done.stdout

    def test_any_answered_is_0(self, run, server, movie, tmp_path):
        dark = write_mrc(tmp_path / "dark.mrc", value=0)
        assert run("estimate", dark, movie, "--server", server.address).exit_code == 0

    def test_files_that_cannot_be_used_are_named_at_the_end(self, run, server, movie, tmp_path):
        missing = tmp_path / "missing.mrc"
        done = run("estimate", missing, movie, "--server", server.address)
        assert done.exit_code == 0
        assert "4 frames answered" in done.stdout
        assert f"{missing}: no such file" in done.stderr
        assert done.stderr.splitlines()[-1] == f"error: 1 of 2 files could not be used: {missing}"
        assert run("estimate", missing, "--server", server.address).exit_code == 2

    @pytest.mark.parametrize("sampling_A", [0.0, 1.0])
    def test_no_sampling_is_2_and_says_what_to_do(self, run, server, tmp_path, sampling_A):
        done = run("estimate", write_mrc(tmp_path / "m.mrc", sampling_A=sampling_A), "--server", server.address)
        assert done.exit_code == 2
        assert "sampling" in done.stderr

    def test_a_stated_sampling_wins_and_is_noted(self, run, server, movie, tmp_path):
        arguments = ("--server", server.address, "--sampling", 0.2, "--out", tmp_path, "--format", "json")
        done = run("estimate", movie, *arguments)
        assert "header says 0.1" in done.stderr
        summary = json.loads((tmp_path / "movie.summary.json").read_text())
        assert summary["frames"][0]["calibration"] == {"sampling_A": 0.2}

    @pytest.mark.parametrize("command", ["estimate", "stream"])
    def test_how_a_file_was_read_is_noted(self, run, server, tmp_path, command):
        Image.fromarray(np.arange(256, dtype="u1").reshape(16, 16)).save(tmp_path / "export.png")
        done = run(command, tmp_path / "export.png", "--server", server.address, "--sampling", 0.1)
        assert done.exit_code == 0, done.output
        assert f"note: {tmp_path / 'export.png'}: a display export" in done.stderr

    def test_a_truncated_file_is_2_and_the_others_are_done(self, run, server, movie, tmp_path):
        broken = tmp_path / "broken.mrc"
        broken.write_bytes(movie.read_bytes()[:-100])
        assert run("estimate", broken, "--server", server.address).exit_code == 2
        done = run("estimate", broken, movie, "--server", server.address)
        assert done.exit_code == 0
        assert "broken.mrc" in done.stderr

    def test_a_full_disk_is_2_and_leaves_nothing(self, run, server, movie, tmp_path, monkeypatch):
        def full(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("segdepth.export.atomic.os.fsync", full)
        done = run("estimate", movie, "--server", server.address, "--out", tmp_path / "out")
        assert done.exit_code == 2
        assert "No space left on device" in done.stderr
        assert list((tmp_path / "out").iterdir()) == []

    def test_two_files_of_one_name_are_2(self, run, server, movie, tmp_path):
        (tmp_path / "other").mkdir()
        other = write_mrc(tmp_path / "other" / "movie.mrc")
        assert run("estimate", movie, other, "--server", server.address, "--out", tmp_path).exit_code == 2

    def test_unknown_format_is_2(self, run, server, movie):
        assert run("estimate", movie, "--server", server.address, "--format", "csv,xls").exit_code == 2

    def test_a_token_in_plaintext_is_2(self, run, movie):
        done = run("estimate", movie, "--server", "gateway.lab:1", "--token", "secret")
        assert done.exit_code == 2
        assert "plaintext" in done.stderr

    def test_unknown_model_is_2(self, run, server, movie, plan):
        plan.refuse_open = [grpc.StatusCode.NOT_FOUND]
        assert run("estimate", movie, "--server", server.address, "--model", "gold").exit_code == 2

    def test_nobody_there_is_1(self, run, server, movie):
        server.kill()
        done = run("estimate", movie, "--server", server.address)
        assert done.exit_code == 1
        assert server.address in done.stderr
        server.start()


class TestStream:
    def test_rates_latencies_and_gaps(self, run, server, movie):
        done = run("stream", movie, "--server", server.address, "--repeat", 10, "--batch")
        assert done.exit_code == 0, done.output
        assert "40 frames" in done.stdout
        assert "p99" in done.stdout
        assert "none" in done.stdout

    def test_a_live_view_counts_what_it_drops(self, run, server, movie, plan):
        plan.credit_frames, plan.delay_s = 1, 0.01
        arguments = ("--repeat", 60, "--policy", "drop_oldest", "--deadline", 5)
        done = run("stream", movie, "--server", server.address, *arguments)
        assert done.exit_code == 0
        assert "dropped" in done.stdout

    def test_all_refused_is_3(self, run, server, tmp_path):
        assert run("stream", write_mrc(tmp_path / "m.mrc", value=0), "--server", server.address).exit_code == 3


class TestModels:
    def test_list(self, run, server):
        done = run("models", "--server", server.address)
        assert done.exit_code == 0
        assert "stable" in done.stdout
        assert "0.05-0.25" in done.stdout

    def test_the_candidates_shadow(self, run, server):
        lines = run("models", "--server", server.address).stdout.splitlines()
        assert "sum 2 in the shadow of 1: 42 frames (11 sampled but not compared: busy)" in lines
        (row,) = (line for line in lines if "100-316" in line)
        for wanted in ("40", "0.0%", "400", "5.0%", "20.0%"):
            assert wanted in row

    def test_promote_roll_back_history(self, run, server):
        at = ("--server", server.address)
        refused = run("models", "promote", "sum", "2", "--reason", "try", *at)
        assert refused.exit_code == 1
        assert "worse than stable" in refused.stderr
        assert "1 → 2" in run("models", "promote", "sum", "2", "--reason", "try", "--force", *at).stdout
        assert "sum 2 is stable by force: try; overridden: worse" in run("models", *at).stdout
        assert "2 → 1" in run("models", "rollback", "sum", "--reason", "worse", *at).stdout
        assert "operator" in run("models", "history", "sum", *at).stdout

    def test_channels_are_a_servers(self, run):
        done = run("models", "rollback", "sum", "--reason", "x")
        assert done.exit_code == 1
        assert "server" in done.stderr


class TestDoctor:
    def test_all_well(self, run, server, movie, tmp_path):
        done = run("doctor", movie, "--server", server.address, "--out", tmp_path)
        assert done.exit_code == 0, done.stdout
        assert [f"frame {index}" in done.stdout for index in range(4)] == [True, False, True, True]
        assert "ok: 1 columns" in done.stdout

    def test_a_refused_frame_is_1(self, run, server, tmp_path):
        done = run("doctor", write_mrc(tmp_path / "m.mrc", value=0), "--server", server.address)
        assert done.exit_code == 1
        assert "every pixel is zero [value 0, permitted from 1 counts]" in done.stdout

    def test_an_unknown_model_is_1(self, run, server, movie):
        done = run("doctor", movie, "--server", server.address, "--model", "gold")
        assert done.exit_code == 1
        assert "there is no such family" in done.stdout

    def test_no_server(self, run, server):
        server.kill()
        done = run("doctor", "--server", server.address)
        assert done.exit_code == 1
        assert "segdepth serve" in done.stdout
        server.start()


class TestHelp:
    @pytest.mark.parametrize("command", ["estimate", "stream", "models", "doctor"])
    def test_has_examples(self, run, command):
        done = run(command, "--help")
        assert done.exit_code == 0
        assert f"segdepth {command}" in done.stdout

    def test_no_such_command(self, run):
        assert run("estimat").exit_code == 2


def test_a_process_of_its_own(server, movie, tmp_path):
    command = [sys.executable, "-c", "from segdepth.cli import main; main()", "estimate", movie]
    done = subprocess.run(
        [*command, "--server", server.address, "--out", tmp_path / "out"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == 4


@pytest.mark.parametrize("missing, says", [("typer", "segdepth[cli]"), ("tifffile", "segdepth[files]")])
def test_what_is_not_installed_says_how_to(tmp_path, missing, says):
    np.save(tmp_path / "m.npy", np.ones((2, 8, 8), "u1"))
    (tmp_path / "m.tif").write_bytes(b"II*\0")
    code = f"import sys; sys.modules[{missing!r}] = None; from segdepth.cli import main; main()"
    command = [sys.executable, "-c", code, "estimate", tmp_path / "m.tif", "--server", "127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert says in done.stderr
