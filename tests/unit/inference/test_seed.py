"""The first model of a new store."""

from pathlib import Path

from segdepth_artefacts import open_store
from segdepth_inference.seed import PRINCIPAL, seed
from tests.models import tiny_store


def test_an_empty_store_gets_the_released_model(tmp_path: Path) -> None:
    released, store = open_store(tiny_store(tmp_path / "released")), open_store(tmp_path / "store")
    seed(store, released)
    channel = store.channel("tiny", "stable")
    assert channel is not None
    assert (channel.version, channel.history[0].principal) == ("1", PRINCIPAL)
    assert store.manifest("tiny", "1") == released.manifest("tiny", "1")


def test_an_operators_choice_stays(tmp_path: Path) -> None:
    released, store = open_store(tiny_store(tmp_path / "released")), open_store(tiny_store(tmp_path / "s", versions=2))
    now = store.channel("tiny", "stable")
    store.point("tiny", "stable", "2", principal="operator", reason="better", expected=now)
    seed(store, released)
    seed(store, released)
    channel = store.channel("tiny", "stable")
    assert channel is not None
    assert channel.version == "2"
    assert len(channel.history) == 2
