"""The replica behind a real Ray Serve: answers, status, hot swap under load, corrupt artefacts."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import serve
from ray.exceptions import RayTaskError
from ray.serve.handle import DeploymentHandle

from segdepth_artefacts import open_store
from segdepth_core.predictor import Predictor
from segdepth_inference.replica import deployment
from segdepth_inference.settings import InferenceSettings
from segdepth_protos.contract import UnknownModel
from segdepth_protos.v1 import estimator_pb2 as es
from segdepth_protos.v1 import frame_pb2 as pb
from tests.models import FAMILY, add_version, lattice_frame, point, tiny_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CALIBRATION = pb.Calibration(sampling_angstrom_per_px=0.1, dose_electrons_per_angstrom2=500).SerializeToString()
SHAPE = (200, 200)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("replica") / "store", versions=2)


@pytest.fixture(scope="module")
def replica(ray_serve: None, store: Path) -> Iterator[DeploymentHandle]:
    settings = InferenceSettings(
        store=str(store),
        cache=store.parent / "cache",
        poll_s=0.2,
        device="cpu",
        threads=1,
        cpus=0.5,
        shadow_share=1.0,
        shadow_poll_s=0.2,
        shadow_write_s=0.2,
    )
    yield serve.run(deployment(settings), name="test-replica", route_prefix=None)
    serve.delete("test-replica")


@pytest.fixture
def version_1(replica: DeploymentHandle, store: Path) -> None:
    """Every test begins with version 1 serving."""
    point(store, "1")
    until(lambda: status(replica)["version"] == "1" and status(replica)["problem"] == "")


def until(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def status(replica: DeploymentHandle) -> dict[str, Any]:
    answer: dict[str, Any] = replica.status.remote().result(timeout_s=60)
    return answer


def ask(
    replica: DeploymentHandle, frames: list[np.ndarray], options: es.EstimateOptions | None = None
) -> tuple[list[pb.FrameResult], list[int]]:
    serialized = (options or es.EstimateOptions()).SerializeToString()
    results, statuses = replica.estimate.remote(frames, [CALIBRATION] * len(frames), serialized).result(timeout_s=120)
    return [pb.FrameResult.FromString(result) for result in results], statuses


@pytest.mark.usefixtures("version_1")
def test_the_replica_answers_as_the_predictor_does(replica: DeploymentHandle, store: Path) -> None:
    frames = [lattice_frame(seed, SHAPE) for seed in range(5)]
    results, statuses = ask(replica, frames)
    bare = Predictor.load(store.parent / "cache" / FAMILY / "1", device="cpu")
    assert statuses == [pb.DOMAIN_STATUS_OK] * 5
    for result, expected in zip(results, bare.predict(frames, [0.1] * 5), strict=True):
        assert result.columns.count == expected.columns.count.tobytes()
        assert result.columns.species == expected.columns.species.tobytes()
        np.testing.assert_allclose(np.frombuffer(result.columns.x_px, "<f4"), expected.columns.x_px, atol=1e-3)
        assert result.calibration.SerializeToString() == CALIBRATION
        assert result.timings.network_ms > 0
        assert result.sequence == 0


@pytest.mark.usefixtures("version_1")
def test_what_the_gateway_appends_is_merged(replica: DeploymentHandle) -> None:
    """A serialized result followed by the gateway's part is one message, and none of the replica's fields is lost."""
    serialized, _ = replica.estimate.remote([lattice_frame(1, SHAPE)], [CALIBRATION], b"").result(timeout_s=120)
    part = pb.FrameResult(sequence=42, timings=pb.Timings(queue_ms=1.5, total_ms=9.0)).SerializeToString()
    merged = pb.FrameResult.FromString(serialized[0] + part)
    assert (merged.sequence, merged.timings.queue_ms, merged.timings.total_ms) == (42, 1.5, 9.0)
    assert merged.timings.network_ms > 0
    assert merged.columns.size > 0


@pytest.mark.usefixtures("version_1")
def test_refused_frames_are_answers(replica: DeploymentHandle) -> None:
    frames = [np.zeros(SHAPE, np.uint16), lattice_frame(1, SHAPE), np.full(SHAPE, np.nan, np.float32)]
    options = es.EstimateOptions(detail=pb.Detail(depth_map=True), strict=True)
    results, statuses = ask(replica, frames, options)
    assert statuses == [pb.DOMAIN_STATUS_REFUSED, pb.DOMAIN_STATUS_OK, pb.DOMAIN_STATUS_REFUSED]
    assert [result.columns.size > 0 for result in results] == [False, True, False]
    assert set(results[0].depth_map) == {255}


@pytest.mark.usefixtures("version_1")
def test_status_tells_what_answers(replica: DeploymentHandle) -> None:
    told = status(replica)
    assert told["ready"] is True
    assert (told["family"], told["version"], told["engine"], told["problem"]) == (FAMILY, "1", "torch-fp32", "")
    assert len(told["sha256"]) == 64
    assert told["best_batch"] >= 1


@pytest.mark.usefixtures("version_1")
def test_status_answers_while_a_batch_is_predicted(replica: DeploymentHandle) -> None:
    async def ask_meanwhile() -> tuple[int, list[int]]:
        large = [lattice_frame(1, SHAPE)] * 400
        busy = asyncio.ensure_future(replica.estimate.remote(large, [CALIBRATION] * 400, b""))
        told = 0
        while not busy.done():
            assert (await replica.status.remote())["ready"]
            told += 1
        _, statuses = await busy
        return told, statuses

    told, statuses = asyncio.run(ask_meanwhile())
    assert len(statuses) == 400
    assert told > 3


@pytest.mark.usefixtures("version_1")
def test_a_version_by_name_and_an_unknown_one(replica: DeploymentHandle) -> None:
    (result,), _ = ask(replica, [lattice_frame(1, SHAPE)], es.EstimateOptions(version="2"))
    assert result.model.version == "2"
    assert status(replica)["version"] == "1"
    with pytest.raises(RayTaskError) as raised:
        ask(replica, [lattice_frame(1, SHAPE)], es.EstimateOptions(family="gold-100"))
    assert isinstance(raised.value, UnknownModel)
    assert "tiny (2, 1" in str(raised.value)


@pytest.mark.usefixtures("version_1")
def test_the_model_is_swapped_under_load_without_a_failure(replica: DeploymentHandle, store: Path) -> None:
    frames = [lattice_frame(seed, SHAPE) for seed in range(4)]
    truth = {number: ask(replica, frames, es.EstimateOptions(version=number))[0] for number in ("1", "2")}

    async def station(seen: list[str]) -> None:
        while "2" not in seen[-3:]:
            serialized, _ = await replica.estimate.remote(frames, [CALIBRATION] * 4, b"")
            results = [pb.FrameResult.FromString(result) for result in serialized]
            (version,) = {result.model.version for result in results}
            for result, expected in zip(results, truth[version], strict=True):
                assert result.columns.count == expected.columns.count
            seen.append(version)
            assert len(seen) < 2000

    async def load() -> list[list[str]]:
        seen: list[list[str]] = [[], [], []]
        stations = [asyncio.create_task(station(one)) for one in seen]
        await asyncio.sleep(1.0)
        await asyncio.to_thread(point, store, "2")
        await asyncio.gather(*stations)
        return seen

    for versions in asyncio.run(load()):
        assert versions[0] == "1"
        assert versions == sorted(versions)


@pytest.mark.usefixtures("version_1")
def test_a_corrupt_artefact_keeps_the_old_model_serving(replica: DeploymentHandle, store: Path) -> None:
    add_version(store, "broken", seed=2)
    weights = store / "models" / FAMILY / "broken" / "weights.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-100])
    point(store, "broken")
    until(lambda: status(replica)["problem"] != "")
    told = status(replica)
    assert (told["ready"], told["version"]) == (True, "1")
    assert "weights.safetensors" in told["problem"]
    (result,), _ = ask(replica, [lattice_frame(1, SHAPE)])
    assert result.model.version == "1"
    point(store, "2")
    until(lambda: status(replica)["version"] == "2")
    assert status(replica)["problem"] == ""


@pytest.mark.usefixtures("version_1")
def test_the_candidate_answers_in_the_shadow_and_nobody_sees_it(replica: DeploymentHandle, store: Path) -> None:
    add_version(store, "7", seed=7)
    point(store, "7", "candidate")
    until(lambda: status(replica)["shadow"] == "7")
    opened = open_store(str(store))
    frames = [lattice_frame(seed, SHAPE) for seed in range(4)]
    expected, _ = ask(replica, frames, es.EstimateOptions(version="1"))

    def compared() -> bool:
        results, _ = ask(replica, frames)
        for result, alone in zip(results, expected, strict=True):
            assert result.model.version == "1"
            assert result.columns == alone.columns
        return opened.shadow(FAMILY, "7", "1").total.frames >= 5

    until(compared)
    found = opened.shadow(FAMILY, "7", "1")
    assert found.replicas == 1
    assert found.total.columns > 100
    assert found.total.counts_differ > 0, "the two tiny models differ"
    assert found.dropped > 0, "of four frames of a batch one is held"
    point(store, "7")
    until(lambda: status(replica)["version"] == "7")
    until(lambda: status(replica)["shadow"] == "")
    assert status(replica)["shadow_problem"] == ""


@pytest.mark.usefixtures("version_1")
def test_a_corrupt_candidate_hurts_nobody(replica: DeploymentHandle, store: Path) -> None:
    add_version(store, "hurt", seed=2)
    weights = store / "models" / FAMILY / "hurt" / "weights.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-100])
    point(store, "hurt", "candidate")
    until(lambda: status(replica)["shadow_problem"] != "")
    told = status(replica)
    assert "weights.safetensors" in told["shadow_problem"]
    assert (told["ready"], told["version"], told["problem"], told["shadow"]) == (True, "1", "", "")
    (result,), _ = ask(replica, [lattice_frame(1, SHAPE)])
    assert result.model.version == "1"
    point(store, "2", "candidate")
    until(lambda: status(replica)["shadow"] == "2")
    assert status(replica)["shadow_problem"] == ""
