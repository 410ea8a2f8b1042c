"""One whole stack for all tests of this folder: Ray Serve, gateway, api, tokens, and a small model."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from segdepth_gateway.tokens import mint
from segdepth_stack.settings import StackSettings
from segdepth_stack.stack import Stack
from tests.models import tiny_store


@dataclass(frozen=True)
class Running:
    """A stack that wants tokens, and two of them."""

    stack: Stack
    token: str
    token_without_scope: str


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose model knows only frames like `lattice_frame`."""
    return tiny_store(tmp_path_factory.mktemp("stack") / "store", strict_domain=True)


@pytest.fixture(scope="package")
def running(store: Path) -> Iterator[Running]:
    """Up once, and down before other folders start a Ray of their own."""
    tokens = store.parent / "tokens.json"
    station = mint(tokens, "station", ("estimate",))
    operator = mint(tokens, "operator", ("models:write",))
    settings = StackSettings(store=str(store), port=0, http_port=0, metrics_port=0, tokens=tokens)
    with Stack(settings) as stack:
        yield Running(stack, station, operator)
