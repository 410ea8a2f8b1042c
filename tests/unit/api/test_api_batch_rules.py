"""Which addresses a principal may name, what a request may say, and what a RayJob is made of."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from segdepth_api.batch.allowed import Allowed
from segdepth_api.batch.cluster import ClusterRunner
from segdepth_api.batch.job_body import JobBody
from segdepth_api.kubernetes import RayJobs
from segdepth_api.problems import Problem
from segdepth_api.settings import ApiSettings

STORE = "s3://segdepth-batch"
RULES = {"*": ("s3://segdepth-batch/data/{principal}/",), "beam-*": ("s3://microscope/raw/",)}


@pytest.mark.parametrize(
    "principal, address",
    [
        ("alice", "s3://segdepth-batch/data/alice/"),
        ("alice", "s3://segdepth-batch/data/alice/night/movie 3.mrc"),
        ("beam-2", "s3://microscope/raw/2026/"),
        ("beam-2", "s3://segdepth-batch/data/beam-2/x.npy"),
    ],
)
def test_ones_own_addresses_are_permitted(principal: str, address: str) -> None:
    assert Allowed(RULES, STORE).check(address, principal, "input") == address


@pytest.mark.parametrize(
    "address, status",
    [
        ("s3://segdepth-batch/data/alice", 403),
        ("s3://segdepth-batch/data/alice-evil/movie.mrc", 403),
        ("s3://segdepth-batch/data/bob/movie.mrc", 403),
        ("s3://segdepth-batch/data/ALICE/movie.mrc", 403),
        ("s3://segdepth-batch/jobs/batch-0/request.json", 403),
        ("s3://microscope/raw/", 403),
        ("s3://segdepth-batch-evil/data/alice/movie.mrc", 403),
        ("s3://segdepth-batch/data/alice/../bob/movie.mrc", 422),
        ("s3://segdepth-batch/data/alice/./movie.mrc", 422),
        ("s3://segdepth-batch/data/alice//movie.mrc", 422),
        ("s3://segdepth-batch//data/alice/movie.mrc", 422),
        ("s3://segdepth-batch/data/alice/%2e%2e/bob/movie.mrc", 422),
        ("s3://segdepth-batch/data/alice/..%2fbob", 422),
        ("s3://segdepth-batch/data/alice/\\..\\bob", 422),
        ("s3://segdepth-batch/data/alice/movie.mrc?versionId=1", 422),
        ("s3://segdepth-batch/data/alice/movie.mrc#x", 422),
        ("s3://segdepth-batch/data/alice/.hidden", 422),
        ("s3://segdepth-batch/data/alice/a\nb.mrc", 422),
        ("s3://key:secret@segdepth-batch/data/alice/movie.mrc", 422),
        ("S3://segdepth-batch/data/alice/movie.mrc", 422),
        ("s3://segdepth-batch", 422),
        ("https://segdepth-batch/data/alice/movie.mrc", 422),
        ("file:///etc/passwd", 422),
        ("/etc/passwd", 422),
        ("", 422),
    ],
)
def test_every_other_address_is_refused(address: str, status: int) -> None:
    with pytest.raises(Problem) as refused:
        Allowed(RULES, STORE).check(address, "alice", "input")
    assert (refused.value.status, refused.value.field) == (status, "input")


def test_the_store_of_jobs_is_nobody_s_even_where_a_rule_covers_it() -> None:
    allowed = Allowed({"*": ("s3://segdepth-batch/",)}, STORE)
    for address in ("s3://segdepth-batch/jobs/x", "s3://segdepth-batch/uploads/bob/x.mrc", "s3://segdepth-batch/jobs"):
        with pytest.raises(Problem, match="may name"):
            allowed.check(address, "alice", "input")
    assert allowed.check("s3://segdepth-batch/jobsite/x.mrc", "alice", "input")


@pytest.mark.parametrize("principal", ["../bob", "a/b", "", "*", "bob/"])
def test_a_name_that_is_no_plain_word_has_no_prefix_of_its_own(principal: str) -> None:
    assert Allowed(RULES, STORE).prefixes(principal) == []


@pytest.mark.parametrize("field", ["image", "command", "entrypoint", "environment", "endpoint", "principal", "store"])
def test_a_request_says_nothing_of_how_it_is_run(field: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        JobBody.model_validate({"input": ["s3://b/a/"], field: "x"})
    assert [fault["loc"] for fault in wrong.value.errors()] == [(field,)]


@pytest.mark.parametrize("prefix", ["s3://b/{principal}", "b/x/", "s3://b//x/", "s3://b/{user}/"])
def test_a_rule_that_would_permit_more_than_it_says_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError, match="batch_prefixes"):
        ApiSettings(batch_prefixes={"*": (prefix,)})


TEMPLATE = """
apiVersion: ray.io/v1
kind: RayJob
metadata:
  name: "{{id}}"
  labels: {segdepth.io/job: "{{id}}"}
spec:
  entrypoint: python -m segdepth_batch run --job {{id}}
  rayClusterSpec:
    headGroupSpec:
      template:
        spec:
          priorityClassName: "{{priority}}"
          containers: [{name: ray-head, image: segdepth-batch:1}]
"""


class ApiServer(BaseHTTPRequestHandler):
    """Keeps RayJobs as the real one does, as far as names go. The real one is asked in the tests on a cluster."""

    jobs: dict[str, Any]
    tokens: list[str]

    def do_POST(self) -> None:
        self.tokens.append(self.headers["Authorization"])
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = job["metadata"]["name"]
        status = 409 if name in self.jobs else 201
        self.jobs.setdefault(name, job)
        self._answer(status, job)

    def do_GET(self) -> None:
        job = self.jobs.get(self.path.rpartition("/")[2])
        self._answer(200 if job else 404, job or {})

    def do_DELETE(self) -> None:
        self._answer(200 if self.jobs.pop(self.path.rpartition("/")[2], None) else 404, {})

    def _answer(self, status: int, body: Any) -> None:
        document = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(document)))
        self.end_headers()
        self.wfile.write(document)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[ClusterRunner, type[ApiServer]]]:
    handler = type("Handler", (ApiServer,), {"jobs": {}, "tokens": []})
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "namespace").write_text("em\n")
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        rayjobs = RayJobs(tmp_path, f"http://127.0.0.1:{server.server_port}")
        yield (
            ClusterRunner(tmp_path / "template.yaml", {"low": "slow", "normal": "usual", "high": "fast"}, rayjobs),
            handler,
        )
        server.shutdown()


async def test_a_rayjob_is_the_template_with_id_and_priority_and_made_once(
    cluster: tuple[ClusterRunner, type[ApiServer]],
) -> None:
    runner, server = cluster
    await runner.start("batch-0a1b", "alice", "low")
    await runner.start("batch-0a1b", "alice", "low")
    assert list(server.jobs) == ["batch-0a1b"]
    made = json.dumps(server.jobs["batch-0a1b"])
    assert "{{" not in made
    assert server.jobs["batch-0a1b"]["spec"]["entrypoint"] == "python -m segdepth_batch run --job batch-0a1b"
    assert '"priorityClassName": "slow"' in made
    assert set(server.tokens) == {"Bearer secret"}


async def test_a_rayjob_that_failed_or_is_gone_is_said_so(cluster: tuple[ClusterRunner, type[ApiServer]]) -> None:
    runner, server = cluster
    await runner.start("batch-1", "alice", "normal")
    assert await runner.problem("batch-1") == ""
    server.jobs["batch-1"]["status"] = {"jobDeploymentStatus": "Failed", "message": "no image"}
    assert "no image" in await runner.problem("batch-1")
    with pytest.raises(Problem, match="cleared away"):
        await runner.start("batch-1", "alice", "normal")
    await runner.start("batch-1", "alice", "normal")
    assert await runner.problem("batch-1") == ""
    await runner.remove("batch-1")
    await runner.remove("batch-1")
    assert "gone" in await runner.problem("batch-1")


async def test_a_cluster_that_does_not_answer_is_503(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("em")
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    runner = ClusterRunner(
        tmp_path / "template.yaml", {"low": "a", "normal": "a", "high": "a"}, RayJobs(tmp_path, "http://127.0.0.1:9")
    )
    with pytest.raises(Problem) as refused:
        await runner.start("batch-1", "alice", "normal")
    assert refused.value.status == 503
    assert "Retry-After" in refused.value.headers
