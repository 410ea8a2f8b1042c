"""In process and over the wire: the same rows and integers, floats within 1e-3, the same gaps and the same errors.

The server is the real one: gateway, Ray Serve and a replica with the same small model as local mode.
"""

from functools import partial

import mrcfile
import numpy as np
import pytest
from typer.testing import CliRunner

import segdepth
from segdepth import Detail, Frame, Options, errors
from segdepth.cli.app import app
from segdepth.results import FrameResult, Gap
from tests.models import lattice_frame

pytestmark = pytest.mark.slow

SAMPLING_A = 0.1
ALL = Options(detail=Detail(depth_map=True, confidence_map=True, probabilities=True))


@pytest.fixture(scope="module")
def remote(address):
    with segdepth.connect(address) as client:
        yield client


def frames(count=12, shape=(224, 240)):
    return [lattice_frame(seed, shape, SAMPLING_A) for seed in range(count)]


def same_number(one, other):
    return one is other or one == pytest.approx(other, abs=1e-3, rel=1e-3, nan_ok=True)


def compare_results(one, other):
    assert (one.sequence, one.shape, one.refused) == (other.sequence, other.shape, other.refused)
    assert (one.model.family, one.model.version, one.model.sha256) == (
        other.model.family,
        other.model.version,
        other.model.sha256,
    )
    assert one.calibration == other.calibration
    for mine, yours in zip(one.domain.checks, other.domain.checks, strict=True):
        assert (mine.name, mine.status, mine.unit) == (yours.name, yours.status, yours.unit)
        assert same_number(mine.value, yours.value)
        assert same_number(mine.lower, yours.lower)
        assert same_number(mine.upper, yours.upper)
    for name in ("species", "count", "lo90", "hi90", "abstained"):
        np.testing.assert_array_equal(getattr(one.columns, name), getattr(other.columns, name), name)
    for name in ("x_px", "y_px", "x_A", "y_A", "p_count", "probabilities"):
        np.testing.assert_allclose(getattr(one.columns, name), getattr(other.columns, name), atol=1e-3, err_msg=name)
    compare_maps(one, other)


def compare_maps(one, other):
    for name in ("depth_map", "confidence_map", "probabilities"):
        mine, yours = getattr(one, name), getattr(other, name)
        assert (mine is None) == (yours is None)
        if mine is not None:
            np.testing.assert_allclose(mine, yours, atol=0 if name == "depth_map" else 1e-3, err_msg=name)


def compare(ones, others):
    ones, others = list(ones), list(others)
    assert [type(answer) for answer in ones] == [type(answer) for answer in others]
    for one, other in zip(ones, others, strict=True):
        if isinstance(one, FrameResult):
            compare_results(one, other)
        else:
            assert one == other
    return ones


def same_error(call, *clients):
    """Both raise the same: type, message, field."""
    seen = []
    for client in clients:
        with pytest.raises(errors.SegDepthError) as caught:
            call(client)
        seen.append((caught.type, str(caught.value), getattr(caught.value, "field", None)))
    assert seen[0] == seen[1]
    return seen[0][0]


class TestEstimate:
    @pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4", "f2"])
    def test_columns_and_maps(self, local, remote, dtype):
        image = (frames(1)[0] // 8).astype(dtype)
        result = local.estimate(image, SAMPLING_A, ALL)
        assert len(result.columns) > 10
        compare_results(result, remote.estimate(image, SAMPLING_A, ALL))

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((224, 224), "u1"),
            np.full((224, 224), 255, "u1"),
            np.full((224, 224), np.nan, "f4"),
            lattice_frame(1, (64, 64)),
        ],
        ids=["zero", "saturated", "nan", "small"],
    )
    def test_refused(self, local, remote, image):
        result = local.estimate(image, SAMPLING_A, ALL)
        assert result.refused
        assert len(result.columns) == 0
        compare_results(result, remote.estimate(image, SAMPLING_A, ALL))

    def test_a_sampling_that_the_lattice_contradicts(self, local, remote):
        image = frames(1)[0]
        result = local.estimate(image, 0.12)
        assert result.refused
        compare_results(result, remote.estimate(image, 0.12))


class TestErrors:
    @pytest.mark.parametrize("image", [np.zeros((1, 9), "u1"), np.zeros((4, 4), "c8"), np.zeros((0, 0), "u1")])
    def test_what_is_no_frame(self, local, remote, image):
        kind = same_error(lambda client: client.estimate(image, SAMPLING_A), local, remote)
        assert kind is errors.InvalidFrame

    @pytest.mark.parametrize(
        "options, kind",
        [
            (Options(model="gold"), errors.UnknownModel),
            (Options(version="99"), errors.UnknownModel),
        ],
    )
    def test_unknown_models(self, local, remote, options, kind):
        for client in (local, remote):
            with pytest.raises(kind):
                client.estimate(frames(1)[0], SAMPLING_A, options)
            with pytest.raises(kind):
                list(client.stream(frames(1), SAMPLING_A, options))

    def test_strict(self, local, remote):
        for client in (local, remote):
            with pytest.raises(errors.OutsideDomain):
                client.estimate(np.zeros((224, 224), "u1"), SAMPLING_A, Options(strict=True))


class TestStream:
    def test_a_movie(self, local, remote):
        answers = compare(local.stream(frames(), SAMPLING_A), remote.stream(frames(), SAMPLING_A))
        assert [answer.sequence for answer in answers] == list(range(12))

    def test_maps(self, local, remote):
        compare(local.stream(frames(3), SAMPLING_A, ALL), remote.stream(frames(3), SAMPLING_A, ALL))

    def test_streams_and_single_frames_agree(self, remote):
        for answer, image in zip(remote.stream(frames(3), SAMPLING_A), frames(3), strict=True):
            single = remote.estimate(image, SAMPLING_A)
            np.testing.assert_array_equal(answer.columns.count, single.columns.count)

    def test_bad_frames_between_good_ones(self, local, remote):
        good = frames(4)
        movie = [
            good[0],
            np.zeros((4, 4), "c8"),
            good[1],
            np.zeros((224, 240), "u2"),
            Frame(good[2], calibration=segdepth.Calibration(0.11)),
            good[3],
        ]
        answers = compare(local.stream(movie, SAMPLING_A), remote.stream(movie, SAMPLING_A))
        assert isinstance(answers[1], Gap)
        assert answers[3].refused

    def test_strict_gives_gaps(self, local, remote):
        movie = [frames(1)[0], np.zeros((224, 240), "u2")]
        strict = Options(strict=True)
        answers = [list(client.stream(movie, SAMPLING_A, strict)) for client in (local, remote)]
        for _, gap in answers:
            assert (gap.first, gap.last, gap.reason) == (1, 1, segdepth.GapReason.REFUSED)

    def test_mixed_shapes(self, local, remote):
        movie = [*frames(2), *frames(1, (256, 256)), frames(3)[2]]
        answers = [list(client.stream(movie, SAMPLING_A)) for client in (local, remote)]
        for found in answers:
            assert (found[2].first, found[2].reason) == (2, segdepth.GapReason.INVALID)
            assert [type(answer) for answer in found] == [FrameResult, FrameResult, Gap, FrameResult]

    def test_skipped_numbers(self, local, remote):
        movie = [Frame(image, 3 * n) for n, image in enumerate(frames(3))]
        answers = compare(local.stream(movie, SAMPLING_A), remote.stream(movie, SAMPLING_A))
        assert [len(answer) for answer in answers if isinstance(answer, Gap)] == [2, 2]

    def test_a_number_backwards(self, local, remote):
        movie = [Frame(image, n) for image, n in zip(frames(3), (0, 1, 1), strict=True)]
        assert same_error(lambda client: list(client.stream(movie, SAMPLING_A)), local, remote) is errors.InvalidFrame

    async def test_the_twins(self, store, address):
        found = []
        twins = (partial(segdepth.connect_async, "local", store=str(store)), partial(segdepth.connect_async, address))
        for connect in twins:
            async with connect() as client:
                found.append([answer async for answer in client.stream(frames(4), SAMPLING_A)])
        compare(*found)


def test_models(local, remote):
    (mine,), (yours,) = local.models(), remote.models()
    assert mine == yours


def test_the_command_line_writes_the_same_rows(address, store, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEPTH_STORE", str(store))
    with mrcfile.new(tmp_path / "movie.mrc") as mrc:
        mrc.set_data(np.stack(frames(4)))
        mrc.voxel_size = SAMPLING_A
    rows = {}
    for name, arguments in {"local": [], "remote": ["--server", address]}.items():
        out = tmp_path / name
        command = ["estimate", str(tmp_path / "movie.mrc"), "--out", str(out), "--format", "csv", *arguments]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        rows[name] = [line.split(",") for line in (out / "movie.columns.csv").read_text().splitlines()]
    assert rows["local"][0] == rows["remote"][0]
    assert len(rows["local"]) > 40
    for mine, yours in zip(rows["local"][1:], rows["remote"][1:], strict=True):
        assert [mine[i] for i in (0, 5, 6, 8, 9, 10)] == [yours[i] for i in (0, 5, 6, 8, 9, 10)]
        for i in (1, 2, 3, 4, 7):
            # Each is rounded to a thousandth.
            assert float(mine[i]) == pytest.approx(float(yours[i]), abs=2.01e-3)
