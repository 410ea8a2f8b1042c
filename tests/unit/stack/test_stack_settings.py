"""Ports and exposure are settled before anything starts."""

import socket
from pathlib import Path

import pytest
from pydantic import ValidationError

from segdepth_stack.environment import environment
from segdepth_stack.ports import PortInUse, listener, settle
from segdepth_stack.settings import StackSettings


def test_a_port_in_use_is_named() -> None:
    with listener("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} "):
            settle("127.0.0.1", 0, port)


def test_a_port_that_its_owner_would_share_is_in_use_too() -> None:
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        held.listen()
        with pytest.raises(PortInUse):
            settle("127.0.0.1", held.getsockname()[1])


def test_free_ports_are_different_and_free_afterwards() -> None:
    ports = settle("127.0.0.1", 0, 0, 0)
    assert len(set(ports)) == 3
    assert settle("127.0.0.1", *ports) == ports


def test_loopback_needs_nothing() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.0.0.2"):
        assert StackSettings(host=host).host == host


@pytest.mark.parametrize("given", [{}, {"tokens": "t"}, {"tls_cert": "c", "tls_key": "k"}])
def test_beyond_loopback_needs_tls_and_tokens(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="insecure"):
        StackSettings(host="192.0.2.7", **given)  # type: ignore[arg-type]
    whole = {"tokens": Path("t"), "tls_cert": Path("c"), "tls_key": Path("k")}
    assert StackSettings(host="192.0.2.7", **whole).tokens == Path("t")  # type: ignore[arg-type]
    assert StackSettings(host="192.0.2.7", insecure=True).insecure


def test_half_a_certificate_is_an_error() -> None:
    with pytest.raises(ValidationError, match="go together"):
        StackSettings(tls_cert=Path("c"))


def test_ray_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.7:6379")
    monkeypatch.setenv("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1")
    first, second = environment(), environment()
    assert "RAY_ADDRESS" not in first
    assert "RAY_SERVE_THROUGHPUT_OPTIMIZED" not in first
    assert first["RAY_AUTH_MODE"] == "token"
    assert len(first["RAY_AUTH_TOKEN"]) == 64
    assert first["RAY_AUTH_TOKEN"] != second["RAY_AUTH_TOKEN"]
