"""Who may ask: sessions, tokens, TLS; and what a call that asks wrongly is told."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import ValidationError
from ray.serve.handle import DeploymentHandle

from segdepth_gateway import tokens
from segdepth_gateway.serve_estimator import ServeEstimator
from segdepth_gateway.server import GatewayServer, PortInUse
from segdepth_gateway.session import Sessions
from segdepth_protos.v1 import estimator_pb2, estimator_pb2_grpc, frame_pb2, models_pb2, models_pb2_grpc
from tests.integration.gateway.certificates import Authority
from tests.integration.gateway.estimators import REFUSED_PIXEL, sum_of
from tests.integration.gateway.harness import KEY, dial, running, settings
from tests.integration.gateway.raw import CALIBRATION, frame, image, opening, stream


@pytest.fixture
def backend(estimator: DeploymentHandle[Any]) -> ServeEstimator:
    return ServeEstimator(estimator, 1024 * 1024)


async def estimate(
    channel: grpc.aio.Channel, message: frame_pb2.Frame, token: str = "", patience_s: float = 20, **options: Any
) -> frame_pb2.FrameResult:
    request = estimator_pb2.EstimateRequest(frame=message, options=estimator_pb2.EstimateOptions(**options))
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    stub = estimator_pb2_grpc.EstimatorServiceStub(channel)
    return (await stub.Estimate(request, timeout=patience_s, metadata=metadata)).result


async def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), str(error.value.details())


async def test_a_stream_is_resumed_at_another_gateway(backend: ServeEstimator) -> None:
    async with running(backend) as gateway, dial(gateway.port) as channel:
        call = await stream(channel)
        await call.send(frame(0), frame(1), frame(2))
        await call.until(1)
        session = call.opened.session
        call.call.cancel()
    async with running(backend) as gateway, dial(gateway.port) as channel:
        call = await stream(channel, opening(session=session, resume_after=1))
        assert call.opened.resume_after == 1
        await call.send(frame(2), frame(3))
        assert (await call.close()).order == [2, 3]


async def test_what_was_not_sent_again_is_lost(channel: grpc.aio.Channel) -> None:
    session = (await stream(channel)).opened.session
    call = await stream(channel, opening(session=session, resume_after=4))
    await call.send(frame(8), frame(10))
    answers = await call.close()
    assert answers.reasons() == {5: "LOST", 6: "LOST", 7: "LOST", 9: "NOT_SENT"}


@pytest.mark.parametrize("kind", ["nonsense", "foreign-key", "foreign-principal", "expired", "policy", "no-session"])
async def test_a_session_that_is_not_the_callers_is_refused(channel: grpc.aio.Channel, kind: str) -> None:
    long_ago = time.time() - 7200
    resume: dict[str, Any] = {
        "nonsense": {"session": b"nonsense"},
        "foreign-key": {"session": Sessions((b"x" * 32,), 3600).issue("anonymous", "", 0)},
        "foreign-principal": {"session": Sessions((KEY.encode(),), 3600).issue("somebody", "", 0)},
        "expired": {"session": Sessions((KEY.encode(),), 3600, lambda: long_ago).issue("anonymous", "", 0)},
        "policy": {"session": Sessions((KEY.encode(),), 3600).issue("anonymous", "", 2)},
        "no-session": {"resume_after": 3},
    }[kind]
    code, detail = await failure(stream(channel, opening(**resume)))
    foreign = kind in ("nonsense", "foreign-key", "foreign-principal")
    assert code is (grpc.StatusCode.PERMISSION_DENIED if foreign else grpc.StatusCode.INVALID_ARGUMENT)
    assert detail.startswith(("session: ", "open."))


async def test_a_single_frame(channel: grpc.aio.Channel) -> None:
    result = await estimate(channel, frame(7, calibration=CALIBRATION))
    assert (result.sequence, sum_of(result)) == (7, 7)


async def test_single_frames_at_once(channel: grpc.aio.Channel) -> None:
    results = await asyncio.gather(*(estimate(channel, frame(n, calibration=CALIBRATION)) for n in range(40)))
    assert [sum_of(result) for result in results] == list(range(40))


async def test_a_single_frame_that_cannot_be_answered(channel: grpc.aio.Channel) -> None:
    good = frame(1, calibration=CALIBRATION)
    refused = image(1)
    refused[0, 0] = REFUSED_PIXEL
    code, detail = await failure(estimate(channel, frame(1)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert detail.startswith("calibration.sampling_angstrom_per_px")
    code, _ = await failure(estimate(channel, good, family="unknown"))
    assert code is grpc.StatusCode.NOT_FOUND
    code, detail = await failure(estimate(channel, frame(1, refused, calibration=CALIBRATION), strict=True))
    assert (code, detail) == (grpc.StatusCode.FAILED_PRECONDITION, "first pixel: is 255")
    code, _ = await failure(estimate(channel, good, family="sleep:5", patience_s=0.3))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    code, detail = await failure(estimate(channel, good, priority=7))  # type: ignore[arg-type]
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert detail.startswith("options.priority")
    large = frame(1, image(1, (1200, 1300)), calibration=CALIBRATION)
    code, detail = await failure(estimate(channel, large, detail=frame_pb2.Detail(probabilities=True)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert detail.startswith("options.detail")


async def test_a_full_gateway_says_when_to_come_again(backend: ServeEstimator) -> None:
    async with running(backend, unary_calls=1, streams=1) as gateway, dial(gateway.port) as channel:
        first = asyncio.create_task(estimate(channel, frame(0, calibration=CALIBRATION), family="sleep:1"))
        await asyncio.sleep(0.3)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await estimate(channel, frame(1, calibration=CALIBRATION))
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(error.value.trailing_metadata())["retry-after-ms"]) >= 50  # type: ignore[arg-type]
        await first
        call = await stream(channel)
        assert (await failure(stream(channel)))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        await call.close()
        await (await stream(channel)).close()


@pytest.fixture
async def guarded(backend: ServeEstimator, tmp_path: Path) -> AsyncIterator[tuple[grpc.aio.Channel, Path]]:
    path = tmp_path / "tokens.json"
    tokens.mint(path, "nobody", ("estimate",))
    async with running(backend, tokens=path) as gateway, dial(gateway.port) as channel:
        yield channel, path


async def test_tokens_and_scopes(guarded: tuple[grpc.aio.Channel, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "FILE_CHECK_S", 0.0)
    channel, path = guarded
    good = frame(1, calibration=CALIBRATION)
    station = tokens.mint(path, "station", ("estimate",))
    night = tokens.mint(path, "night", ("batch",))
    admin = tokens.mint(path, "admin", ("admin",))
    batch = estimator_pb2.PRIORITY_BATCH
    assert (await failure(estimate(channel, good)))[0] is grpc.StatusCode.UNAUTHENTICATED
    assert (await failure(estimate(channel, good, "sd_foreign")))[0] is grpc.StatusCode.UNAUTHENTICATED
    for token, priority in ((station, None), (night, batch), (admin, None), (admin, batch)):
        assert sum_of(await estimate(channel, good, token, **({"priority": priority} if priority else {}))) == 1
    for token, priority in ((station, batch), (night, None)):
        call = estimate(channel, good, token, **({"priority": priority} if priority else {}))
        assert (await failure(call))[0] is grpc.StatusCode.PERMISSION_DENIED
    assert (await failure(stream(channel)))[0] is grpc.StatusCode.UNAUTHENTICATED
    promote = models_pb2_grpc.ModelAdminServiceStub(channel).Promote
    call = promote(models_pb2.PromoteRequest(), metadata=(("authorization", f"Bearer {station}"),))
    assert (await failure(call))[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_tokens_change_without_a_restart(
    guarded: tuple[grpc.aio.Channel, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "FILE_CHECK_S", 0.0)
    channel, path = guarded
    good = frame(1, calibration=CALIBRATION)
    token = tokens.mint(path, "station", ("estimate",))
    await estimate(channel, good, token)
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    await estimate(channel, good, token)
    path.write_text(whole)
    assert tokens.revoke(path, "station") == 1
    assert (await failure(estimate(channel, good, token)))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_tls_and_mutual_tls(backend: ServeEstimator, tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "foreign")
    cert, key = ours.issue("gateway")
    good = frame(1, calibration=CALIBRATION)

    def client(authority: Authority | None) -> grpc.ChannelCredentials:
        if authority is None:
            return grpc.ssl_channel_credentials(ours.path.read_bytes())
        chain, private = authority.issue("station")
        return grpc.ssl_channel_credentials(ours.path.read_bytes(), private.read_bytes(), chain.read_bytes())

    async with running(backend, tls_cert=cert, tls_key=key) as gateway:
        async with dial(gateway.port, client(None)) as channel:
            assert sum_of(await estimate(channel, good)) == 1
        async with dial(gateway.port) as channel:
            assert (await failure(estimate(channel, good, patience_s=5)))[0] is grpc.StatusCode.UNAVAILABLE
    async with running(backend, tls_cert=cert, tls_key=key, tls_client_ca=ours.path) as gateway:
        async with dial(gateway.port, client(ours)) as channel:
            assert sum_of(await estimate(channel, good)) == 1
        for stranger in (None, theirs):
            async with dial(gateway.port, client(stranger)) as channel:
                assert (await failure(estimate(channel, good, patience_s=5)))[0] is grpc.StatusCode.UNAVAILABLE


def test_beyond_loopback_only_with_tls_and_tokens(tmp_path: Path) -> None:
    files = {"tls_cert": tmp_path / "c", "tls_key": tmp_path / "k", "tokens": tmp_path / "t"}
    for missing in ({}, {"tokens": files["tokens"]}, {k: files[k] for k in ("tls_cert", "tls_key")}):
        with pytest.raises(ValidationError, match="needs tls_cert, tls_key and tokens, or insecure"):
            settings(host="0.0.0.0", **missing)
    settings(host="0.0.0.0", **files)
    settings(host="0.0.0.0", insecure=True)


async def test_a_port_in_use_is_said_clearly(backend: ServeEstimator) -> None:
    async with running(backend) as gateway:
        second = GatewayServer(settings(port=gateway.port, bind_wait_s=0), backend)
        with pytest.raises(PortInUse, match=f"127.0.0.1:{gateway.port} cannot be listened at: Address already in use"):
            await second.start()
