"""The gateway as a service: health, models, reflection, metrics, draining, and life as a Serve deployment."""

import asyncio
import hashlib
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
from ray.serve.handle import DeploymentHandle

from segdepth_artefacts import ArtefactStore, Manifest, open_store
from segdepth_gateway.server import SERVICES
from segdepth_protos.v1 import models_pb2, models_pb2_grpc
from tests.integration.gateway.conftest import dial, running, settings, until
from tests.integration.gateway.estimators import SumEstimator
from tests.integration.gateway.raw import frame, opening, stream
from tests.integration.gateway.test_gateway_callers import failure

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
TABLE = {"dose": (10.0,), "temperature": (1.0,)}


class InProcess(SumEstimator):
    """The same answers without Ray, for what concerns the gateway alone."""

    running = 1

    async def statuses(self) -> list[dict[str, Any]]:
        return [await self.status()] * self.running


def register(store: ArtefactStore, folder: Path, version: str) -> None:
    weights = folder / f"weights-{version}"
    weights.write_text(version)
    content = weights.read_bytes()
    file = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    manifest = Manifest.model_validate(
        {
            "family": "sum",
            "version": version,
            "created": datetime(2026, 1, int(version), tzinfo=UTC),
            "code_version": "1",
            "files": {"weights.safetensors": file},
            "network": {"kind": "none"},
            "canonical_sampling_A": 0.2,
            "domain": {"description": "sums", "checks": {"sampling": {"lower": 0.05, "upper": 0.3}}},
            "calibration": {"pixel": TABLE, "column": TABLE, "species": TABLE, "abstain_below": 0.5},
            "engines": [],
            "recipe": {},
            "seeds": {},
        }
    )
    store.register(manifest, {"weights.safetensors": weights})


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
    for version in ("1", "2", "3"):
        register(store, tmp_path, version)
    async with running(InProcess(), store) as gateway, dial(gateway.port) as channel:
        admin = models_pb2_grpc.ModelAdminServiceStub(channel)
        for version in ("1", "2", "3"):
            request = models_pb2.PromoteRequest(family="sum", version=version, reason="better")
            change = (await admin.Promote(request)).change
            assert (change.to_version, change.principal, change.reason) == (version, "anonymous", "better")
        for back in ("2", "1"):
            change = (await admin.Rollback(models_pb2.RollbackRequest(family="sum"))).change
            assert change.to_version == back
        code, _ = await failure(admin.Rollback(models_pb2.RollbackRequest(family="sum")))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        changes = (await admin.History(models_pb2.HistoryRequest(family="sum"))).changes
        assert [change.to_version for change in changes] == ["1", "2", "3", "2", "1"]
        code, _ = await failure(admin.Promote(models_pb2.PromoteRequest(family="sum", version="9")))
        assert code is grpc.StatusCode.NOT_FOUND
        code, detail = await failure(admin.Promote(models_pb2.PromoteRequest(family="sum")))
        assert (code, detail) == (grpc.StatusCode.INVALID_ARGUMENT, "version: missing")


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
import asyncio, sys
from segdepth_gateway.server import GatewayServer, run_until_signal
from tests.integration.gateway.conftest import settings
from tests.integration.gateway.test_gateway_service import InProcess
server = GatewayServer(settings(port=int(sys.argv[1])), InProcess())
asyncio.run(run_until_signal(server))
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


@pytest.mark.slow
async def test_as_a_serve_deployment(ray_serve: None) -> None:
    from ray import serve

    from segdepth_gateway.deployment import deployment, drain
    from tests.integration.gateway.ports import free_port

    port = free_port()
    sums = serve.deployment(name="estimator", max_ongoing_requests=8, ray_actor_options={"num_cpus": 0})(SumEstimator)
    application = deployment(settings(port=port, app="whole"), sums.bind())
    handle: DeploymentHandle[Any] = await asyncio.to_thread(serve.run, application, name="whole", route_prefix=None)
    assert await handle.port.remote() == port
    try:
        async with dial(port) as channel:
            await is_health(channel, SERVING)
            call = await stream(channel, opening(options={"family": "sleep:0.3"}))
            await call.send_all(frame(n) for n in range(40))
            await call.until(0)
            draining = asyncio.create_task(asyncio.to_thread(drain, "whole", 30))
            answers = await call.rest()
            await draining
        assert answers.order == list(range(40))
        assert answers.reopen
    finally:
        await asyncio.to_thread(serve.delete, "whole")
