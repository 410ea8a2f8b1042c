"""`segdepth serve` starts all of it, says where, and leaves nothing behind however it ends."""

import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

import segdepth
from segdepth.errors import Unavailable
from segdepth_gateway.tokens import mint
from segdepth_stack.node_process import StackFailed
from segdepth_stack.ports import PortInUse, listener
from segdepth_stack.settings import StackSettings
from segdepth_stack.stack import Stack
from tests.integration.gateway.certificates import Authority
from tests.models import lattice_frame

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
COMMAND = Path(sys.executable).parent / "segdepth"
READY_S = 150


@contextmanager
def serving(store: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`segdepth serve` on free ports, and the gateway's address that it printed."""
    command = [COMMAND, "serve", "--store", store, "--port", "0", "--http-port", "0", "--metrics-port", "0"]
    with log.open("wb") as output:
        environment = {**os.environ, "COLUMNS": "200"}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        yield process, printed_address(process, log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def printed_address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if found := re.search(r"gateway\D*(127\.0\.0\.1:\d+)", log.read_text()):
            return found.group(1)
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)
    raise AssertionError(f"not ready: {log.read_text()}")


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def left_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    # Ray's agents take a moment to notice that their parent has gone.
    _, left = psutil.wait_procs(processes, timeout=30)
    return left


def test_sigterm_ends_everything_in_good_order(store: Path, tmp_path: Path) -> None:
    log = tmp_path / "serve.log"
    with serving(store, log) as (process, address):
        processes = family(process.pid)
        assert any("raylet" in one.name() for one in processes)
        with segdepth.connect(address) as client:
            assert client.estimate(lattice_frame(1), 0.1).model.family == "tiny"
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0
    assert left_of(processes) == []
    assert "stopped" in log.read_text()


def test_a_killed_parent_leaves_nothing(store: Path, tmp_path: Path) -> None:
    with serving(store, tmp_path / "serve.log") as (process, _):
        processes = family(process.pid)
        (raylet,) = (one for one in processes if one.name() == "raylet")
        (folder,) = {Path(found) for found in re.findall(r"/\S*?/segdepth-[^/\s]+", " ".join(raylet.cmdline()))}
        assert folder.is_dir()
        process.kill()
        process.wait(30)
        assert left_of(processes) == []
        assert not folder.exists()


def test_a_port_in_use_is_said_before_ray_starts(store: Path) -> None:
    with listener("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        command = [COMMAND, "serve", "--store", store, "--port", str(port), "--http-port", "0", "--metrics-port", "0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert f"port {port} " in done.stderr
        with pytest.raises(PortInUse):
            Stack(StackSettings(store=str(store), port=port)).start()


def test_a_store_without_models_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    stack = Stack(StackSettings(store=str(tmp_path / "empty"), port=0, http_port=0, metrics_port=0))
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(StackFailed, match="model"):
        stack.start()
    assert left_of(list(set(psutil.Process().children(recursive=True)) - before)) == []


def test_with_mutual_tls_only_certified_clients_are_answered(store: Path, tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "foreign")
    cert, key = ours.issue("gateway")
    api_cert, api_key = ours.issue("api")
    tokens = tmp_path / "tokens.json"
    token = mint(tokens, "station", ("estimate",))
    settings = StackSettings(
        store=str(store),
        port=0,
        http_port=0,
        metrics_port=0,
        tokens=tokens,
        tls_cert=cert,
        tls_key=key,
        tls_client_ca=ours.path,
        tls_ca=ours.path,
        api_cert=api_cert,
        api_key=api_key,
    )
    with Stack(settings) as stack:
        for authority, answered in ((ours, True), (theirs, False)):
            chain, private = authority.issue("station")
            tls = segdepth.TLS(ca=ours.path, certificate=chain, key=private)
            with segdepth.connect(stack.address, token=token, tls=tls) as client:
                if answered:
                    assert client.estimate(lattice_frame(1), 0.1).model.family == "tiny"
                else:
                    with pytest.raises(Unavailable):
                        client.estimate(lattice_frame(1), 0.1, timeout_s=10)
        headers = {"Authorization": f"Bearer {token}"}
        trust = ssl.create_default_context(cafile=ours.path)
        models = httpx.get(f"{stack.http_url}/v1/models", headers=headers, verify=trust)
        assert models.status_code == 200


def test_ray_listens_on_loopback_alone(running: object) -> None:
    listening = [
        connection.laddr.ip
        for process in psutil.Process().children(recursive=True)
        if process.name() in ("gcs_server", "raylet")
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_the_gateway_s_metrics(running: object) -> None:
    stack = running.stack  # type: ignore[attr-defined]
    assert "segdepth_gateway_ready 1.0" in httpx.get(stack.metrics_url).text
