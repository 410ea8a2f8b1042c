"""What is foreign to a model: the classifier beside the weights, and the check that it answers."""

from pathlib import Path

import pytest
import torch

from segdepth_artefacts.manifest import Domain, File, Manifest, Range
from segdepth_core.domain import Gate
from segdepth_core.familiarity import CHECK, FAMILIARITY, Familiarity, load_familiarity, save_familiarity
from segdepth_core.network import Heads
from segdepth_core.prediction import Status
from segdepth_core.predictor import Predictor
from tests.models import lattice_frame

FEATURES = 6


def judge(features: int = FEATURES) -> Familiarity:
    """Foreign by as much as the first feature is above its mean, which falls with the dose."""
    made = Familiarity(features, hidden=8)
    with torch.no_grad():
        for tensor in made.state_dict().values():
            tensor.zero_()
        made.mean[1] = -1.0
        made.hidden.weight[0, 0] = 1.0
        made.out.weight[0, 0] = 1.0
    return made.eval()


def heads(means: torch.Tensor) -> Heads:
    nothing = torch.zeros(len(means), 11, 8, 8)
    return Heads(nothing, nothing[:, :2], nothing[:, 0], torch.full((len(means),), -9.0), means)


def test_features_are_compared_with_those_of_the_same_dose() -> None:
    means = torch.zeros(2, FEATURES)
    means[:, 0] = 1.0
    logit = judge()(means, torch.tensor([1000.0, 10000.0]), torch.tensor([40.0, 40.0]))
    torch.testing.assert_close(logit, torch.tensor([1.0, 2.0]))


def test_one_extreme_feature_does_not_decide_alone() -> None:
    means = torch.full((1, FEATURES), 1e9)
    logit = judge()(means, torch.tensor([1000.0]), torch.tensor([40.0]))
    assert logit.item() == 6.0


@pytest.mark.parametrize("value, status", [(0.5, Status.OK), (1.5, Status.SUSPECT), (2.5, Status.REFUSED)])
def test_the_check(value: float, status: Status) -> None:
    gate = Gate(Domain(description="", checks={CHECK: Range(upper=2.0, ok_upper=1.0)}), 0.2, judge())
    means = torch.zeros(1, FEATURES)
    means[0, 0] = value
    ((found,),) = gate.network(heads(means), torch.tensor([1000.0]), 40.0)
    assert (found.name, found.status, found.value) == (CHECK, status, value)
    assert status == Status.OK or "zone axis" in found.message


def test_a_model_without_one_asks_nothing() -> None:
    gate = Gate(Domain(description="", checks={}), 0.2)
    assert gate.network(heads(torch.zeros(1, FEATURES)), torch.tensor([500.0]), 40.0) == [[]]


def test_it_is_kept_beside_the_weights(tmp_path: Path) -> None:
    save_familiarity(judge(), tmp_path)
    means = torch.randn(3, FEATURES, generator=torch.Generator().manual_seed(0))
    asked = (means, torch.full((3,), 300.0), torch.full((3,), 25.0))
    assert torch.equal(load_familiarity(tmp_path, FEATURES)(*asked), judge()(*asked))
    (tmp_path / FAMILIARITY).write_bytes(b"broken")
    with pytest.raises(ValueError, match=f"{FAMILIARITY} cannot be read"):
        load_familiarity(tmp_path, FEATURES)


def test_the_predictor_refuses_strangers_whoever_they_come_with(predictor: Predictor, model_folder: Path) -> None:
    frame = lattice_frame()
    with torch.inference_mode():
        features = predictor.heads(torch.from_numpy(frame.astype("f4"))[None], 0.1).means_BC.shape[1]
    save_familiarity(judge(features + 1), model_folder)
    known = Manifest.model_validate_json((model_folder / "manifest.json").read_text())
    domain = known.domain.model_copy(update={"checks": known.domain.checks | {CHECK: Range(upper=-1e3)}})
    files = known.files | {FAMILIARITY: File(sha256="0" * 64, size_bytes=1)}
    manifest = known.model_copy(update={"domain": domain, "files": files})
    (model_folder / "manifest.json").write_text(manifest.model_dump_json())
    with pytest.raises(ValueError, match=f"is of another network: {features + 1} features instead of {features}"):
        Predictor.load(model_folder, device="cpu")
    save_familiarity(judge(features), model_folder)
    strict = Predictor.load(model_folder, device="cpu")
    alone = strict.predict([frame], [0.1])[0]
    together = strict.predict([frame, frame[::-1].copy(), frame.T.copy()], [0.1] * 3)[0]
    assert alone.verdict.status == Status.REFUSED
    assert len(alone.columns) == 0
    assert alone.verdict.checks[-1] == together.verdict.checks[-1]
    assert alone.verdict.checks[-1].name == CHECK
