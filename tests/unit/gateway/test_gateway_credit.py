"""The bytes that callers may have under way: never more than there are, and all given back."""

import pytest

from segdepth_gateway.credit import ANSWER_BYTES, LEAST_CREDIT_BYTES, Budget, Full, Grant, check_answer, frames_for
from segdepth_gateway.metrics import Metrics
from segdepth_gateway.settings import GatewaySettings
from segdepth_protos import contract
from segdepth_protos.contract import InvalidFrame
from segdepth_protos.v1 import frame_pb2


def granted(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("segdepth_gateway_granted_bytes")


def test_grants_share_the_budget_and_the_last_gets_what_is_left() -> None:
    metrics = Metrics()
    budget = Budget(100, metrics)
    with budget.grant(8, 70, least=20) as first, budget.grant(4, 70, least=20) as second:
        assert (first.frames, first.nbytes, second.frames, second.nbytes) == (8, 70, 4, 30)
        assert granted(metrics) == 100
        with pytest.raises(Full), budget.grant(1, 1, least=1):
            pytest.fail("granted")


def test_less_than_the_least_is_not_granted() -> None:
    budget = Budget(100, Metrics())
    with budget.grant(1, 81, least=81):
        with pytest.raises(Full), budget.grant(1, 20, least=20):
            pytest.fail("granted")
        with budget.grant(1, 20, least=19) as rest:
            assert rest.nbytes == 19


@pytest.mark.parametrize("fault", [None, ConnectionError, GeneratorExit])
def test_all_is_given_back_however_the_call_ends(fault: type[BaseException] | None) -> None:
    metrics = Metrics()
    budget = Budget(100, metrics)
    for _ in range(3):
        try:
            with budget.grant(1, 100, least=100):
                assert granted(metrics) == 100
                if fault is not None:
                    raise fault
        except (ConnectionError, GeneratorExit):
            pass
        assert granted(metrics) == 0


def test_the_least_credit_holds_the_largest_frame_and_settings_keep_to_it() -> None:
    assert LEAST_CREDIT_BYTES >= contract.FRAME_BYTES
    for name in ("credit_bytes", "buffer_bytes"):
        with pytest.raises(ValueError, match=name):
            GatewaySettings.model_validate({name: LEAST_CREDIT_BYTES - 1})


def test_detail_makes_the_credit_smaller() -> None:
    detail = frame_pb2.Detail
    assert frames_for(detail(), 512) == frames_for(detail(depth_map=True), 512) == 512
    assert frames_for(detail(confidence_map=True), 512) == 128
    assert frames_for(detail(confidence_map=True, probabilities=True), 512) == 32
    assert frames_for(detail(probabilities=True), 4) == 4


def test_maps_must_fit_a_message() -> None:
    detail = frame_pb2.Detail(depth_map=True, confidence_map=True)  # 5 bytes a pixel
    check_answer(detail, 1, ANSWER_BYTES // 5)
    with pytest.raises(InvalidFrame, match="may have 63 MB"):
        check_answer(detail, 1, ANSWER_BYTES // 5 + 1)
    check_answer(frame_pb2.Detail(), 1, ANSWER_BYTES)


@pytest.mark.parametrize(
    "frames, nbytes, within",
    [(4, 1000, True), (5, 10, False), (4, 1001, False), (2, 1001, False), (1, 10**9, True)],
)
def test_what_is_under_way_stays_within_the_credit(frames: int, nbytes: int, within: bool) -> None:
    """In frames and in bytes; a frame that is alone may be of any size, or a large one could never be sent."""
    excess = Grant(4, 1000).excess(frames, nbytes)
    assert (excess is None) == within
    if excess is not None:
        assert excess == f"credit: {frames} frames of {nbytes} bytes are under way, 4 frames of 1000 bytes were granted"
