"""Scheduled runs: settings, the lease, and what a cluster has room for."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from segdepth_artefacts import errors, open_store
from segdepth_training.fitting.ray_train import bundle
from segdepth_training.machine import cluster
from segdepth_training.machine.progress import Lines
from segdepth_training.machine.settings import TrainingSettings
from segdepth_training.runs import scheduled


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEGDEPTH_TRAINING_RUNS", "s3://segdepth-training/runs")
    monkeypatch.setenv("SEGDEPTH_TRAINING_RUN_ID", "train-29384720")
    monkeypatch.setenv("SEGDEPTH_TRAINING_GATES__MAX_ECE", "0.02")
    settings = TrainingSettings()
    assert (settings.runs, settings.run_id) == ("s3://segdepth-training/runs", "train-29384720")
    assert settings.gates.max_ece == 0.02
    assert not settings.promote_automatically


@pytest.mark.parametrize("name", ["../other", "a/b", ".hidden", "ä"])
def test_a_run_id_is_a_plain_name(name: str):
    with pytest.raises(ValidationError, match="run_id"):
        TrainingSettings(run_id=name)


def test_another_run_is_refused_at_once(tmp_path: Path):
    store = open_store(str(tmp_path))
    with scheduled.tenure(store, "ceo2-110", "first", 60):
        with pytest.raises(errors.LeaseHeld, match="held by first"), scheduled.tenure(store, "ceo2-110", "second", 60):
            pass
        with scheduled.tenure(store, "pt-111", "second", 60) as other:
            other.confirm()


def test_the_next_driver_of_a_killed_run_waits_for_its_lease(tmp_path: Path):
    store = open_store(str(tmp_path))
    killed = store.lease("training-ceo2-110", "first", ttl_s=2)
    killed.acquire()
    killed._end.set()  # As SIGKILL does: nobody renews it, nobody gives it back.
    with scheduled.tenure(store, "ceo2-110", "first", 2) as lease:
        lease.confirm()
    with pytest.raises(errors.LeaseLost):
        killed.confirm()


def test_two_living_drivers_of_the_same_run_do_not_meet(tmp_path: Path):
    store = open_store(str(tmp_path))
    with store.lease("training-ceo2-110", "first", ttl_s=2) as living:
        with pytest.raises(errors.LeaseHeld), scheduled.tenure(store, "ceo2-110", "first", 2):
            pass
        living.confirm()


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN])
def test_a_run_that_lost_its_lease_ends(tmp_path: Path, before: Any):
    """Its work is interrupted, wherever it is, and says why; also in a shell's background, which ignores Ctrl-C."""
    store = open_store(str(tmp_path))
    key = tmp_path / "leases" / "training-ceo2-110.json"

    def take_over() -> None:
        text = key.read_text()
        key.write_text(text.replace('"first"', '"other"').replace('"id": "', '"id": "other'))

    def work() -> None:
        with scheduled.tenure(store, "ceo2-110", "first", 4):
            take_over()
            time.sleep(60)

    found = signal.signal(signal.SIGINT, before)
    try:
        with pytest.raises(errors.LeaseLost, match="another may work in its place"):
            work()
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, found)


@pytest.mark.parametrize(
    "workers, machines, each",
    [
        (1, [{"CPU": 1.0}], {"CPU": 1}),
        (1, [{}, {"CPU": 4.0}], {"CPU": 4}),
        (2, [{"CPU": 1.0}, {"CPU": 4.0}], {"CPU": 2}),
        (3, [{"CPU": 4.0}, {"CPU": 4.0}], {"CPU": 2}),
        (2, [{"CPU": 1.0}], {"CPU": 1}),
        (1, [], {"CPU": 1}),
        (1, [{"CPU": 8.0, "GPU": 1.0}], {"CPU": 1, "GPU": 1}),
    ],
)
def test_workers_share_what_there_is(workers: int, machines: list[dict[str, float]], each: dict[str, float]):
    assert bundle(workers, machines) == each


@pytest.mark.slow
def test_no_room_is_an_error_and_not_a_wait(monkeypatch: pytest.MonkeyPatch):
    import ray

    monkeypatch.setattr(cluster, "PRIVATE_ROOM_S", 3.0)
    ray.init(address="local", num_cpus=1, include_dashboard=False)
    try:
        cluster.await_room([{"CPU": 1}], "a task")
        with pytest.raises(cluster.NoRoom, match=r"training.workers = 2: needs 2 x {'CPU': 1}.*CPU': 1.0.*num-cpus"):
            cluster.await_room([{"CPU": 1}] * 2, "training.workers = 2")
        cluster.await_room([{"CPU": 1}], "what was refused is not kept")
    finally:
        ray.shutdown()


def test_lines_are_few_and_the_last_one_is_written(capsys: pytest.CaptureFixture[str]):
    lines = Lines("step")
    for step in range(1, 101):
        lines(step, 100, {"loss": 1 / step})
    assert capsys.readouterr().out.splitlines() == ["step 1/100  loss 1", "step 100/100  loss 0.01"]
