"""Two families side by side: who answers a frame, by name and by its lattice."""

import re
from pathlib import Path

import numpy as np
import pytest

from segdepth_artefacts import open_store
from segdepth_core.prediction import Detail, Detector, Prediction, Status
from segdepth_core.predictor import UNKNOWN
from segdepth_inference.families import Families, answerable
from segdepth_inference.keeper import ModelKeeper
from segdepth_protos.contract import AUTO, UnknownModel
from tests.models import add_family, lattice_frame, tiny_store

GOLD_A = 3.4
ADVICE = "name the family, or correct the pixel size"
SAMPLING_A = 0.1
MAPS = Detail(depth_map=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tiny_store(tmp_path_factory.mktemp("families") / "store", strict_domain=True)
    add_family(store, "gold", spacing_A=GOLD_A)
    return store


class Service:
    """What a replica has: a keeper and the families, of one store."""

    def __init__(self, folder: Path, cache: Path):
        store = open_store(str(folder))
        self.keeper = ModelKeeper(store, cache, family="tiny", device="cpu", engine="torch-fp32")
        self.keeper.refresh()
        self.families = Families(store)
        self.families.refresh()

    def answers(
        self, frames: list[np.ndarray], family: str = "", version: str = "", detector: Detector = UNKNOWN
    ) -> list[Prediction]:
        samplings_A, detectors = [SAMPLING_A] * len(frames), [detector] * len(frames)
        choices = self.families.choices(family, version, frames, samplings_A, detectors)
        choices, models = answerable(choices, self.keeper.resolve)
        return self.families.predict(choices, models, frames, samplings_A, MAPS, detectors)


@pytest.fixture(scope="module")
def service(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service(folder, tmp_path_factory.mktemp("cache"))


def said(answer: Prediction, check: str) -> str:
    return next(c.message for c in answer.verdict.checks if c.name == check)


def test_a_family_answers_by_name(service: Service) -> None:
    (ours,) = service.answers([lattice_frame(3)])
    (gold,) = service.answers([lattice_frame(3, spacing_A=GOLD_A)], "gold")
    assert (ours.version.family, ours.version.species) == ("tiny", ("Ce", "O"))
    assert (gold.version.family, gold.version.species) == ("gold", ("Au",))
    assert gold.verdict.status == Status.OK
    assert len(gold.columns) > 20
    assert set(gold.columns.species) == {1}


def test_each_frame_of_a_batch_is_answered_by_the_family_of_its_lattice(service: Service) -> None:
    frames = [lattice_frame(1), lattice_frame(2, spacing_A=GOLD_A), lattice_frame(4), lattice_frame(5)]
    answers = service.answers(frames, AUTO)
    assert [answer.version.family for answer in answers] == ["tiny", "gold", "tiny", "tiny"]
    assert all(answer.verdict.status == Status.OK and len(answer.columns) > 20 for answer in answers)
    (named,) = service.answers(frames[1:2], "gold")
    np.testing.assert_array_equal(answers[1].columns.probabilities, named.columns.probabilities)


def test_a_refusal_says_whose_lattice_it_is(service: Service) -> None:
    (answer,) = service.answers([lattice_frame(2, spacing_A=GOLD_A)])
    assert answer.version.family == "tiny"
    assert answer.verdict.status == Status.REFUSED
    assert re.search(r"; this lattice is that of gold at 0\.(099|1)\d* Å/px$", said(answer, "lattice"))
    (own,) = service.answers([lattice_frame(2)])
    assert own.verdict.status == Status.OK


def test_the_lattice_is_sought_above_the_black_level_stated(service: Service) -> None:
    lowered, told = lattice_frame(2, spacing_A=GOLD_A).astype(np.float32) - 1000, Detector(black_level=-1000.0)
    (answer,) = service.answers([lowered], AUTO, detector=told)
    assert answer.version.family == "gold"
    assert answer.verdict.status == Status.OK
    (wrong,) = service.answers([lowered], detector=told)
    assert "; this lattice is that of gold" in said(wrong, "lattice")


def test_a_lattice_of_no_family_is_refused_with_the_verdict_of_the_nearest(service: Service) -> None:
    (answer,) = service.answers([lattice_frame(2, spacing_A=4.2)], AUTO)
    assert answer.verdict.status == Status.REFUSED
    assert answer.version.family == "gold"
    assert said(answer, "family") == f"family: this lattice is that of no family here (gold, tiny); {ADVICE}"
    assert "the lattice implies" in said(answer, "lattice")
    assert len(answer.columns) == 0
    assert answer.maps.depth is not None
    assert (answer.maps.depth == 255).all()


def test_without_a_lattice_nothing_is_guessed(service: Service) -> None:
    noise = np.random.default_rng(5).poisson(20, (256, 256)).astype(np.uint16)
    flat = np.full((256, 256), 7, np.uint16)
    for answer in service.answers([noise, flat], AUTO):
        assert answer.verdict.status == Status.REFUSED
        assert len(answer.columns) == 0
    (empty,) = service.answers([flat], AUTO)
    assert said(empty, "pixels").endswith("an empty frame")
    assert said(empty, "family") == f"family: no family here (gold, tiny) takes such a frame; {ADVICE}"


def test_an_instruments_family_answers_by_its_name_and_never_by_the_lattice(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store", strict_domain=True)
    for family in ("gold", "gold@titan"):
        add_family(store, family, spacing_A=GOLD_A)
    service, frame = Service(store, tmp_path / "cache"), lattice_frame(2, spacing_A=GOLD_A)
    (by_lattice,) = service.answers([frame], AUTO)
    assert (by_lattice.version.family, by_lattice.verdict.status) == ("gold", Status.OK)
    (named,) = service.answers([frame], "gold@titan")
    assert (named.version.family, named.verdict.status) == ("gold@titan", Status.OK)
    (wrong,) = service.answers([lattice_frame(2)], "gold@titan")
    assert "this lattice is that of tiny" in said(wrong, "lattice")
    assert "titan" not in said(wrong, "lattice")


def assert_between_gold_and_silver(answer: Prediction) -> None:
    pattern = r"family: this lattice is that of gold at 0\.\d+ Å/px or silver at 0\.\d+ Å/px; "
    assert re.fullmatch(pattern + ADVICE, said(answer, "family"))


def test_a_lattice_of_several_families_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    add_family(folder, "silver", spacing_A=GOLD_A * 1.01)
    service = Service(folder, tmp_path)
    (answer,) = service.answers([lattice_frame(2, spacing_A=GOLD_A)], AUTO)
    assert answer.verdict.status == Status.REFUSED
    assert_between_gold_and_silver(answer)


def test_a_family_that_refuses_the_sampling_counts_too(tmp_path: Path) -> None:
    """At 0.1 Å/px only one of the two answers: the other's lattice is in the frame all the same."""
    store = tiny_store(tmp_path / "store", strict_domain=True)
    add_family(store, "gold", spacing_A=GOLD_A)
    add_family(store, "silver", spacing_A=GOLD_A * 1.01, finest_A=0.12)
    frame = lattice_frame(2, spacing_A=GOLD_A)
    (answer,) = Service(store, tmp_path / "cache").answers([frame], AUTO)
    assert_between_gold_and_silver(answer)


def test_a_frame_of_a_family_that_refuses_its_sampling_is_told_so(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store", strict_domain=True)
    add_family(store, "gold", spacing_A=GOLD_A, finest_A=0.12)
    (answer,) = Service(store, tmp_path / "cache").answers([lattice_frame(2, spacing_A=GOLD_A)], AUTO)
    assert answer.version.family == "gold"
    assert answer.verdict.reason == "sampling: sampling 0.1 Å/px; permitted 0.12 to 0.26 Å/px"


def test_a_version_of_auto_is_no_model(service: Service) -> None:
    with pytest.raises(UnknownModel, match="of which family"):
        service.answers([lattice_frame(1)], AUTO, "1")


def test_a_family_that_comes_later_is_found(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store", strict_domain=True)
    families = Families(open_store(str(store)))
    frame = lattice_frame(2, spacing_A=GOLD_A)
    families.refresh()
    assert [fit.fits for fit in families.fits(frame, SAMPLING_A)] == [False]
    add_family(store, "gold", spacing_A=GOLD_A)
    families.refresh()
    assert [fit.family for fit in families.fits(frame, SAMPLING_A) if fit.fits] == ["gold"]


def test_a_family_whose_channel_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store", strict_domain=True)
    for family, spacing_A in (("broken", 3.0), ("gold", GOLD_A)):
        add_family(store, family, spacing_A=spacing_A)
    channel = store / "channels" / "broken" / "stable.json"
    good = channel.read_text()
    channel.write_text("{}")
    families, frame = Families(open_store(str(store))), lattice_frame(2)
    families.refresh()
    assert [fit.family for fit in families.fits(frame, SAMPLING_A)] == ["gold", "tiny"]
    for text in (good, "{}"):  # What was known of it stays.
        channel.write_text(text)
        families.refresh()
        assert [fit.family for fit in families.fits(frame, SAMPLING_A)] == ["broken", "gold", "tiny"]


def test_a_family_whose_model_may_not_answer_costs_no_other_its_frames(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store", strict_domain=True)
    add_family(store, "gold", spacing_A=GOLD_A)
    (store / "models" / "gold" / "1" / "weights.safetensors").write_bytes(b"broken")
    service = Service(store, tmp_path / "cache")
    ours, gold = service.answers([lattice_frame(3), lattice_frame(3, spacing_A=GOLD_A)], AUTO)
    assert (ours.version.family, ours.verdict.status) == ("tiny", Status.OK)
    assert (gold.verdict.status, len(gold.columns)) == (Status.REFUSED, 0)
    assert said(gold, "family").startswith("family: this lattice is that of gold; model gold 1 may not answer")
    with pytest.raises(UnknownModel, match="may not answer"):
        service.answers([lattice_frame(3, spacing_A=GOLD_A)], "gold")
