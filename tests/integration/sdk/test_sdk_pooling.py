"""Movies pooled in process and over the wire: the server is the real one, with the same small model."""

import csv
import errno
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from typer.testing import CliRunner

import segdepth
from segdepth.cli.app import app
from segdepth.errors import CannotWrite, NotSupported
from segdepth.export.pooled import PooledTable
from segdepth.tracking import Tracks
from segdepth_artefacts import Manifest, open_store
from segdepth_protos.matching import match
from segdepth_protos.v1 import frame_pb2
from tests.models import lattice_frame, point, tiny_model, tiny_store

SAMPLING_A, SHAPE = 0.1, (224, 240)


def movie(count: int, seed: int = 3, first: int = 0) -> list[np.ndarray]:
    """Frames of one specimen."""
    return [lattice_frame(seed, SHAPE, SAMPLING_A, 300.0, noise=first + number) for number in range(count)]


def numbers(client):
    (info,) = client.models()
    return info.pooling


def test_groups_of_frames(local):
    frames = movie(7)
    groups = list(segdepth.pool(local.stream(frames, SAMPLING_A), numbers(local), 3))
    assert [(group.first, group.last, group.frames) for group in groups] == [(0, 2, 3), (3, 5, 3), (6, 6, 1)]
    single = local.estimate(frames[6], SAMPLING_A).columns
    np.testing.assert_array_equal(groups[2].columns.count, single.count)
    np.testing.assert_allclose(groups[2].columns.probabilities, single.probabilities, atol=1e-4)
    np.testing.assert_array_equal(groups[2].columns.species, single.species)
    assert (groups[0].columns.frames >= 2).all()
    assert groups[0].columns.p_count.mean() > single.p_count.mean()
    assert (groups[0].columns.lo90 <= groups[0].columns.count).all()
    assert (groups[0].columns.count <= groups[0].columns.hi90).all()


def test_frames_without_an_answer_are_left_out_and_counted(local):
    frames = movie(4)
    frames[1] = np.zeros(SHAPE, np.uint16)
    (group,) = segdepth.pool(local.stream(frames, SAMPLING_A), numbers(local), 3)
    assert (group.first, group.last, group.frames, group.refused) == (0, 3, 3, 1)


def test_a_frame_that_has_moved_is_left_out(local):
    frames = movie(3)
    frames[2] = np.roll(frames[2], (7, 9), (0, 1))
    (group,) = segdepth.pool(local.stream(frames, SAMPLING_A), numbers(local), 3)
    assert (group.frames, group.moved) == (2, 1)


def test_a_model_without_the_numbers_says_what_to_do(local):
    (info,) = local.models()
    other = segdepth.ModelVersion("tiny", "99", "", "")
    with pytest.raises(NotSupported, match="calibrate and release it anew"):
        segdepth.numbers_of([info], other)


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """A store whose model was released before there was pooling."""
    folder = tmp_path_factory.mktemp("older")
    manifest = tiny_model(folder / "staging")
    text = manifest.model_dump_json(exclude={"pooling"})
    assert "pooling" not in text
    known = open_store(str(folder / "store"))
    known.register(Manifest.model_validate_json(text), {name: folder / "staging" / name for name in manifest.files})
    point(folder / "store", "1")
    return folder / "store"


def test_an_older_model_is_refused_by_name(older):
    with segdepth.connect("local", store=str(older)) as client:
        assert client.models()[0].pooling is None
        answers = client.stream(movie(3), SAMPLING_A)
        with pytest.raises(NotSupported, match=r"tiny 1 .*calibrate and release it anew"):
            next(client.pool(answers, 2))


def test_fewer_than_two_frames(local):
    with pytest.raises(ValueError, match="two or more"):
        segdepth.Pool(numbers(local), 1)
    with pytest.raises(ValueError, match="two or more"):
        local.pool([], 1)


def test_the_client_asks_for_the_numbers(local):
    frames = movie(4)
    asked = list(local.pool(local.stream(frames, SAMPLING_A), 2))
    given = list(segdepth.pool(local.stream(frames, SAMPLING_A), numbers(local), 2))
    assert [(group.first, group.last) for group in asked] == [(0, 1), (2, 3)]
    for one, other in zip(asked, given, strict=True):
        np.testing.assert_array_equal(one.columns.probabilities, other.columns.probabilities)
    (single,) = local.pool([local.estimate(frames[0], SAMPLING_A)], 5)
    assert (single.frames, single.model.version) == (1, "1")
    assert not single.columns.p_hop.any()


def test_what_the_sum_says_counts(local):
    """Of columns that stand still the answer is the one to the frames' sum, but for what a hop leaves it."""
    frames = movie(7)
    said = list(local.pool(local.stream(frames, SAMPLING_A), 3, frames))
    assert [(group.frames, group.summed) for group in said] == [(3, True), (3, True), (1, False)]
    alone = local.estimate(np.sum(frames[:3], axis=0).astype(np.float32), SAMPLING_A).columns
    columns = said[0].columns
    at = match(np.column_stack([columns.x_px, columns.y_px]), np.column_stack([alone.x_px, alone.y_px]), 5)
    both = at >= 0
    assert both.sum() > 20
    change = np.abs(columns.probabilities[both] - alone.probabilities[at[both]]).max(1)
    assert (change <= columns.p_hop[both] + 1e-4).all()
    without = next(local.pool(local.stream(frames, SAMPLING_A), 3))
    assert not without.summed
    assert np.abs(without.columns.probabilities.max(1).mean() - columns.probabilities.max(1).mean()) > 1e-6


def test_a_frame_that_has_moved_is_not_in_the_sum(local):
    frames = movie(3)
    frames[2] = np.roll(frames[2], (7, 9), (0, 1))
    pool = segdepth.Pool(numbers(local), 3)
    group = None
    for answer in local.stream(frames, segdepth.Calibration(SAMPLING_A, dose_per_A2=300.0)):
        group = pool.add(answer) or group
    image, calibration, options = group.summed(frames, segdepth.Options(priority="batch", strict=True))
    np.testing.assert_array_equal(image, frames[0].astype(float) + frames[1])
    assert image.dtype == np.uint16
    assert calibration == segdepth.Calibration(SAMPLING_A, dose_per_A2=600.0)
    assert options == segdepth.Options("tiny", "1", priority="batch")


def group_of(local, frames):
    pool = segdepth.Pool(numbers(local), len(frames))
    (group,) = (found for answer in local.stream(frames, SAMPLING_A) if (found := pool.add(answer)))
    return group


def test_a_first_frame_that_lies_elsewhere_is_the_one_left_out(local):
    frames = movie(4)
    frames[0] = np.roll(frames[0], (7, 9), (0, 1))
    group = group_of(local, frames)
    assert len(group) == 3
    assert group.pooled().moved == 1
    np.testing.assert_array_equal(group.summed(frames, segdepth.Options())[0], np.sum(frames[1:], axis=0))


def test_frames_that_drift_are_not_added_up(local, tmp_path):
    still = movie(3)
    drifting = [np.roll(frame, (0, 2 * number), (0, 1)) for number, frame in enumerate(still)]
    assert group_of(local, still).drift_A < 0.1
    group = group_of(local, drifting)
    assert len(group) == 3
    assert 0.1 < group.drift_A < 0.25
    assert group.summed(drifting, segdepth.Options()) is None
    with PooledTable(tmp_path, "movie") as table:
        for frames in (still, drifting):
            table.add(next(local.pool(local.stream(frames, SAMPLING_A), 3, frames)))
    assert (table.groups, table.without_sum) == (2, 1)


def test_a_table_that_a_full_disk_ends_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("segdepth.export.atomic.os.fsync", full)
    with pytest.raises(CannotWrite, match="No space left"), PooledTable(tmp_path, "movie"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_group_says_the_worst_verdict_of_its_frames(local, tmp_path):
    answers = list(local.stream(movie(4), SAMPLING_A))
    for number, answer in enumerate(answers):
        answer.message.domain.status = frame_pb2.DOMAIN_STATUS_SUSPECT if number == 2 else frame_pb2.DOMAIN_STATUS_OK
    with PooledTable(tmp_path, "movie") as table:
        for group in segdepth.pool(answers, segdepth.numbers_of(local.models(), answers[0].model), 2):
            table.add(group)
    rows = [row.split(",") for row in (tmp_path / "movie.pooled.csv").read_text().splitlines()]
    assert rows[0][-1] == "status"
    assert {(row[0], row[-1]) for row in rows[1:]} == {("0", "ok"), ("2", "suspect")}


def test_a_sum_larger_than_a_frame_may_be_is_not_asked(local, monkeypatch):
    frames = movie(2)
    group = group_of(local, frames)
    monkeypatch.setattr("segdepth.pooling.contract.FRAME_BYTES", frames[0].nbytes - 1)
    assert group.summed(frames, segdepth.Options()) is None


def test_frames_of_another_sampling_are_a_group_of_their_own(local):
    frames = movie(4)
    samplings_A = (SAMPLING_A, SAMPLING_A, 0.1002, 0.1002)
    answers = [local.estimate(frame, one) for frame, one in zip(frames, samplings_A, strict=True)]
    assert [(group.frames, group.sampling_A) for group in local.pool(answers, 3)] == [(2, 0.1), (2, 0.1002)]


async def test_what_was_answered_before_a_model_that_cannot_pool_is_pooled(store, local):
    frames = movie(3)
    answers = [local.estimate(frame, SAMPLING_A) for frame in frames]
    answers[2].message.model.version = "99"
    pooled = segdepth.pool(answers, lambda version: segdepth.numbers_of(local.models(), version), 3)
    assert next(pooled).frames == 2
    with pytest.raises(NotSupported, match="calibrate and release it anew"):
        next(pooled)

    async def streamed():
        for answer in answers:
            yield answer

    async with segdepth.connect_async("local", store=str(store)) as client:
        waited = client.pool(streamed(), 3)
        assert (await anext(waited)).frames == 2
        with pytest.raises(NotSupported, match="calibrate and release it anew"):
            await anext(waited)


def test_a_sum_that_is_refused_leaves_the_posteriors(local):
    frames = movie(2)
    images = [np.zeros(SHAPE, np.uint16)] * 2
    ours, theirs = (next(local.pool(local.stream(frames, SAMPLING_A), 2, taken)) for taken in (images, None))
    assert not ours.summed
    np.testing.assert_array_equal(ours.columns.probabilities, theirs.columns.probabilities)


@pytest.mark.parametrize("summed", [False, True])
async def test_the_async_client_pools_the_same(store, local, summed):
    frames = movie(4)
    images = frames if summed else None
    async with segdepth.connect_async("local", store=str(store)) as client:
        ours = [group async for group in client.pool(client.stream(frames, SAMPLING_A), 2, images)]
    theirs = list(local.pool(local.stream(frames, SAMPLING_A), 2, images))
    for one, other in zip(ours, theirs, strict=True):
        assert (one.first, one.last, one.frames) == (other.first, other.last, other.frames)
        np.testing.assert_array_equal(one.columns.probabilities, other.columns.probabilities)


def test_two_models_are_not_pooled_together(tmp_path):
    with segdepth.connect("local", store=str(tiny_store(tmp_path / "two", versions=2))) as client:
        frames = movie(4)
        answers = [
            client.estimate(frame, SAMPLING_A, segdepth.Options(version=version))
            for frame, version in zip(frames, "1122", strict=True)
        ]
        groups = list(client.pool(answers, 3))
    assert [(group.model.version, group.frames) for group in groups] == [("1", 2), ("2", 2)]


def test_columns_lie_at_the_mean_of_their_positions():
    rng = np.random.default_rng(1)
    true = np.stack(np.meshgrid(np.arange(12) * 1.4, np.arange(9) * 1.4), -1).reshape(-1, 2)
    tracks = Tracks()
    for number in range(8):
        seen = true + rng.normal(0, 0.08, true.shape)
        order = rng.permutation(len(true))[: len(true) - number]
        assert tracks.add(seen[order]) is not None
    assert len(tracks.found) == len(true)
    assert tracks.found.sum() == 8 * len(true) - 28
    distance = np.hypot(*(tracks.xy_A[:, None] - true).transpose(2, 0, 1)).min(1)
    assert distance.max() < 0.2
    assert distance.mean() < 0.08
    assert tracks.add(true + 0.7) is None
    assert (tracks.found <= 8).all()


@pytest.mark.slow
def test_the_same_in_process_and_over_the_wire(address, local):
    with segdepth.connect(address) as remote:
        ours, theirs = (
            list(segdepth.pool(client.stream(movie(4), SAMPLING_A), numbers(client), 2)) for client in (local, remote)
        )
    for one, other in zip(ours, theirs, strict=True):
        assert (one.first, one.last, one.frames) == (other.first, other.last, other.frames)
        np.testing.assert_allclose(one.columns.probabilities, other.columns.probabilities, atol=1e-5)
        np.testing.assert_array_equal(one.columns.count, other.columns.count)


@pytest.mark.slow
def test_the_command_writes_a_table(address, tmp_path: Path):
    path = tmp_path / "movie.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.stack(movie(5)))
        mrc.voxel_size = SAMPLING_A
    out = tmp_path / "results"
    asked = ["estimate", str(path), "--server", address, "--pool", "2"]
    ran = CliRunner().invoke(app, [*asked, "--out", str(out), "--format", "csv"])
    assert ran.exit_code == 0, ran.output
    assert "pooled: 3 groups of up to 2 frames" in ran.output
    with (out / "movie.pooled.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["first"], row["last"], row["frames"]) for row in rows} == {
        ("0", "1", "2"),
        ("2", "3", "2"),
        ("4", "4", "1"),
    }
    for row in rows:
        assert int(row["lo90"]) <= int(row["count"]) <= int(row["hi90"])
        assert 0 < float(row["p_count"]) <= 1
        assert 0 <= float(row["p_hop"]) <= 1
        assert float(row["x_A"]) == pytest.approx(float(row["x_px"]) * SAMPLING_A, abs=2e-3)
    alone = CliRunner().invoke(app, asked)
    assert alone.exit_code == 2
    assert "--out DIR" in alone.output
