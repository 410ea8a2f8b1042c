"""The candidate in the shadow of stable: what is compared, when, and that nothing of it ever hurts an answer."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segdepth_artefacts import open_store
from segdepth_artefacts.shadow import Counts, ShadowSummary
from segdepth_core.prediction import Check, Columns, Prediction, Status, Verdict, Version
from segdepth_core.predictor import UNKNOWN
from segdepth_inference import shadow as shadow_module
from segdepth_inference.comparison import compared
from segdepth_inference.keeper import ModelKeeper
from segdepth_inference.metrics import ShadowMetrics
from segdepth_inference.shadow import Shadow
from tests.models import FAMILY, add_version, lattice_frame, point, tiny_store

SHAPE = (200, 200)
SAMPLING_A = 0.1


def columns(
    xy_px: Sequence[tuple[float, float]], counts: Sequence[int], probabilities: Sequence[float] | None = None
) -> Columns:
    size = len(counts)
    table = np.zeros((size, 11), np.float32)
    table[range(size), list(counts)] = probabilities or [0.95] * size
    byte = np.array(counts, np.uint8)
    positions = np.array(xy_px, np.float32).reshape(-1, 2)
    return Columns(positions[:, 0], positions[:, 1], byte, byte, byte, byte, np.zeros(size, np.bool_), table)


def prediction(found: Columns, status: Status = Status.OK, dose: float = 500.0) -> Prediction:
    version = Version(FAMILY, "1", "0" * 64, "torch-fp32")
    verdict = Verdict((Check("snr", status, 1.0),))
    return Prediction(version, *SHAPE, SAMPLING_A, dose, verdict, found)


class TestComparison:
    def test_counts_of_columns_found_by_both(self) -> None:
        ours = columns([(10, 10), (40, 10), (70, 10)], [3, 4, 5], [0.95, 0.95, 0.6])
        theirs = columns([(11, 10), (40, 13), (70, 10)], [3, 5, 6], [0.92, 0.9, 0.95])
        dose, counts = compared(prediction(ours), prediction(theirs))
        assert dose == "316-1000"
        assert counts == Counts(frames=1, columns=3, counts_differ=2, confident_columns=2, confident_differ=1)
        assert (counts.disagreement, counts.unmatched, counts.verdicts) == (0.5, 0.0, 0.0)

    def test_columns_further_apart_than_half_an_angstrom_are_two(self) -> None:
        ours, theirs = columns([(10, 10), (60, 60)], [3, 3]), columns([(15.1, 10), (60, 64.9)], [3, 3])
        _, counts = compared(prediction(ours), prediction(theirs))
        assert (counts.columns, counts.only_stable, counts.only_candidate) == (1, 1, 1)
        assert counts.unmatched == pytest.approx(2 / 3)

    def test_two_columns_near_one_are_matched_once(self) -> None:
        ours, theirs = columns([(10, 10)], [3]), columns([(12, 10), (9, 10)], [9, 3])
        _, counts = compared(prediction(ours), prediction(theirs))
        assert (counts.columns, counts.counts_differ, counts.only_candidate) == (1, 0, 1)

    def test_a_frame_that_one_refuses_counts_as_a_verdict_alone(self) -> None:
        refused = prediction(Columns.none(), Status.REFUSED)
        _, counts = compared(prediction(columns([(10, 10)], [3])), refused)
        assert counts == Counts(frames=1, verdicts_differ=1)
        assert compared(refused, refused)[1] == Counts(frames=1)

    def test_without_columns(self) -> None:
        nothing = columns([], [])
        assert compared(prediction(nothing), prediction(columns([(1, 1)], [2])))[1].only_candidate == 1

    @pytest.mark.parametrize(
        "dose, name",
        [
            (0.5, "0-1"),
            (50, "31.6-100"),
            (100, "100-316"),
            (2000, "1000-3160"),
            (1e9, "10000-"),
            (np.nan, "unmeasured"),
        ],
    )
    def test_doses_are_told_apart_by_half_decades(self, dose: float, name: str) -> None:
        found = prediction(columns([(1, 1)], [2]), dose=dose)
        assert compared(found, found)[0] == name

    def test_a_dose_that_stable_did_not_measure_is_the_candidates(self) -> None:
        refused = prediction(Columns.none(), Status.REFUSED, np.nan)
        assert compared(refused, prediction(columns([(1, 1)], [2]), dose=150))[0] == "100-316"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tiny_store(tmp_path / "store", versions=2)
    point(folder, "2", "candidate")
    return folder


class Replica:
    """Keeper, shadow and the one thread that predicts, as in the Serve replica."""

    def __init__(self, store: Path, share: float = 1.0):
        opened = open_store(str(store))
        self.keeper = ModelKeeper(opened, store.parent / "cache", device="cpu")
        self.keeper.refresh()
        self.shadow = Shadow(self.keeper, opened, ShadowMetrics(), replica="r1", share=share)
        self.shadow.follow()
        self.predicting = ThreadPoolExecutor(1)

    def answer(self, seed: int = 1, version: str = "") -> Prediction:
        model = self.keeper.resolve(version=version)
        frame = lattice_frame(seed, SHAPE)
        (answer,) = model.predict([frame], [SAMPLING_A])
        self.shadow.offer(model, [frame], [UNKNOWN], [answer])
        return answer

    def compare(self) -> None:
        """As the replica does it in an idle moment."""

        async def compare() -> None:
            sample = self.shadow.next(idle=True)
            assert sample is not None
            comparing = asyncio.get_running_loop().run_in_executor(self.predicting, self.shadow.compare, sample)
            comparing.add_done_callback(self.shadow.ended)
            await asyncio.wait([comparing])
            await asyncio.sleep(0)

        asyncio.run(compare())


def summary(store: Path, candidate: str = "2", stable: str = "1") -> ShadowSummary:
    return open_store(str(store)).shadow(FAMILY, candidate, stable)


def test_a_sampled_frame_is_compared_and_the_counts_are_kept(store: Path) -> None:
    replica = Replica(store)
    assert replica.shadow.candidate is replica.keeper.ready(FAMILY, "2")
    answer = replica.answer()
    replica.compare()
    replica.shadow.write()
    found = summary(store)
    assert (found.replicas, found.total.frames, found.dropped) == (1, 1, 0)
    assert found.total.columns + found.total.only_stable == len(answer.columns) > 20
    assert found.total.counts_differ > 0, "the two tiny models differ"
    assert replica.shadow.problem == ""


def test_the_record_grows_and_belongs_to_one_pair_of_versions(store: Path) -> None:
    replica = Replica(store)
    for seed in range(3):
        replica.answer(seed)
        replica.compare()
        replica.shadow.write()
    assert summary(store).total.frames == 3
    add_version(store, "3", seed=3)
    point(store, "3", "candidate")
    replica.shadow.follow()
    replica.answer()
    replica.compare()
    replica.shadow.write()
    assert (summary(store).total.frames, summary(store, "3").total.frames) == (3, 1)


def test_one_frame_is_held_and_others_are_dropped_and_counted(store: Path) -> None:
    replica = Replica(store)
    for seed in range(5):
        replica.answer(seed)
    replica.compare()
    assert replica.shadow.next(idle=True) is None
    replica.shadow.write()
    assert (summary(store).total.frames, summary(store).dropped) == (1, 4)


def test_a_busy_replica_compares_seldom(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(shadow_module.time, "monotonic", lambda: now[0])
    replica = Replica(store)
    replica.answer()
    assert replica.shadow.next(idle=False) is None
    now[0] += 0.9
    assert replica.shadow.next(idle=False) is None
    now[0] += 0.2
    sample = replica.shadow.next(idle=False)
    assert sample is not None
    predict = sample.candidate.predict

    def slow(*arguments: object, **named: object) -> object:
        now[0] += 0.5
        return predict(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(sample.candidate, "predict", slow)
    replica.shadow.compare(sample)
    replica.answer()
    now[0] += 24.9  # half a second is 2 % of 25 s
    assert replica.shadow.next(idle=False) is None
    now[0] += 0.2
    assert replica.shadow.next(idle=False) is not None


def test_the_share_decides_how_many_are_sampled(store: Path) -> None:
    replica = Replica(store, share=0.25)
    model = replica.keeper.resolve()
    frame = lattice_frame(1, SHAPE)
    (answer,) = model.predict([frame], [SAMPLING_A])
    for _ in range(400):
        replica.shadow.offer(model, [frame] * 4, [UNKNOWN] * 4, [answer] * 4)
    replica.compare()
    replica.shadow.write()
    assert 300 < summary(store).dropped + 1 < 500


def test_without_a_share_no_candidate_is_loaded(store: Path) -> None:
    replica = Replica(store, share=0.0)
    assert replica.shadow.candidate is None
    assert replica.shadow.problem == ""


def test_only_what_stable_answers_is_compared(store: Path) -> None:
    replica = Replica(store)
    replica.answer(version="2")
    assert replica.shadow.next(idle=True) is None


def test_a_frame_refused_for_its_family_is_not_compared(store: Path) -> None:
    replica = Replica(store)
    answer = replica.answer(1)
    replica.compare()
    check = Check("family", Status.REFUSED, 2.0, 1.0, 1.0)
    refused = replace(answer, verdict=Verdict((*answer.verdict.checks, check)), columns=Columns.none())
    model = replica.keeper.resolve()
    replica.shadow.offer(model, [lattice_frame(1, SHAPE)], [UNKNOWN], [refused])
    assert replica.shadow.next(idle=True) is None
    told = replace(refused, verdict=Verdict((*answer.verdict.checks, replace(check, status=Status.OK))))
    replica.shadow.offer(model, [lattice_frame(1, SHAPE)], [UNKNOWN], [told])
    assert replica.shadow.next(idle=True) is not None


def test_a_promoted_candidate_has_no_shadow(store: Path) -> None:
    replica = Replica(store)
    candidate = replica.shadow.candidate
    point(store, "2")
    replica.keeper.refresh()
    assert replica.keeper.current is candidate, "it was loaded already"
    replica.answer()
    assert replica.shadow.next(idle=True) is None
    replica.shadow.follow()
    assert (replica.shadow.candidate, replica.shadow.problem) == (None, "")


def test_a_corrupt_candidate_is_a_problem_and_nothing_else(store: Path) -> None:
    add_version(store, "broken", seed=2)
    weights = store / "models" / FAMILY / "broken" / "weights.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-100])
    point(store, "broken", "candidate")
    replica = Replica(store)
    assert replica.shadow.candidate is None
    assert "weights.safetensors" in replica.shadow.problem
    assert len(replica.answer().columns) > 20
    assert replica.keeper.problem == ""
    point(store, "2", "candidate")
    replica.shadow.follow()
    assert (replica.shadow.candidate is not None, replica.shadow.problem) == (True, "")


def test_a_candidate_that_fails_on_a_frame_is_not_asked_again(store: Path) -> None:
    replica = Replica(store)
    candidate = replica.shadow.candidate
    assert candidate is not None
    # Weights of another network's shape, as a damaged memory or a wrong build would have them.
    candidate.engine.network.stem = candidate.engine.network.stem.__class__(1, 1, 1)  # type: ignore[attr-defined]
    replica.answer()
    replica.compare()
    assert replica.shadow.candidate is None
    assert "failed on a frame" in replica.shadow.problem
    assert len(replica.answer().columns) > 20
    replica.shadow.follow()
    assert replica.shadow.candidate is None
    add_version(store, "3", seed=3)
    point(store, "3", "candidate")
    replica.shadow.follow()
    assert (replica.shadow.candidate is not None, replica.shadow.problem) == (True, "")


def test_what_a_store_misses_it_gets_the_next_time(store: Path) -> None:
    replica = Replica(store)
    replica.answer()
    replica.compare()
    (store / "shadow").write_text("no folder")
    replica.shadow.write()
    assert summary(store).total.frames == 0
    (store / "shadow").unlink()
    replica.answer(2)
    replica.compare()
    replica.shadow.write()
    assert summary(store).total.frames == 2


def test_the_counts_are_written_when_the_replica_stops(store: Path) -> None:
    replica = Replica(store)
    replica.answer()
    replica.compare()
    replica.shadow.start(poll_s=0.05, write_s=3600)
    replica.shadow.stop()
    assert summary(store).total.frames == 1
    assert not any(thread.name == "model-shadow" for thread in threading.enumerate())


def test_maps_of_the_answer_are_not_held(store: Path) -> None:
    replica = Replica(store)
    model = replica.keeper.resolve()
    frame = lattice_frame(1, SHAPE)
    (answer,) = model.predict([frame], [SAMPLING_A])
    large = replace(answer.maps, depth=np.zeros(SHAPE, np.uint8))
    replica.shadow.offer(model, [frame], [UNKNOWN], [replace(answer, maps=large)])
    sample = replica.shadow.next(idle=True)
    assert sample is not None
    assert sample.answer.maps.depth is None
    assert sample.frame is not frame
