"""Local mode speaks the wire's messages and keeps the rules of a stream."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from segdepth_core.released import released_store
from segdepth_inference.local import LocalBackend
from segdepth_protos.contract import InvalidFrame, OutsideDomain, UnknownModel, encode_frame
from segdepth_protos.v1 import estimator_pb2 as es
from segdepth_protos.v1 import frame_pb2 as pb
from segdepth_protos.v1 import models_pb2
from tests.models import FAMILY, add_family, lattice_frame, tiny_store

CALIBRATION = pb.Calibration(sampling_angstrom_per_px=0.1)
SHAPE = (200, 200)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("local") / "store", versions=2)


@pytest.fixture(scope="module")
def backend(store: Path) -> Iterator[LocalBackend]:
    backend = LocalBackend(store=str(store), device="cpu", cache=store.parent / "cache")
    yield backend
    backend.close()


def frame(sequence: int, shape: tuple[int, int] = SHAPE, **changes: Any) -> pb.Frame:
    message = encode_frame(lattice_frame(sequence, shape), sequence)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def estimate(backend: LocalBackend, message: pb.Frame, **options: Any) -> pb.FrameResult:
    if not message.HasField("calibration"):
        message.calibration.CopyFrom(CALIBRATION)
    request = es.EstimateRequest(frame=message, options=es.EstimateOptions(**options))
    return backend.estimate(request, timeout_s=60).result


def stream(backend: LocalBackend, frames: Any, calibration: pb.Calibration | None = CALIBRATION, **opening: Any) -> Any:
    return backend.stream(es.Open(calibration=calibration, **opening), iter(frames))


def told(answers: Any) -> list[tuple[int, int, str]]:
    """First and last sequence of each answer, and what it is."""
    return [
        (answer.result.sequence, answer.result.sequence, "result")
        if answer.HasField("result")
        else (answer.gap.first, answer.gap.last, es.GapReason.Name(answer.gap.reason).removeprefix("GAP_REASON_"))
        for answer in answers
    ]


def test_an_answer_is_complete(backend: LocalBackend) -> None:
    detail = pb.Detail(depth_map=True, confidence_map=True, probabilities=True)
    result = estimate(backend, frame(7), detail=detail)
    assert (result.sequence, result.height, result.width) == (7, *SHAPE)
    assert (result.model.family, result.model.version, result.model.engine) == (FAMILY, "1", "torch-fp32")
    assert len(result.model.sha256) == 64
    assert result.calibration == CALIBRATION
    assert result.domain.status == pb.DOMAIN_STATUS_OK
    assert {check.name for check in result.domain.checks} >= {"sampling", "field", "pixels", "saturation", "snr"}
    columns = result.columns
    assert columns.size > 10
    for name, width in (("x_px", 4), ("y_px", 4), ("species", 1), ("count", 1), ("lo90", 1), ("hi90", 1)):
        assert len(getattr(columns, name)) == columns.size * width
    assert len(columns.probabilities) == columns.size * 44
    y = np.frombuffer(columns.y_px, "<f4")
    assert (np.diff(y) >= 0).all()
    assert len(result.depth_map) == 200 * 200
    assert len(result.confidence_map) == 200 * 200 * 4
    assert len(result.probabilities) == 200 * 200 * 44
    assert result.timings.network_ms > 0
    assert result.timings.total_ms >= result.timings.network_ms


def test_open_bounds_are_absent(backend: LocalBackend) -> None:
    (snr,) = [check for check in estimate(backend, frame(1)).domain.checks if check.name == "snr"]
    assert snr.HasField("lower")
    assert not snr.HasField("upper")


def test_maps_that_were_not_asked_for_are_absent(backend: LocalBackend) -> None:
    result = estimate(backend, frame(1))
    assert not any(result.HasField(name) for name in ("depth_map", "confidence_map", "probabilities"))


def test_a_refused_frame_is_an_answer_unless_strict(backend: LocalBackend) -> None:
    empty = encode_frame(np.zeros(SHAPE, np.uint8), 3, CALIBRATION)
    result = estimate(backend, empty, detail=pb.Detail(depth_map=True))
    assert result.domain.status == pb.DOMAIN_STATUS_REFUSED
    assert result.columns.size == 0
    assert set(result.depth_map) == {255}
    with pytest.raises(OutsideDomain, match="empty frame"):
        estimate(backend, empty, strict=True)


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"dtype": 0}, "frame.dtype"),
        ({"data": b"123"}, "frame.data"),
        ({"height": 0}, "frame.height"),
        ({"calibration": pb.Calibration()}, "sampling"),
        ({"calibration": pb.Calibration(sampling_angstrom_per_px=1.0)}, "sampling"),
    ],
)
def test_what_is_no_frame_is_an_error(backend: LocalBackend, changes: dict[str, Any], field: str) -> None:
    message = frame(1)
    calibration = changes.pop("calibration", CALIBRATION)
    message.calibration.CopyFrom(calibration)
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(InvalidFrame, match=field):
        estimate(backend, message)


def test_versions_by_name(backend: LocalBackend, store: Path) -> None:
    assert estimate(backend, frame(1), version="2").model.version == "2"
    assert estimate(backend, frame(1), family=FAMILY).model.version == "1"
    with pytest.raises(UnknownModel):
        estimate(backend, frame(1), version="9")
    pinned = LocalBackend(f"{FAMILY}/2", str(store), device="cpu", cache=store.parent / "cache")
    assert estimate(pinned, frame(1)).model.version == "2"


@pytest.mark.parametrize("model", ["nothing", f"{FAMILY}/9"])
def test_a_model_that_is_not_there(store: Path, model: str) -> None:
    with pytest.raises(UnknownModel):
        LocalBackend(model, str(store), device="cpu", cache=store.parent / "cache")


def test_a_busy_model_times_out(backend: LocalBackend) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with backend._predicting:
            entered.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(30)
    request = es.EstimateRequest(frame=frame(1))
    request.frame.calibration.CopyFrom(CALIBRATION)
    try:
        with pytest.raises(TimeoutError, match=r"0\.05 s"):
            backend.estimate(request, timeout_s=0.05)
    finally:
        leave.set()
        holder.join()


def test_models_are_listed(backend: LocalBackend) -> None:
    listed = backend.list_models(models_pb2.ListModelsRequest(), timeout_s=30).models
    assert {model.version.version for model in listed} == {"1", "2"}
    stable = next(model for model in listed if model.channels)
    assert (stable.version.version, list(stable.channels), stable.serving, stable.problem) == (
        "1",
        ["stable"],
        True,
        "",
    )
    assert stable.sampling_lower_angstrom_per_px == pytest.approx(0.02)
    assert stable.created.seconds > 0
    assert not backend.list_models(models_pb2.ListModelsRequest(family="none"), timeout_s=30).models


def test_a_movie_is_answered_in_order(backend: LocalBackend) -> None:
    answers = list(stream(backend, [frame(number) for number in range(3, 25)]))
    assert told(answers) == [(number, number, "result") for number in range(3, 25)]
    alone = estimate(backend, frame(10)).columns
    in_movie = answers[7].result.columns
    assert (in_movie.count, in_movie.species) == (alone.count, alone.species)


def test_every_number_is_accounted_for_once(backend: LocalBackend) -> None:
    frames = [
        frame(1),
        frame(2, data=b"short"),
        frame(5),
        frame(6, (210, 200)),
        frame(7, (210, 200), height=0),
        encode_frame(lattice_frame(8, (210, 200)), 8, CALIBRATION),
        encode_frame(lattice_frame(9, SHAPE), 9, pb.Calibration(sampling_angstrom_per_px=1.0)),
        frame(12),
    ]
    assert told(stream(backend, frames)) == [
        (1, 1, "result"),
        (2, 2, "INVALID"),
        (3, 4, "NOT_SENT"),
        (5, 5, "result"),
        (6, 6, "INVALID"),
        (7, 7, "INVALID"),
        (8, 8, "result"),
        (9, 9, "INVALID"),
        (10, 11, "NOT_SENT"),
        (12, 12, "result"),
    ]


def test_a_stream_without_calibration_takes_frames_that_bring_their_own(backend: LocalBackend) -> None:
    frames = [frame(1), encode_frame(lattice_frame(2, SHAPE), 2, CALIBRATION)]
    assert told(stream(backend, frames, calibration=None)) == [(1, 1, "INVALID"), (2, 2, "result")]


def test_strict_streams_have_gaps_for_refused_frames(backend: LocalBackend) -> None:
    frames = [frame(1), encode_frame(np.zeros(SHAPE, np.uint8), 2), frame(3)]
    options = es.EstimateOptions(strict=True)
    assert [what for _, _, what in told(stream(backend, frames, options=options))] == ["result", "REFUSED", "result"]
    assert [what for _, _, what in told(stream(backend, frames))] == ["result"] * 3


@pytest.mark.parametrize("numbers", [[1, 2, 2], [5, 6, 4]])
def test_a_number_twice_or_backwards_ends_the_stream_after_its_answers(
    backend: LocalBackend, numbers: list[int]
) -> None:
    answers = stream(backend, [frame(number) for number in numbers])
    assert told([next(answers), next(answers)]) == [(number, number, "result") for number in numbers[:2]]
    with pytest.raises(InvalidFrame, match=rf"frame.sequence: {numbers[2]} after {numbers[1]}"):
        next(answers)


def test_an_error_of_the_source_comes_after_the_answers(backend: LocalBackend) -> None:
    def broken() -> Iterator[pb.Frame]:
        yield frame(1)
        raise OSError("the file ends here")

    answers = stream(backend, broken())
    assert told([next(answers)]) == [(1, 1, "result")]
    with pytest.raises(OSError, match="ends here"):
        next(answers)


def test_frames_that_waited_too_long_are_gaps(backend: LocalBackend) -> None:
    answers = told(stream(backend, [frame(1), frame(2)], frame_deadline=Duration(nanos=1)))
    assert answers == [(1, 1, "DEADLINE"), (2, 2, "DEADLINE")]


def test_a_live_source_is_answered_frame_by_frame(backend: LocalBackend) -> None:
    """The next frame is only made once the last was answered: nothing may wait for a full batch."""
    answered = threading.Event()

    def live() -> Iterator[pb.Frame]:
        for number in range(3):
            yield frame(number)
            assert answered.wait(60)
            answered.clear()

    seen = []
    for answer in stream(backend, live()):
        seen.append(answer.result.sequence)
        answered.set()
    assert seen == [0, 1, 2]


def test_a_caller_may_leave_early(backend: LocalBackend) -> None:
    before = threading.active_count()
    answers = stream(backend, (frame(number) for number in range(10**6)))
    next(answers)
    answers.close()
    for thread in threading.enumerate():
        if thread.name == "movie":
            thread.join(10)
    assert threading.active_count() <= before


def test_an_unknown_model_ends_the_stream_at_once(backend: LocalBackend) -> None:
    with pytest.raises(UnknownModel):
        next(stream(backend, [frame(1)], options=es.EstimateOptions(version="9")))


def test_the_store_is_named_by_the_environment(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGDEPTH_STORE", str(store))
    assert released_store() == store
    backend = LocalBackend(device="cpu", cache=tmp_path)
    assert estimate(backend, frame(1)).model.family == FAMILY


def test_the_lattice_decides_where_no_family_is_the_default(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store", strict_domain=True)
    add_family(store, "gold", spacing_A=3.4)
    with pytest.raises(UnknownModel, match=r"no family was named"):
        LocalBackend(store=str(store), device="cpu", cache=tmp_path / "cache")
    backend = LocalBackend("auto", str(store), device="cpu", cache=tmp_path / "cache")
    for spacing_A, family in ((2.7, FAMILY), (3.4, "gold")):
        message = encode_frame(lattice_frame(3, spacing_A=spacing_A), 0)
        assert estimate(backend, message).model.family == family
    noise = np.random.default_rng(5).poisson(20, (256, 256)).astype(np.uint16)
    assert estimate(backend, encode_frame(noise, 0)).domain.status == pb.DOMAIN_STATUS_REFUSED
