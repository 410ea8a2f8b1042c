"""Which model answers: hot swap, corrupt artefacts, versions on demand."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segdepth_artefacts import open_store
from segdepth_artefacts.errors import StoreUnavailable
from segdepth_artefacts.manifest import Engine
from segdepth_inference import keeper as keeper_module
from segdepth_inference.keeper import OTHER_MODELS, ModelKeeper
from segdepth_protos.contract import UnknownModel
from tests.models import FAMILY, add_family, add_version, lattice_frame, point, tiny_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tiny_store(tmp_path / "store", versions=2)


def keep(store: Path, **more: str) -> ModelKeeper:
    return ModelKeeper(open_store(str(store)), store.parent / "cache", device="cpu", **more)


def damage(store: Path, version: str) -> None:
    weights = store / "models" / FAMILY / version / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 0xFF
    weights.chmod(0o644)
    weights.write_bytes(bytes(content))


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def version(keeper: ModelKeeper) -> str:
    assert keeper.current is not None
    return keeper.current.version.version


def test_the_channel_decides(store: Path) -> None:
    keeper = keep(store)
    assert keeper.current is None
    keeper.refresh()
    assert (version(keeper), keeper.problem) == ("1", "")
    point(store, "2")
    keeper.refresh()
    assert (version(keeper), keeper.problem) == ("2", "")
    point(store, "1")
    keeper.refresh()
    assert version(keeper) == "1"


def test_the_candidate_channel_may_be_served_too(store: Path) -> None:
    point(store, "2", channel="candidate")
    keeper = keep(store, channel="candidate")
    keeper.refresh()
    assert version(keeper) == "2"


def test_polling_swaps_under_load_and_every_answer_is_of_one_model(store: Path) -> None:
    keeper = keep(store)
    keeper.start(poll_s=0.05)
    expected = {}
    for number in ("1", "2"):
        model = keeper.resolve(version=number)
        expected[number] = model.predict([lattice_frame(1, (200, 200))], [0.1])[0].columns.x_px
    seen: list[str] = []
    swapped = threading.Event()

    def load() -> None:
        while not swapped.is_set():
            model = keeper.ready()
            assert model is not None
            (answer,) = model.predict([lattice_frame(1, (200, 200))], [0.1])
            np.testing.assert_allclose(answer.columns.x_px, expected[answer.version.version], atol=1e-3)
            seen.append(answer.version.version)

    worker = threading.Thread(target=load)
    worker.start()
    try:
        until(lambda: len(seen) > 3)
        point(store, "2")
        until(lambda: "2" in seen)
    finally:
        swapped.set()
        worker.join()
        keeper.stop()
    assert seen == sorted(seen)


def test_a_corrupt_artefact_leaves_the_old_model_and_says_why(store: Path) -> None:
    keeper = keep(store)
    keeper.refresh()
    damage(store, "2")
    point(store, "2")
    keeper.refresh()
    assert version(keeper) == "1"
    assert "stable" in keeper.problem
    assert "weights.safetensors" in keeper.problem
    assert keeper.ready() is keeper.current
    point(store, "1")
    keeper.refresh()
    assert (version(keeper), keeper.problem) == ("1", "")


def test_a_model_without_a_permitted_engine_leaves_the_old_one(store: Path) -> None:
    keeper = keep(store)
    keeper.refresh()
    add_version(store, "3", seed=1, engines=(Engine(name="torch-fp32", counts_equal=0.5, ece_difference=0.0),))
    point(store, "3")
    keeper.refresh()
    assert version(keeper) == "1"
    assert "report permits" in keeper.problem


def test_nothing_to_serve_is_a_problem_until_there_is_something(tmp_path: Path) -> None:
    keeper = keep(tmp_path / "store")
    keeper.refresh()
    assert keeper.current is None
    assert keeper.problem
    with pytest.raises(UnknownModel):
        keeper.resolve()
    tiny_store(tmp_path / "store")
    keeper.refresh()
    assert (version(keeper), keeper.problem) == ("1", "")


def test_a_failing_model_is_not_fetched_at_every_poll(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = keep(store)
    damage(store, "1")
    tried: list[str] = []
    load = ModelKeeper._load

    def counted(self: ModelKeeper, family: str, number: str) -> object:
        tried.append(number)
        return load(self, family, number)

    monkeypatch.setattr(ModelKeeper, "_load", counted)
    for _ in range(20):
        keeper.refresh()
    assert tried == ["1"] * 4
    point(store, "2")
    keeper.refresh()
    assert version(keeper) == "2"


def test_named_versions_are_loaded_on_demand_and_few_are_kept(store: Path) -> None:
    keeper = keep(store)
    keeper.refresh()
    for number in ("3", "4"):
        add_version(store, number, seed=int(number))
    assert keeper.ready(FAMILY, "2") is None
    loaded = {number: keeper.resolve(FAMILY, number) for number in ("2", "3")}
    assert keeper.resolve(FAMILY, "2") is loaded["2"]
    keeper.resolve(FAMILY, "4")
    assert OTHER_MODELS == 2
    assert keeper.ready(FAMILY, "2") is loaded["2"]
    assert keeper.ready(FAMILY, "3") is None
    assert keeper.resolve(FAMILY, "1") is keeper.current
    assert version(keeper) == "1"


@pytest.mark.parametrize("asked", [("tiny", "9"), ("other", ""), ("other", "1"), ("../etc", ""), ("tiny", "../1")])
def test_unknown_models_say_which_there_are(store: Path, asked: tuple[str, str]) -> None:
    keeper = keep(store)
    keeper.refresh()
    with pytest.raises(UnknownModel, match=r"tiny \(.*1.*\)"):
        keeper.resolve(*asked)


def test_a_corrupt_version_asked_for_by_name(store: Path) -> None:
    keeper = keep(store)
    keeper.refresh()
    damage(store, "2")
    with pytest.raises(UnknownModel, match="may not answer"):
        keeper.resolve(FAMILY, "2")


def test_a_new_model_is_warmed_up_for_the_shapes_seen(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = keep(store)
    keeper.refresh()
    for size in range(200, 260, 10):
        keeper.saw((size, size), 0.1)
    warmed: list[tuple[int, int]] = []
    monkeypatch.setattr(
        keeper_module.Predictor, "warm_up", lambda self, shapes, sampling_A: warmed.extend(shapes), raising=True
    )
    point(store, "2")
    keeper.refresh()
    assert warmed == [(220, 220), (230, 230), (240, 240), (250, 250)]


def test_the_version_before_stays_loaded_for_a_rollback(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = keep(store)
    keeper.refresh()
    first = keeper.current
    point(store, "2")
    keeper.refresh()
    for number in ("3", "4", "5"):  # Callers who name versions do not push it out.
        add_version(store, number, seed=1)
        keeper.resolve(FAMILY, number)
    monkeypatch.setattr(ModelKeeper, "_load", lambda *_: pytest.fail("nothing is loaded"))
    point(store, "1")
    keeper.refresh()
    assert keeper.current is first
    point(store, "2")
    keeper.refresh()
    assert version(keeper) == "2"


def test_a_replica_younger_than_the_promotion_loads_the_version_before(store: Path) -> None:
    point(store, "2")
    keeper = keep(store)
    keeper.start(poll_s=0.05)
    try:
        assert version(keeper) == "2"
        until(lambda: keeper.ready(FAMILY, "1") is not None)
    finally:
        keeper.stop()


def test_a_rollback_does_not_wait_for_a_model_that_is_being_loaded(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keep(store)
    keeper.refresh()
    point(store, "2")
    keeper.refresh()
    add_version(store, "3", seed=1)
    slow, begun = threading.Event(), threading.Event()
    load = ModelKeeper._load

    def slowly(self: ModelKeeper, family: str, number: str) -> object:
        begun.set()
        assert slow.wait(60)
        return load(self, family, number)

    monkeypatch.setattr(ModelKeeper, "_load", slowly)
    loading = threading.Thread(target=keeper.resolve, args=(FAMILY, "3"))
    loading.start()
    try:
        assert begun.wait(60)
        point(store, "1")
        keeper.refresh()
        assert version(keeper) == "1"
    finally:
        slow.set()
        loading.join()


def test_once_a_model_answers_the_default_family_is_not_looked_for(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keep(store)
    keeper.refresh()
    monkeypatch.setattr(type(keeper._store), "default_family", lambda _: pytest.fail("a look at every version"))
    point(store, "2")
    keeper.refresh()
    assert version(keeper) == "2"


def test_another_familys_channel_is_not_asked_at_every_frame(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_family(store, "gold", spacing_A=3.4)
    keeper = keep(store, family=FAMILY)
    keeper.refresh()
    assert keeper.ready("gold") is None
    gold = keeper.resolve("gold")
    with monkeypatch.context() as patch:
        patch.setattr(type(keeper._store), "channel", lambda *_: pytest.fail("asked again at once"))
        assert keeper.ready("gold") is gold
    monkeypatch.setattr(keeper_module, "BELIEVED_S", 0.0)
    assert keeper.ready("gold") is None
    assert keeper.resolve("gold") is gold


def test_another_family_answers_while_the_store_does_not(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_family(store, "gold", spacing_A=3.4)
    keeper = keep(store, family=FAMILY)
    keeper.refresh()
    gold = keeper.resolve("gold")
    monkeypatch.setattr(keeper_module, "BELIEVED_S", 0.0)

    def gone(*_: object) -> None:
        raise StoreUnavailable("no answer", "wait")

    monkeypatch.setattr(type(keeper._store), "channel", gone)
    assert keeper.resolve("gold") is gold
    with pytest.raises(StoreUnavailable):
        keeper.resolve("silver")
