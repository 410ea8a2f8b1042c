"""Jobs over HTTP: a real gateway says who asks, a real S3 keeps everything, a Ray of this machine does the work."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from typer.testing import CliRunner

from segdepth.cli.app import app as command_line
from segdepth.errors import InsecureToken, NotAuthenticated
from segdepth.jobs import BatchClient
from segdepth_api.app import create_app
from segdepth_api.settings import ApiSettings
from segdepth_artefacts import open_store
from segdepth_artefacts.jobs import job_folder
from segdepth_artefacts.open_objects import open_objects
from segdepth_gateway.estimator import ReplicaLost
from segdepth_gateway.server import GatewayServer
from segdepth_gateway.settings import GatewaySettings
from segdepth_gateway.tokens import mint
from segdepth_stack.ports import listener
from tests.integration.batch.conftest import FRAMES
from tests.integration.batch.processes import environment, until
from tests.s3 import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class NoReplicas:
    """A gateway whose model has not come up: it knows tokens and models all the same."""

    async def estimate(self, *_: Any) -> Any:
        raise ReplicaLost("there are none")

    async def statuses(self) -> list[Any]:
        return []


class Service:
    """Gateway and api in an event loop of their own, on loopback."""

    def __init__(self, folder: Path, models: Path, **settings: Any):
        tokens = folder / "tokens.json"
        scopes = {"alice": ("batch",), "bob": ("batch", "estimate"), "station": ("estimate",), "root": ("admin",)}
        self.tokens = {name: mint(tokens, name, scope) for name, scope in scopes.items()}
        self._settings, self._models, self._token_file = settings, models, tokens
        self._ready, self.url = threading.Event(), ""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._run()])
        self._thread.start()
        assert self._ready.wait(60)

    async def _run(self) -> None:
        gateway_settings = GatewaySettings(
            port=0, metrics_port=None, tokens=self._token_file, session_key="k" * 32, drain_s=1.0
        )
        gateway = GatewayServer(gateway_settings, NoReplicas(), open_store(self._models))
        await gateway.start()
        with listener("127.0.0.1", 0) as socket:
            self.url = f"http://127.0.0.1:{socket.getsockname()[1]}"
            api = create_app(ApiSettings(gateway=f"127.0.0.1:{gateway.port}", **self._settings))
            server = uvicorn.Server(uvicorn.Config(api, log_config=None, timeout_graceful_shutdown=5))
            serving = asyncio.create_task(server.serve(sockets=[socket]))
            while not server.started:  # noqa: ASYNC110 - uvicorn says it so
                await asyncio.sleep(0.02)
            self._ready.set()
            await self._stop.wait()
            server.should_exit = True
            await serving
        await gateway.stop()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def http(self, who: str | None) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.tokens.get(who, who)}"} if who else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def bucket(seaweed: S3Server) -> str:
    return seaweed.new_bucket()


@pytest.fixture(scope="module")
def service(
    seaweed: S3Server, bucket: str, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(models, folder / "scratch", seaweed).items():
            patch.setenv(name, value)
        running = Service(
            folder,
            models,
            batch_store=f"s3://{bucket}",
            batch_models=str(models),
            batch_prefixes={"*": (f"s3://{bucket}/data/{{principal}}/",)},
            batch_max_jobs=4,
            batch_upload_bytes=8_000_000,
        )
        yield running
        running.close()


def problem(response: httpx.Response, status: int, name: str, field: str | None = None) -> str:
    assert response.status_code == status, response.text
    found = response.json()
    assert (found["type"], found.get("field")) == (f"urn:segdepth:problem:{name}", field), found
    return str(found["detail"])


def test_only_the_scope_batch_may(service: Service, bucket: str) -> None:
    body = {"input": [f"s3://{bucket}/data/alice/"]}
    for who, status in ((None, 401), ("sd_foreign", 401), ("station", 403)):
        with service.http(who) as http:
            for response in (
                http.post("/v1/batch/jobs", json=body),
                http.get("/v1/batch/jobs"),
                http.get("/v1/batch/jobs/batch-0"),
                http.delete("/v1/batch/jobs/batch-0"),
                http.post("/v1/batch/uploads", params={"name": "a.npy"}, content=b"x"),
            ):
                assert response.status_code == status, (who, response.text)


@pytest.mark.parametrize(
    "body, status, name, field",
    [
        ({"input": ["s3://BUCKET/data/bob/"]}, 403, "not-permitted", "input"),
        ({"input": ["s3://BUCKET/data/alice"]}, 403, "not-permitted", "input"),
        ({"input": ["s3://BUCKET/data/alice/%2e%2e/bob/"]}, 422, "invalid-address", "input"),
        ({"input": ["s3://BUCKET/data/alice/"], "output": "s3://BUCKET/data/bob/x"}, 403, "not-permitted", "output"),
        (
            {"input": ["s3://BUCKET/data/alice/"], "output": "s3://BUCKET/data/alice/a b"},
            422,
            "invalid-address",
            "output",
        ),
        ({"input": ["upload:00/../x.npy"]}, 422, "invalid-address", "input"),
        ({"input": ["upload:0011/x.npy"]}, 422, "unknown-upload", "input"),
        ({"input": []}, 422, "invalid-parameter", "body.input"),
        ({"input": ["s3://BUCKET/data/alice/"], "image": "evil"}, 422, "invalid-parameter", "body.image"),
        ({"input": ["s3://BUCKET/data/alice/"], "priority": "highest"}, 422, "invalid-parameter", "body.priority"),
        ({"input": ["s3://BUCKET/data/alice/"], "model": "nobody"}, 404, "unknown-model", "model"),
        ({"input": ["s3://BUCKET/data/alice/"], "model": "tiny/99"}, 404, "unknown-model", "model"),
    ],
)
def test_a_wrong_request_makes_no_job(
    service: Service, bucket: str, body: dict[str, Any], status: int, name: str, field: str
) -> None:
    text = json.loads(json.dumps(body).replace("BUCKET", bucket))
    with service.http("alice") as http:
        before = http.get("/v1/batch/jobs").json()
        problem(http.post("/v1/batch/jobs", json=text), status, name, field)
        assert http.get("/v1/batch/jobs").json() == before


def test_an_upload_is_bounded_and_named_plainly(service: Service) -> None:
    raw = {"content-type": "application/octet-stream"}
    with service.http("alice") as http:

        def send(name: str, content: bytes) -> httpx.Response:
            return http.post("/v1/batch/uploads", params={"name": name}, content=content, headers=raw)

        problem(send("../x.npy", b"x"), 422, "invalid-parameter", "name")
        problem(send("x.raw", b"x"), 415, "unsupported-media-type", "name")
        problem(send("x.npy", b""), 422, "invalid-frame", "body")
        with suppress(httpx.TransportError):  # the answer may come before all is sent, and the connection end
            problem(send("x.npy", bytes(8_000_001)), 413, "body-too-large", "body")
        first, again = send("x.npy", b"same"), send("x.npy", b"same")
        assert first.status_code == again.status_code == 201
        assert first.json() == again.json()


def test_a_job_from_upload_to_table_and_nobody_else_sees_it(
    service: Service, seaweed: S3Server, bucket: str, movies: Path
) -> None:
    with BatchClient(service.url, token=service.tokens["alice"]) as client:
        upload = client.upload(movies / "day.mrc")
        job = client.submit([upload], model="tiny", key="night 7")
        assert client.submit([upload], model="tiny", key="night 7").job == job.job
        with service.http("alice") as http:
            other = http.post(
                "/v1/batch/jobs", json={"input": [upload], "maps": False}, headers={"idempotency-key": "night 7"}
            )
            assert "maps" in problem(other, 409, "other-job", "Idempotency-Key")
        with service.http("bob") as http:
            problem(http.get(f"/v1/batch/jobs/{job.job}"), 404, "unknown-job")
            problem(http.delete(f"/v1/batch/jobs/{job.job}"), 404, "unknown-job")
            problem(http.post("/v1/batch/jobs", json={"input": [upload]}), 422, "unknown-upload", "input")
            problem(http.get("/v1/batch/jobs", params={"everyone": True}), 403, "not-permitted", "everyone")
            assert http.get("/v1/batch/jobs").json() == {"jobs": []}
        with service.http("root") as http:
            seen = http.get("/v1/batch/jobs", params={"everyone": True}).json()["jobs"]
            assert [each["job"] for each in seen] == [job.job]
        until(lambda: client.job(job.job).ended, "the job")
        done = client.job(job.job)
        assert (done.status, done.frames_done, done.model) == ("done", FRAMES["day"], "tiny/1"), done
        assert done.output == f"s3://{bucket}/jobs/{job.job}/output"
    objects = open_objects(done.output, seaweed.settings())
    assert len(objects.children("columns")) == FRAMES["day"] // 2
    assert objects.read("manifest.json") is not None
    runner = CliRunner()
    env = {"SEGDEPTH_TOKEN": service.tokens["alice"], "SEGDEPTH_API": service.url}
    listed = runner.invoke(command_line, ["batch", "list"], env=env)
    assert job.job in listed.output
    status = runner.invoke(command_line, ["batch", "status", job.job, "--wait"], env=env)
    assert status.exit_code == 0
    assert f"{FRAMES['day']} of {FRAMES['day']} frames" in status.output


def test_a_cancelled_job_ends_between_chunks_and_stays_ended(
    service: Service, seaweed: S3Server, bucket: str, movies: Path
) -> None:
    source = f"s3://{bucket}/data/bob/night.mrc"
    seaweed.client().fput_object(bucket, "data/bob/night.mrc", str(movies / "night.mrc"))
    folder = open_objects(f"s3://{bucket}", seaweed.settings())
    with BatchClient(service.url, token=service.tokens["bob"]) as client:
        job = client.submit([source], key="to cancel")
        waiting = client.submit([source], key="never begun", output=f"s3://{bucket}/data/bob/counted")
        assert client.cancel(waiting.job).status == "cancelled"
        until(lambda: client.job(job.job).chunks_done >= 1 or client.job(job.job).ended, "a chunk")
        client.cancel(job.job)
        until(lambda: client.job(job.job).ended, "the end")
        found = client.job(job.job)
        assert found.status == "cancelled", found
        assert 1 <= found.chunks_done < found.chunks_total
        assert client.submit([source], key="to cancel").status == "cancelled"
    assert folder.children("data/bob/counted") == []


def test_as_many_unfinished_jobs_as_may_be(service: Service, seaweed: S3Server, bucket: str) -> None:
    objects = open_objects(f"s3://{bucket}", seaweed.settings())
    with BatchClient(service.url, token=service.tokens["root"]) as client, service.http("root") as http:
        jobs = [client.submit([f"s3://{bucket}/data/root/"], key=f"{number}") for number in range(4)]
        body = {"input": [f"s3://{bucket}/data/root/"]}
        assert "cancel" in problem(http.post("/v1/batch/jobs", json=body), 429, "too-many-jobs")
        for job in jobs:
            client.cancel(job.job)
        assert job_folder(objects, jobs[-1].job).cancelled()


def test_a_token_stays_off_the_open_network(service: Service) -> None:
    with pytest.raises(InsecureToken):
        BatchClient("http://segdepth.example", token="sd_x")
    with BatchClient(service.url) as client, pytest.raises(NotAuthenticated):
        client.jobs()


async def test_without_a_store_the_way_out_is_named() -> None:
    @asynccontextmanager
    async def api() -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(ApiSettings(gateway="127.0.0.1:9"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
            yield client

    async with api() as client:
        response = await client.post("/v1/batch/jobs", json={"input": ["s3://b/a/"]})
    assert "segdepth batch run" in problem(response, 501, "not-supported")
