"""Whom the gateway takes a caller for, asked by the SDK. No replica is needed for that, and none is there."""

from pathlib import Path
from typing import Any

import pytest

import segdepth
from segdepth.errors import NotAuthenticated, NotSupported
from segdepth_gateway.estimator import ReplicaLost
from segdepth_gateway.server import GatewayServer
from segdepth_gateway.tokens import mint
from tests.integration.gateway.harness import settings


class NoReplicas:
    """Nobody answers frames."""

    async def estimate(self, *_: Any) -> Any:
        raise ReplicaLost("there are none")

    async def statuses(self) -> list[Any]:
        return []


async def test_principal_and_scopes_come_from_the_token(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    known = {"night": ("batch", "estimate"), "root": ("admin",)}
    minted = {name: mint(tokens, name, scopes) for name, scopes in known.items()}
    server = GatewayServer(settings(tokens=tokens), NoReplicas())
    await server.start()
    try:
        for name, scopes in known.items():
            async with segdepth.connect_async(f"127.0.0.1:{server.port}", token=minted[name]) as client:
                account = await client.whoami()
            assert (account.principal, account.scopes) == (name, scopes)
            assert account.may("batch")
            assert account.may("models:write") == (name == "root")
        for token in ("sd_foreign", None):
            async with segdepth.connect_async(f"127.0.0.1:{server.port}", token=token) as client:
                with pytest.raises(NotAuthenticated):
                    await client.whoami()
    finally:
        await server.stop()


async def test_without_tokens_everybody_is_anonymous() -> None:
    server = GatewayServer(settings(), NoReplicas())
    await server.start()
    try:
        async with segdepth.connect_async(f"127.0.0.1:{server.port}") as client:
            account = await client.whoami()
        assert account.principal == "anonymous"
        assert account.may("admin")
    finally:
        await server.stop()


async def test_local_mode_asks_nobody() -> None:
    async with segdepth.connect_async("local") as client:
        with pytest.raises(NotSupported, match="server"):
            await client.whoami()
