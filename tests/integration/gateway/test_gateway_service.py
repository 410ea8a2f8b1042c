"""The gateway as a service: health, models, reflection, metrics, draining, and life as a Serve deployment."""

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from segdepth_artefacts import ArtefactStore, Manifest, open_store
from segdepth_artefacts.shadow import Counts, ShadowRecord
from segdepth_gateway.server import SERVICES, GatewayServer, PortInUse
from segdepth_protos.v1 import estimator_pb2, estimator_pb2_grpc, models_pb2, models_pb2_grpc
from tests.integration.gateway.certificates import Authority
from tests.integration.gateway.estimators import Held, InProcess
from tests.integration.gateway.harness import dial, running, settings, until
from tests.integration.gateway.raw import frame, opening, stream
from tests.integration.gateway.test_gateway_callers import failure

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
TABLE = {"dose": (10.0,), "temperature": (1.0,)}


def report(stable: str | None, value: float = 0.01, missed: list[str] | None = None) -> dict[str, Any]:
    """What a training run reports of a version that it compared with `stable`."""
    difference = {"value": value, "low": value - 0.02, "high": value + 0.02}
    pair = {"difference": difference, "ece": 0.02, "ece_stable": 0.02}
    paired = {"stable": stable, "run_id": "r", "seed": 1, "specimens": 60, "doses": {"50": pair}}
    families = {"all": {"50": {"ece": 0.02}, "500": {"ece": 0.02}}}
    return {"families": families, "missed": missed or [], "paired": paired if stable else None}


def register(store: ArtefactStore, folder: Path, version: str, found: dict[str, Any] | None = None) -> None:
    files = {"weights.safetensors": folder / f"weights-{version}"}
    files["weights.safetensors"].write_text(version)
    if found is not None:
        files["report.json"] = folder / f"report-{version}"
        files["report.json"].write_text(json.dumps(found))
    contents = {name: path.read_bytes() for name, path in files.items()}
    manifest = Manifest.model_validate(
        {
            "family": "sum",
            "version": version,
            "created": datetime(2026, 1, int(version), tzinfo=UTC),
            "code_version": "1",
            "files": {
                name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
                for name, content in contents.items()
            },
            "network": {"kind": "none"},
            "canonical_sampling_A": 0.2,
            "domain": {"description": "sums", "checks": {"sampling": {"lower": 0.05, "upper": 0.3}}},
            "calibration": {"pixel": TABLE, "column": TABLE, "species": TABLE, "abstain_below": 0.5},
            "engines": [],
            "recipe": {},
            "seeds": {},
        }
    )
    store.register(manifest, files)


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


async def is_health(channel: grpc.aio.Channel, status: int) -> None:
    async with asyncio.timeout(20):
        while await health(channel) != status:  # noqa: ASYNC110 - polling is what probes do
            await asyncio.sleep(0.05)


async def test_health_is_the_replicas_word() -> None:
    estimator = InProcess()
    estimator.ready = False
    async with running(estimator) as gateway, dial(gateway.port) as channel:
        assert {await health(channel, name) for name in ("", *SERVICES)} == {NOT_SERVING}
        estimator.ready = True
        await is_health(channel, SERVING)
        assert {await health(channel, name) for name in ("", *SERVICES)} == {SERVING}
        estimator.ready = False
        await is_health(channel, NOT_SERVING)


async def test_a_corrupt_model_shows_why_while_the_old_one_serves(tmp_path: Path) -> None:
    estimator = InProcess()
    store = open_store(tmp_path / "store")
    for version in ("1", "2"):
        register(store, tmp_path, version)
    store.point("sum", "stable", "2", principal="t", reason="t", expected=None)
    estimator.problem = "sum/2: weights.safetensors is corrupt"
    async with running(estimator, store) as gateway, dial(gateway.port) as channel:
        await is_health(channel, SERVING)
        stub = models_pb2_grpc.ModelServiceStub(channel)
        models = (await stub.ListModels(models_pb2.ListModelsRequest())).models
        listed = [(m.version.version, m.serving, m.problem, list(m.channels)) for m in models]
        assert listed == [("2", False, estimator.problem, ["stable"]), ("1", True, "", [])]
        assert models[0].sampling_upper_angstrom_per_px == pytest.approx(0.3)
        registry = gateway.metrics.registry
        assert registry.get_sample_value("segdepth_gateway_model_problem", {"problem": estimator.problem}) == 1
        code, _ = await failure(stub.ListModels(models_pb2.ListModelsRequest(family="other")))
        assert code is grpc.StatusCode.NOT_FOUND
        code, detail = await failure(stream(channel, opening(options={"family": "sum", "version": "9"})))
        assert code is grpc.StatusCode.NOT_FOUND
        assert "there are 2, 1" in detail


async def test_promote_roll_back_history(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    for version, stable in (("1", None), ("2", "1"), ("3", "2")):
        register(store, tmp_path, version, report(stable))
    async with running(InProcess(), store) as gateway, dial(gateway.port) as channel:
        admin = models_pb2_grpc.ModelAdminServiceStub(channel)
        for version in ("1", "2", "3"):
            request = models_pb2.PromoteRequest(family="sum", version=version, reason="better")
            change = (await admin.Promote(request)).change
            assert (change.to_version, change.principal, change.reason) == (version, "anonymous", "better")
            assert not change.forced
        for back in ("2", "1"):
            change = (await admin.Rollback(models_pb2.RollbackRequest(family="sum"))).change
            assert change.to_version == back
        code, _ = await failure(admin.Rollback(models_pb2.RollbackRequest(family="sum")))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        changes = (await admin.History(models_pb2.HistoryRequest(family="sum"))).changes
        assert [change.to_version for change in changes] == ["1", "2", "3", "2", "1"]
        # Compared with 2, where stable is 1; but it was stable before.
        await admin.Promote(models_pb2.PromoteRequest(family="sum", version="3"))
        code, _ = await failure(admin.Promote(models_pb2.PromoteRequest(family="sum", version="9")))
        assert code is grpc.StatusCode.NOT_FOUND
        code, detail = await failure(admin.Promote(models_pb2.PromoteRequest(family="sum")))
        assert (code, detail) == (grpc.StatusCode.INVALID_ARGUMENT, "version: missing")


async def test_gates_refuse_and_a_forced_promotion_is_recorded_with_what_was_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    register(store, tmp_path, "1", report(None))
    register(store, tmp_path, "2", report("1", value=-0.2, missed=["accuracy at 500 e/Å² is 0.6 < 0.8"]))
    register(store, tmp_path, "3")
    store.point("sum", "stable", "1", principal="t", reason="t", expected=None)
    async with running(InProcess(), store, gate_max_ece=0.015) as gateway, dial(gateway.port) as channel:
        admin = models_pb2_grpc.ModelAdminServiceStub(channel)
        worse = models_pb2.PromoteRequest(family="sum", version="2", reason="for a trial")
        code, detail = await failure(admin.Promote(worse))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        said = detail.splitlines()
        assert said[0] == "sum 2 is not promoted:"
        assert [line[:2] for line in said[1:-1]] == ["- "] * 5
        for wanted in ("0.6 < 0.8", "worse than 1's: -0.200", "is 0.020 > 0.015"):
            assert wanted in detail
        assert "--force" in said[-1]
        code, detail = await failure(admin.Promote(models_pb2.PromoteRequest(family="sum", version="3")))
        assert (code, "no report.json" in detail) == (grpc.StatusCode.FAILED_PRECONDITION, True)
        unsaid = models_pb2.PromoteRequest(family="sum", version="2", force=True)
        assert await failure(admin.Promote(unsaid)) == (grpc.StatusCode.INVALID_ARGUMENT, "reason: missing")
        worse.force = True
        change = (await admin.Promote(worse)).change
        assert (change.to_version, change.forced) == ("2", True)
        assert change.reason.startswith("for a trial; overridden: its recipe's own gate: accuracy at 500")
        assert "worse than 1's" in change.reason
        listed = models_pb2_grpc.ModelServiceStub(channel)
        models = (await listed.ListModels(models_pb2.ListModelsRequest())).models
        assert {model.version.version: model.forced for model in models} == {"1": "", "2": change.reason, "3": ""}
        assert (await admin.Promote(worse)).change == change
        # Asked anew it is refused for itself, and no more for what it replaced.
        worse.force = False
        code, detail = await failure(admin.Promote(worse))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "0.6 < 0.8" in detail
        assert "worse than" not in detail
        await admin.Promote(models_pb2.PromoteRequest(family="sum", version="1"))
        code, _ = await failure(admin.Promote(worse))
        assert code is grpc.StatusCode.FAILED_PRECONDITION


async def test_models_show_what_the_candidate_does_in_the_shadow(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    for version in ("1", "2"):
        register(store, tmp_path, version)
    store.point("sum", "stable", "1", principal="t", reason="t", expected=None)
    store.point("sum", "candidate", "2", principal="t", reason="t", expected=None)
    now = datetime.now(UTC)
    counts = Counts(frames=7, verdicts_differ=1, columns=60, counts_differ=3, only_candidate=2)
    names = {"family": "sum", "candidate": "2", "stable": "1", "replica": "a"}
    store.shadow_log().write(ShadowRecord(**names, since=now, updated=now, dropped=4, doses={"100-316": counts}))
    estimator = InProcess()
    estimator.shadow_problem = "sum/2: weights.safetensors is corrupt"
    async with running(estimator, store) as gateway, dial(gateway.port) as channel:
        await is_health(channel, SERVING)
        models = models_pb2_grpc.ModelServiceStub(channel)
        candidate, stable = (await models.ListModels(models_pb2.ListModelsRequest())).models
        assert (list(candidate.channels), candidate.problem) == (["candidate"], estimator.shadow_problem)
        assert (candidate.shadow.stable, candidate.shadow.replicas, candidate.shadow.frames_dropped) == ("1", 1, 4)
        (row,) = candidate.shadow.doses
        assert (row.dose, row.frames, row.columns, row.only_candidate, row.only_stable) == ("100-316", 7, 60, 2, 0)
        assert (stable.serving, stable.problem, stable.HasField("shadow")) == (True, "", False)


async def test_probes_ask_a_port_that_knows_health_alone(tmp_path: Path) -> None:
    estimator = InProcess()
    cert, key = Authority(tmp_path).issue("gateway")
    secured = {"tls_cert": cert, "tls_key": key, "health_port": 0}
    async with running(estimator, **secured) as gateway:
        assert gateway.health_port not in (None, 0, gateway.port)
        async with dial(gateway.health_port) as channel:
            await is_health(channel, SERVING)
            estimator.ready = False
            await is_health(channel, NOT_SERVING)
            models = models_pb2_grpc.ModelServiceStub(channel)
            code, _ = await failure(models.ListModels(models_pb2.ListModelsRequest()))
            assert code is grpc.StatusCode.UNIMPLEMENTED
            estimate = estimator_pb2_grpc.EstimatorServiceStub(channel).Estimate
            assert (await failure(estimate(estimator_pb2.EstimateRequest())))[0] is grpc.StatusCode.UNIMPLEMENTED
        another = GatewayServer(settings(health_port=gateway.health_port, bind_wait_s=0), estimator)
        with pytest.raises(PortInUse, match=f"127.0.0.1:{gateway.health_port} cannot be listened at"):
            await another.start()


async def test_probes_see_that_a_gateway_drains() -> None:
    estimator = Held()
    async with (
        running(estimator, health_port=0, drain_s=60.0) as gateway,
        dial(gateway.port) as station,
        dial(gateway.health_port or 0) as channel,
    ):
        await is_health(channel, SERVING)
        call = await stream(station)
        await call.send_all([frame(0)])
        await asyncio.wait_for(estimator.asked.wait(), 20)
        stopping = asyncio.create_task(gateway.stop())
        await is_health(channel, NOT_SERVING)
        estimator.may_answer.set()
        assert (await call.rest()).order == [0]
        await stopping


async def test_reflection_names_the_services() -> None:
    async with running(InProcess()) as gateway, dial(gateway.port) as channel:
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        call = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        answer = await call.read()
        names = {service.name for service in answer.list_services_response.service}
        assert {*SERVICES, "grpc.health.v1.Health"} <= names


async def test_metrics_are_served() -> None:
    async with running(InProcess(), metrics_port=0) as gateway, dial(gateway.port) as channel:
        call = await stream(channel)
        await call.send(frame(0), frame(3), frame(4, data=b""))
        await call.close()
        url = f"http://127.0.0.1:{gateway.metrics_port}/metrics"
        text = (await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read())).decode()
    assert 'segdepth_gateway_frames_answered_total{call="stream"} 2.0' in text
    assert 'segdepth_gateway_frames_unanswered_total{reason="not_sent"} 2.0' in text
    assert 'segdepth_gateway_frames_unanswered_total{reason="invalid"} 1.0' in text
    assert 'version="1"' in text


async def test_draining_answers_what_was_accepted_and_asks_to_reopen() -> None:
    async with running(InProcess()) as gateway, dial(gateway.port) as channel:
        call = await stream(channel, opening(options={"family": "sleep:0.4"}))
        await call.send_all(frame(n) for n in range(30))
        await call.until(0)
        await gateway.stop()
        answers = await call.rest()
    assert answers.order == list(range(30))
    assert not answers.gaps
    assert answers.reopen


async def test_an_old_stream_is_asked_to_reopen_and_goes_on() -> None:
    async with running(InProcess(), stream_age_s=0.5) as gateway, dial(gateway.port) as channel:
        call = await stream(channel)
        await call.send(frame(0), frame(1))
        answers = await call.rest()
        assert (answers.order, bool(answers.reopen)) == ([0, 1], True)
        again = await stream(channel, opening(session=call.opened.session, resume_after=1))
        await again.send(frame(2))
        assert (await again.close()).order == [2]


async def test_an_idle_stream_is_asked_to_reopen() -> None:
    async with running(InProcess(), idle_timeout_s=0.3) as gateway, dial(gateway.port) as channel:
        call = await stream(channel)
        assert (await call.rest()).reopen == "no frame for 0.3 s"


async def test_frames_wait_while_there_is_no_replica() -> None:
    estimator = InProcess()
    async with running(estimator) as gateway, dial(gateway.port) as channel:
        estimator.running = 0
        replicas = gateway.metrics.registry.get_sample_value
        await until(lambda: replicas("segdepth_gateway_replicas") == 0)
        call = await stream(channel)
        await call.send(frame(0))
        await until(lambda: replicas("segdepth_gateway_queue_frames", {"priority": "interactive"}) == 1)
        estimator.running = 1
        assert (await call.close()).order == [0]


SERVER = """
import asyncio, signal, sys
from segdepth_gateway.server import GatewayServer
from tests.integration.gateway.harness import settings
from tests.integration.gateway.estimators import InProcess


async def until_signal():
    stop_requested = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop_requested.set)
    server = GatewayServer(settings(port=int(sys.argv[1])), InProcess())
    await server.start()
    await stop_requested.wait()
    await server.stop()


asyncio.run(until_signal())
"""


async def process(port: int) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[3]
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], cwd=root, stdout=subprocess.DEVNULL)
    async with dial(port) as channel:
        async with asyncio.timeout(60):
            await channel.channel_ready()
        await is_health(channel, SERVING)
    return server


async def test_a_killed_gateway_is_replaced_and_the_stream_resumed() -> None:
    from tests.integration.gateway.ports import free_port

    port = free_port()
    server = await process(port)
    try:
        async with dial(port) as channel:
            call = await stream(channel, opening(options={"family": "sleep:0.1"}))
            await call.send_all(frame(n) for n in range(20))
            await call.until(2)
            server.kill()
            server.wait()
            assert (await failure(call.rest()))[0] is grpc.StatusCode.UNAVAILABLE
        acknowledged = call.answers.order[-1]
        server = await process(port)
        async with dial(port) as channel:
            again = await stream(channel, opening(session=call.opened.session, resume_after=acknowledged))
            await again.send_all(frame(n) for n in range(acknowledged + 1, 20))
            answers = await again.close()
        assert call.answers.order + answers.order == list(range(20))
    finally:
        server.kill()
        server.wait()


async def test_sigterm_drains() -> None:
    from tests.integration.gateway.ports import free_port

    port = free_port()
    server = await process(port)
    try:
        async with dial(port) as channel:
            call = await stream(channel, opening(options={"family": "sleep:0.5"}))
            await call.send_all(frame(n) for n in range(20))
            await call.until(0)
            server.send_signal(signal.SIGTERM)
            answers = await call.rest()
        assert answers.order == list(range(20))
        assert answers.reopen
        assert await asyncio.to_thread(server.wait, 10) == 0
    finally:
        server.kill()
        server.wait()
