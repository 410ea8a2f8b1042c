"""Answers that travel together: up to a pack's size, and gaps that touch as one."""

from segdepth_gateway import wire
from segdepth_gateway.job import Job
from segdepth_gateway.metrics import Metrics
from segdepth_gateway.pack import AnswerPack
from segdepth_protos import contract
from segdepth_protos.v1 import estimator_pb2, frame_pb2

DROPPED, DEADLINE = estimator_pb2.GAP_REASON_DROPPED, estimator_pb2.GAP_REASON_DEADLINE


def answered(sequence: int, size: int = 0) -> Job:
    job = Job(sequence, sequence, 0, 0.0)
    job.succeed(frame_pb2.FrameResult(depth_map=bytes(size)).SerializeToString(), frame_pb2.DOMAIN_STATUS_OK)
    return job


def missing(sequence: int, reason: estimator_pb2.GapReason.ValueType, detail: str = "") -> Job:
    job = Job(sequence, sequence, 0, 0.0)
    job.fall_short(reason, detail)
    return job


def test_gaps_are_one_if_they_touch_and_have_the_same_reason() -> None:
    pack, metrics = AnswerPack(), Metrics()
    jobs = [missing(0, DROPPED), missing(1, DROPPED), missing(2, DEADLINE), missing(3, DEADLINE, "late"), answered(4)]
    for job in [*jobs, missing(5, DROPPED), missing(7, DROPPED)]:
        pack.add(job, 0.0)
    message = estimator_pb2.EstimateStreamResponse.FromString(wire.answers(pack.close(metrics)))
    gaps = [
        (one.gap.first, one.gap.last) if one.HasField("gap") else one.result.sequence for one in message.answers.answers
    ]
    assert gaps == [(0, 1), (2, 2), (3, 3), 4, (5, 5), (7, 7)]
    value = metrics.registry.get_sample_value
    assert value("segdepth_gateway_frames_unanswered_total", {"reason": "dropped"}) == 4


def test_a_pack_takes_what_fits_and_alone_whatever_comes() -> None:
    pack = AnswerPack()
    half = answered(0, contract.PACK_BYTES // 2)
    assert pack.has_room(answered(0, 2 * contract.PACK_BYTES))
    pack.add(half, 0.0)
    assert pack.has_room(answered(1, contract.PACK_BYTES // 4))
    assert not pack.has_room(half)
    assert pack.has_room(missing(1, DROPPED))
