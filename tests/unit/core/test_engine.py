"""Only engines that the report found equal to the reference may answer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segdepth_artefacts.manifest import Engine, Manifest
from segdepth_core import engine
from segdepth_core.engine import EngineRefused, choose_engine
from segdepth_core.predictor import Predictor
from tests.models import lattice_frame, tiny_model

CPU = torch.device("cpu")
FP32 = Engine(name="torch-fp32", counts_equal=1.0, ece_difference=0.0)
BF16 = Engine(name="torch-bf16", counts_equal=0.9995, ece_difference=-0.001)


@pytest.fixture
def manifest(model_folder: Path) -> Manifest:
    return Manifest.model_validate_json((model_folder / "manifest.json").read_text())


def with_engines(manifest: Manifest, *engines: Engine) -> Manifest:
    return manifest.model_copy(update={"engines": engines})


def cpu(monkeypatch: pytest.MonkeyPatch, vendor: str, *flags: str) -> None:
    told = {"vendor_id": vendor, "flags": " ".join(flags)}
    monkeypatch.setattr(engine, "cpu_field", told.__getitem__)


@pytest.mark.parametrize(
    "vendor, multiplies, chosen",
    [
        ("GenuineIntel", "amx_bf16", "torch-bf16"),
        ("AuthenticAMD", "avx512_bf16", "torch-bf16"),
        ("GenuineIntel", "avx512_bf16", "torch-fp32"),
        ("AuthenticAMD", "avx512_vnni", "torch-fp32"),
    ],
)
def test_bf16_where_the_cpu_multiplies_it_faster(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, vendor: str, multiplies: str, chosen: str
) -> None:
    cpu(monkeypatch, vendor, "avx512f", multiplies)
    assert choose_engine(with_engines(manifest, FP32, BF16), CPU) == chosen


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="what Linux tells of the CPU")
def test_fields_of_the_cpu() -> None:
    assert "\n" not in engine.cpu_field("model name")
    assert engine.cpu_field("no such field") == ""


@pytest.mark.parametrize(
    "refused",
    [
        Engine(name="torch-bf16", counts_equal=0.9989, ece_difference=0.0),
        Engine(name="torch-bf16", counts_equal=1.0, ece_difference=0.0021),
        Engine(name="torch-bf16", counts_equal=1.0, ece_difference=-0.0021),
    ],
)
def test_an_engine_too_far_from_the_reference(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, refused: Engine
) -> None:
    cpu(monkeypatch, "GenuineIntel", "amx_bf16")
    manifest = with_engines(manifest, FP32, refused)
    assert choose_engine(manifest, CPU) == "torch-fp32"
    with pytest.raises(EngineRefused, match=r"permits torch-fp32 \(counts equal on >= 99.9%"):
        choose_engine(manifest, CPU, "torch-bf16")


def test_an_engine_at_the_very_limit_is_permitted(manifest: Manifest) -> None:
    limit = Engine(name="torch-bf16", counts_equal=0.999, ece_difference=0.002)
    assert choose_engine(with_engines(manifest, FP32, limit), CPU, "torch-bf16") == "torch-bf16"


@pytest.mark.parametrize("wanted", ["torch-bf16", "openvino-int8", "torch"])
def test_an_engine_that_was_not_evaluated(manifest: Manifest, wanted: str) -> None:
    with pytest.raises(EngineRefused, match=wanted):
        choose_engine(with_engines(manifest, FP32), CPU, wanted)


def test_a_model_without_any_engine(manifest: Manifest) -> None:
    with pytest.raises(EngineRefused, match="none of torch-fp32, torch-bf16"):
        choose_engine(with_engines(manifest), CPU)


def test_the_evaluation_may_run_what_nobody_judged(tmp_path: Path) -> None:
    tiny_model(tmp_path, engines=(FP32,))
    with pytest.raises(EngineRefused):
        Predictor.load(tmp_path, device="cpu", engine="torch-bf16")
    judged = Predictor.load(tmp_path, device="cpu", engine="torch-bf16", evaluated=False)
    assert judged.version.engine == "torch-bf16"
    reference = Predictor.load(tmp_path, device="cpu", engine="torch-fp32")
    one, other = (model.predict([lattice_frame(1)], [0.1])[0].columns for model in (judged, reference))
    assert abs(len(one) - len(other)) <= 3
    assert one.probabilities.dtype == np.float32


def test_an_unknown_engine_is_refused_even_for_the_evaluation(model_folder: Path) -> None:
    with pytest.raises(EngineRefused, match="unknown"):
        Predictor.load(model_folder, device="cpu", engine="onnx-fp32", evaluated=False)
