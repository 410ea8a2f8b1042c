"""The Predictor: the same answer whatever else is in the batch, maps on the caller's pixels, refusals bare."""

from pathlib import Path

import numpy as np
import pytest

from segdepth_core.prediction import Detail, Prediction, Status
from segdepth_core.predictor import Predictor
from tests.benchmarks.predictor import crystal_frames
from tests.models import lattice_frame, lattice_positions, tiny_model

ALL = Detail(depth_map=True, confidence_map=True, probabilities=True)


def same(one: Prediction, other: Prediction) -> None:
    """Equal rows and integers, floats within the noise of float32."""
    for name in ("species", "count", "lo90", "hi90", "abstained"):
        np.testing.assert_array_equal(getattr(one.columns, name), getattr(other.columns, name))
    for name in ("x_px", "y_px", "probabilities"):
        np.testing.assert_allclose(getattr(one.columns, name), getattr(other.columns, name), atol=1e-3)
    assert one.verdict.status == other.verdict.status
    assert one.dose == pytest.approx(other.dose, rel=1e-3, nan_ok=True)


def test_columns_lie_where_they_were_put(predictor: Predictor) -> None:
    """Even this small model finds most columns of a frame like those it was trained on, near their places."""
    truth, _ = lattice_positions((256, 256), 0.1, seed=2001)
    (answer,) = predictor.predict([lattice_frame(2001)], [0.1])
    columns = answer.columns
    distance_A = 0.1 * np.hypot(columns.x_px - truth[:, :1], columns.y_px - truth[:, 1:]).min(1)
    assert (distance_A < 0.3).mean() > 0.8
    assert answer.dose == pytest.approx(2000, rel=0.15)


def test_an_answer_does_not_depend_on_its_batch(predictor: Predictor) -> None:
    frames = [lattice_frame(seed, dose=dose) for seed, dose in ((1, 2000.0), (2, 200.0), (3, 5000.0))]
    frames.append(np.zeros_like(frames[0]))
    frames += [lattice_frame(seed) for seed in range(4, 13)]
    together = predictor.predict(frames, [0.1] * len(frames))
    for frame, answer in zip(frames, together, strict=True):
        same(answer, predictor.predict([frame], [0.1])[0])


@pytest.mark.parametrize("size_px", [200, 256, 300])
def test_the_released_model_answers_bit_for_bit_whatever_the_batch(
    released: Predictor, size_px: int, tmp_path: Path
) -> None:
    """A served frame travels in whatever batch forms, a local one in full batches: their files must not differ."""
    frames = crystal_frames(tmp_path, 40, size_px)[10::5]
    together = released.predict(frames, [0.1] * len(frames), ALL)
    for size in (1, 2, 5):
        parts = [frames[start : start + size] for start in range(0, len(frames), size)]
        answers = [answer for part in parts for answer in released.predict(part, [0.1] * len(part), ALL)]
        for answer, other in zip(answers, together, strict=True):
            assert len(answer.columns) > 50
            assert answer.dose == other.dose
            assert answer.verdict == other.verdict
            for part in ("columns", "maps"):
                for name, array in vars(getattr(answer, part)).items():
                    np.testing.assert_array_equal(array, getattr(getattr(other, part), name), name)


def test_shapes_and_samplings_may_be_mixed(predictor: Predictor) -> None:
    asked = [(256, 0.1), (200, 0.16), (256, 0.12), (200, 0.16), (330, 0.08)]
    frames = [lattice_frame(seed, (size, size), sampling_A) for seed, (size, sampling_A) in enumerate(asked)]
    answers = predictor.predict(frames, [sampling_A for _, sampling_A in asked])
    for (size, sampling_A), frame, answer in zip(asked, frames, answers, strict=True):
        assert (answer.height, answer.width, answer.sampling_A) == (size, size, sampling_A)
        same(answer, predictor.predict([frame], [sampling_A])[0])


def test_no_frames_no_answers(predictor: Predictor) -> None:
    assert predictor.predict([], []) == []


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<i2", "<f4", "<f2", ">f4", "<f8"])
def test_a_frame_means_the_same_in_any_dtype(predictor: Predictor, dtype: str) -> None:
    counts = np.minimum(lattice_frame(5, dose=500.0) // 20, 127)
    same(predictor.predict([counts.astype(dtype)], [0.1])[0], predictor.predict([counts], [0.1])[0])


@pytest.mark.parametrize("factor", [1e-20, 1.0, 1e20])
def test_the_unit_of_intensity_does_not_matter(predictor: Predictor, factor: float) -> None:
    frame = lattice_frame(6).astype(np.float32)
    same(predictor.predict([frame * np.float32(factor)], [0.1])[0], predictor.predict([frame], [0.1])[0])


def test_the_callers_pixels_are_not_touched(predictor: Predictor) -> None:
    frame = lattice_frame(7)
    before = frame.copy()
    frame.flags.writeable = False
    predictor.predict([frame], [0.1])
    np.testing.assert_array_equal(frame, before)


def test_a_non_square_frame_keeps_its_axes(predictor: Predictor) -> None:
    frame = lattice_frame(8, (220, 301))
    (answer,) = predictor.predict([frame], [0.1], ALL)
    (turned,) = predictor.predict([np.ascontiguousarray(frame[:, ::-1])], [0.1])
    assert answer.maps.depth is not None
    assert answer.maps.depth.shape == (220, 301)
    assert answer.columns.x_px.max() > 220
    assert abs(len(turned.columns) - len(answer.columns)) < 0.3 * len(answer.columns)


def test_maps_agree_with_each_other_and_with_the_columns(predictor: Predictor) -> None:
    (answer,) = predictor.predict([lattice_frame(9)], [0.1], ALL)
    maps, columns = answer.maps, answer.columns
    assert maps.depth is not None
    assert maps.confidence is not None
    assert maps.probabilities is not None
    assert (maps.depth.dtype, maps.confidence.dtype, maps.probabilities.dtype) == ("u1", "f4", "f4")
    assert maps.probabilities.shape == (11, 256, 256)
    np.testing.assert_allclose(maps.probabilities.sum(0), 1, atol=1e-4)
    np.testing.assert_array_equal(maps.probabilities.argmax(0), maps.depth)
    np.testing.assert_allclose(maps.probabilities.max(0), maps.confidence, atol=1e-6)
    x, y = np.rint(columns.x_px).astype(int).clip(0, 255), np.rint(columns.y_px).astype(int).clip(0, 255)
    assert (maps.depth[y, x] > 0).mean() > 0.9


def test_maps_only_where_asked_for(predictor: Predictor) -> None:
    (answer,) = predictor.predict([lattice_frame(9)], [0.1], Detail(confidence_map=True))
    assert answer.maps.depth is None
    assert answer.maps.confidence is not None
    assert answer.maps.probabilities is None


def test_a_refused_frame_has_a_reason_and_nothing_else(predictor: Predictor) -> None:
    broken = np.full((256, 256), np.nan, np.float32)
    refused, answered = predictor.predict([broken, lattice_frame(1)], [0.1, 0.1], ALL)
    assert refused.verdict.status == Status.REFUSED
    assert "NaN" in refused.verdict.reason
    assert len(refused.columns) == 0
    assert refused.maps.depth is not None
    assert (refused.maps.depth == 255).all()
    assert refused.maps.confidence is not None
    assert np.isnan(refused.maps.confidence).all()
    assert refused.maps.probabilities is not None
    assert np.isnan(refused.maps.probabilities).all()
    assert answered.verdict.status == Status.OK
    assert len(answered.columns) > 0


def test_a_refused_frame_never_reaches_the_network(
    strict_predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    through = Predictor._network

    def counted(self: Predictor, x: object) -> object:
        sizes.append(len(x))  # type: ignore[arg-type]
        return through(self, x)  # type: ignore[arg-type]

    monkeypatch.setattr(Predictor, "_network", counted)
    dim, vacuum = lattice_frame(1, dose=20.0), np.zeros((256, 256), np.uint16)
    answers = strict_predictor.predict([dim, vacuum, lattice_frame(1)], [0.1] * 3)
    assert [answer.verdict.status for answer in answers] == [Status.REFUSED, Status.REFUSED, Status.OK]
    assert sizes == [1]


def test_a_large_frame_is_tiled_without_a_seam(predictor: Predictor) -> None:
    """A frame of many tiles, and the same in one piece, have the same columns everywhere."""
    small = Predictor(predictor.engine, predictor.manifest)
    small.tiling = type(predictor.tiling)(tile=160, margin=56, blend=8)
    frame = lattice_frame(11, (500, 460))
    whole, tiled = predictor.predict([frame], [0.1])[0], small.predict([frame], [0.1])[0]
    same(whole, tiled)


@pytest.mark.parametrize(
    "frames, samplings",
    [
        ([np.zeros((4, 4, 3), np.uint8)], [0.1]),
        ([np.zeros(16, np.uint8)], [0.1]),
        ([np.zeros((64, 64), np.uint8)], [0.0]),
        ([np.zeros((64, 64), np.uint8)], [float("nan")]),
        ([np.zeros((64, 64), np.uint8)], [-0.1]),
        ([np.zeros((64, 64), np.uint8)], []),
    ],
)
def test_what_is_no_frame_is_an_error(predictor: Predictor, frames: list[np.ndarray], samplings: list[float]) -> None:
    with pytest.raises(ValueError, match=r"sampling|frame"):
        predictor.predict(frames, samplings)


def test_warm_up_leaves_no_trace(predictor: Predictor) -> None:
    before = predictor.predict([lattice_frame(1)], [0.1])[0]
    predictor.warm_up([(256, 256), (300, 200)], sampling_A=0.12)
    same(before, predictor.predict([lattice_frame(1)], [0.1])[0])


def test_weights_survive_the_disk(tmp_path: Path) -> None:
    """fp16 on disk moves no answer by more than its own rounding."""
    import torch

    from tests.models import trained

    tiny_model(tmp_path)
    loaded = Predictor.load(tmp_path, device="cpu")
    x = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = trained(1)(x), loaded._network(x)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.05)


@pytest.mark.parametrize("damage", ["truncated", "other network", "no manifest"])
def test_a_damaged_model_does_not_load(tmp_path: Path, damage: str) -> None:
    manifest = tiny_model(tmp_path)
    if damage == "truncated":
        path = tmp_path / "weights.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "other network":
        other = manifest.model_copy(
            update={
                "network": manifest.network.model_copy(update={"arguments": {"widths": [4, 4], "decoder_blocks": [1]}})
            }
        )
        (tmp_path / "manifest.json").write_text(other.model_dump_json())
    else:
        (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match=r"does not fit|validation"):
        Predictor.load(tmp_path, device="cpu")
