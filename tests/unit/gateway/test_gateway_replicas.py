"""Whether a caller may name a model, before any frame of its stream."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from segdepth_artefacts import ArtefactStore, open_store
from segdepth_artefacts.errors import StoreUnavailable
from segdepth_gateway.replicas import Replicas, ReplicaStatus
from segdepth_gateway.settings import GatewaySettings
from segdepth_protos.contract import UnknownModel
from tests.models import add_family, tiny_store


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    folder = tiny_store(tmp_path / "store")
    add_family(folder, "gold", spacing_A=3.4)
    return open_store(str(folder))


def replicas(store: ArtefactStore) -> Replicas:
    absent: Any = None
    made = Replicas(absent, store, absent, absent, GatewaySettings(), absent)
    made.status = ReplicaStatus(ready=True, family="tiny", version="1")
    return made


@pytest.mark.parametrize("named", [("", ""), ("tiny", "1"), ("", "1"), ("gold", ""), ("gold", "1"), ("auto", "")])
def test_what_is_there_may_be_named(store: ArtefactStore, named: tuple[str, str]) -> None:
    asyncio.run(replicas(store).check_model(*named))


@pytest.mark.parametrize(
    "named, why", [(("silver", ""), "gold, tiny"), (("gold", "2"), "there are 1"), (("auto", "1"), "of which")]
)
def test_what_is_not_is_refused_with_what_is(store: ArtefactStore, named: tuple[str, str], why: str) -> None:
    with pytest.raises(UnknownModel, match=why):
        asyncio.run(replicas(store).check_model(*named))


def test_a_store_that_does_not_answer_refuses_nobody(store: ArtefactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise StoreUnavailable("no answer", "wait")

    monkeypatch.setattr(type(store), "versions", gone)
    asyncio.run(replicas(store).check_model("gold", ""))
