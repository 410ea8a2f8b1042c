"""A token never travels in plaintext to another machine."""

import socketserver
import threading

import pytest
from typer.testing import CliRunner

import segdepth
from segdepth.cli.app import app
from segdepth.errors import InsecureToken, Unavailable, UnreadableFile
from segdepth.security import TLS, is_loopback


@pytest.mark.parametrize(
    "server", ["127.0.0.1:1", "127.8.9.1:1", "localhost:50051", "[::1]:1", "unix:/run/x", "ipv4:127.0.0.1:1"]
)
def test_loopback(server):
    assert is_loopback(server)


@pytest.mark.parametrize(
    "server", ["10.0.0.1:1", "gateway.lab:1", "localhost.evil:1", "127.0.0.1.evil:1", "[::2]:1", "dns:///127.0.0.1:1"]
)
def test_other_machines(server):
    assert not is_loopback(server)


@pytest.mark.parametrize("connect", [segdepth.connect, segdepth.connect_async])
def test_a_token_in_plaintext_to_another_machine_is_refused(connect):
    with pytest.raises(InsecureToken, match="plaintext"):
        connect("gateway.lab:50051", token="secret")


def test_a_token_over_tls_or_loopback_is_not():
    segdepth.connect("gateway.lab:50051", token="secret", tls=True).close()
    segdepth.connect("127.0.0.1:50051", token="secret").close()


@pytest.mark.parametrize("token", ["", "a\nb", "tökén"])
def test_what_cannot_be_a_token_is_refused(token):
    with pytest.raises(InsecureToken):
        segdepth.connect("127.0.0.1:50051", token=token)


def test_a_missing_certificate_names_its_file(tmp_path):
    with pytest.raises(UnreadableFile, match=r"ca\.pem"):
        segdepth.connect("127.0.0.1:1", tls=TLS(ca=tmp_path / "ca.pem"))


def test_options_of_local_mode_are_not_for_a_server():
    with pytest.raises(TypeError, match="store"):
        segdepth.connect("127.0.0.1:1", store="/x")


@pytest.mark.parametrize("variable", ["SEGDEPTH_CA", "SEGDEPTH_CERTIFICATE", "SEGDEPTH_KEY"])
def test_certificates_may_come_from_the_environment(variable, tmp_path):
    """As server and token do: one that cannot be read is named, so it was asked for."""
    absent = str(tmp_path / "absent.pem")
    environment = {"SEGDEPTH_SERVER": "127.0.0.1:50051", variable: absent}
    said = CliRunner().invoke(app, ["models"], env=environment)
    assert said.exit_code != 0
    assert "absent.pem" in (said.output + str(said.exception))


def test_a_certificate_may_be_named_by_a_string(tmp_path):
    with pytest.raises(UnreadableFile, match="absent"):
        segdepth.connect("gateway.lab:1", tls=TLS(ca=str(tmp_path / "absent.pem")))


class HangsUp(socketserver.BaseRequestHandler):
    """What a server that speaks TLS does with plaintext."""

    def handle(self):
        self.request.recv(1)


def test_plaintext_to_a_server_that_speaks_tls_names_the_way_out():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), HangsUp) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        with segdepth.connect(address) as client, pytest.raises(Unavailable, match="--tls"):
            client.models()
        server.shutdown()
