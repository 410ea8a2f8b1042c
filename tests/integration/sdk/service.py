"""A real grpc.aio server of the contract whose answers are known: a column for each frame, at (sum, sequence).

Its faults are set by the test: connections cut, sessions not resumed, credit shrunk, requests to open again.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from segdepth_protos import contract
from segdepth_protos.v1 import estimator_pb2 as pb
from segdepth_protos.v1 import estimator_pb2_grpc, frame_pb2, models_pb2, models_pb2_grpc

MODEL = frame_pb2.ModelVersion(family="sum", version="1", sha256="ab" * 32, engine="numpy")

RETRY_AFTER = (("retry-after-ms", "250"),)

FORCED = "try; overridden: worse than stable at 200 e/Å²"

SHADOW = models_pb2.Shadow(
    stable="1",
    replicas=2,
    frames_dropped=11,
    doses=[
        models_pb2.ShadowCounts(dose="100-316", frames=40, columns=400, counts_differ=20, only_candidate=100),
        models_pb2.ShadowCounts(dose="unmeasured", frames=2, verdicts_differ=1),
    ],
)


def answer(frame: frame_pb2.Frame, calibration: frame_pb2.Calibration) -> frame_pb2.FrameResult:
    """One column whose position is the frame's sum (modulo 1000) and its sequence; zeros are refused."""
    image = contract.decode_pixels(frame).astype("f8")
    result = frame_pb2.FrameResult(
        sequence=frame.sequence, height=frame.height, width=frame.width, model=MODEL, calibration=calibration
    )
    if not image.any():
        result.domain.status = frame_pb2.DOMAIN_STATUS_REFUSED
        result.domain.checks.add(
            name="pixels",
            status=frame_pb2.DOMAIN_STATUS_REFUSED,
            value=0,
            lower=1,
            unit="counts",
            message="every pixel is zero",
        )
        return result
    result.domain.status = frame_pb2.DOMAIN_STATUS_OK
    probabilities = np.zeros((1, contract.CLASSES), "<f4")
    probabilities[0, 5:7] = 0.75, 0.25
    result.columns.size = 1
    result.columns.x_px = np.array([image.sum() % 1000], "<f4").tobytes()
    result.columns.y_px = np.array([frame.sequence], "<f4").tobytes()
    result.columns.species = b"\x01"
    result.columns.count = b"\x05"
    result.columns.lo90 = b"\x05"
    result.columns.hi90 = b"\x06"
    result.columns.abstained = b"\x00"
    result.columns.probabilities = probabilities.tobytes()
    return result


@dataclass
class Plan:
    """What the server does, and what it saw."""

    credit_frames: int = 32
    credit_bytes: int = 1 << 26
    # Sequence numbers after whose answer the connection is cut, each once: "abort" or "reopen".
    cuts: dict[int, str] = field(default_factory=dict)
    # Sequence number -> credit granted after its answer.
    credits: dict[int, int] = field(default_factory=dict)
    # Status with which the next openings are refused.
    refuse_open: list[grpc.StatusCode] = field(default_factory=list)
    # Status with which a session is refused; the server then forgets that it did.
    refuse_session: grpc.StatusCode | None = None
    # After this answer the stream ends with that status, however often it is opened again.
    fatal: tuple[int, grpc.StatusCode, str] | None = None
    # Answers again from so many numbers before the resume point.
    repeats: int = 0
    delay_s: float = 0.0
    strict_order: bool = True
    openings: list[pb.Open] = field(default_factory=list)
    packs: list[int] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    most_under_way: int = 0


class Estimator(estimator_pb2_grpc.EstimatorServiceServicer):
    """Answers at once, in order."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self._before: list[frame_pb2.FrameResult] = []

    async def Estimate(self, request: pb.EstimateRequest, context: Any) -> pb.EstimateResponse:
        self.plan.metadata.append(dict(context.invocation_metadata()))
        if self.plan.refuse_open:
            status = self.plan.refuse_open.pop(0)
            await context.abort(status, "as planned", RETRY_AFTER)
        if request.options.family not in ("", "sum"):
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such family; there is: sum")
        await asyncio.sleep(self.plan.delay_s)
        return pb.EstimateResponse(result=answer(request.frame, request.frame.calibration))

    async def EstimateStream(  # noqa: C901 - every fault of the plan at its place in the stream
        self, requests: AsyncIterator[pb.EstimateStreamRequest], context: Any
    ) -> AsyncIterator[pb.EstimateStreamResponse]:
        plan = self.plan
        opening = (await anext(requests)).open
        plan.openings.append(opening)
        plan.metadata.append(dict(context.invocation_metadata()))
        if plan.refuse_open:
            await context.abort(plan.refuse_open.pop(0), "as planned", RETRY_AFTER)
        if opening.session and plan.refuse_session:
            status, plan.refuse_session = plan.refuse_session, None
            await context.abort(status, "the session is not of this facility")
        opened = pb.Opened(
            session=b"session-%d" % len(plan.openings),
            credit=pb.Credit(frames=plan.credit_frames, bytes=plan.credit_bytes),
            model=MODEL,
        )
        last = -1
        if opening.session and opening.HasField("resume_after"):
            opened.resume_after = last = opening.resume_after
        yield pb.EstimateStreamResponse(opened=opened)
        if plan.fatal and last >= plan.fatal[0]:
            await context.abort(plan.fatal[1], plan.fatal[2])
        if opening.session and plan.repeats:
            again = pb.AnswerPack(answers=[pb.Answer(result=result) for result in self._before[-plan.repeats :]])
            yield pb.EstimateStreamResponse(answers=again)
        async for request in requests:
            frames = request.frames.frames
            plan.packs.append(len(frames))
            plan.most_under_way = max(plan.most_under_way, len(frames))
            answers = pb.AnswerPack()
            for frame in frames:
                if frame.sequence <= last and plan.strict_order:
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "frame.sequence: backwards")
                if frame.sequence > last + 1 and last >= 0:
                    answers.answers.add(
                        gap=pb.Gap(first=last + 1, last=frame.sequence - 1, reason=pb.GAP_REASON_NOT_SENT)
                    )
                last = frame.sequence
                calibration = frame.calibration if frame.HasField("calibration") else opening.calibration
                await asyncio.sleep(plan.delay_s)
                result = answer(frame, calibration)
                self._before.append(result)
                answers.answers.add(result=result)
                if plan.fatal and last == plan.fatal[0]:
                    yield pb.EstimateStreamResponse(answers=answers)
                    await context.abort(plan.fatal[1], plan.fatal[2])
                if last in plan.credits:
                    yield pb.EstimateStreamResponse(credit=pb.Credit(frames=plan.credits[last], bytes=1 << 26))
                match plan.cuts.pop(last, None):
                    case "abort":
                        yield pb.EstimateStreamResponse(answers=answers)
                        await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
                    case "lost":
                        # Predicted, but the answers never leave.
                        await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
                    case "cancel":
                        await context.abort(grpc.StatusCode.CANCELLED, "cut")
                    case "reopen":
                        yield pb.EstimateStreamResponse(answers=answers)
                        yield pb.EstimateStreamResponse(reopen=pb.Reopen(reason="draining"))
                        return
                    case "end":
                        yield pb.EstimateStreamResponse(answers=answers)
                        return
            yield pb.EstimateStreamResponse(answers=answers)


class Models(models_pb2_grpc.ModelServiceServicer, models_pb2_grpc.ModelAdminServiceServicer):
    """Two versions of one family, and a channel that can be moved."""

    def __init__(self) -> None:
        self.stable = ["1"]

    async def ListModels(self, request: models_pb2.ListModelsRequest, context: Any) -> models_pb2.ListModelsResponse:
        if request.family not in ("", "sum"):
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such family; there is: sum")
        models = [
            models_pb2.Model(
                version=frame_pb2.ModelVersion(family="sum", version=version, sha256="ab" * 32),
                channels=["stable"] if self.stable[-1] == version else [],
                serving=self.stable[-1] == version,
                sampling_lower_angstrom_per_px=0.05,
                sampling_upper_angstrom_per_px=0.25,
                field_lower_angstrom=20,
                description="sums",
                forced=FORCED if self.stable[-1] == version == "2" else "",
            )
            for version in ("1", "2")
        ]
        models[1].channels.append("candidate")
        models[1].shadow.MergeFrom(SHADOW)
        for model in models:
            model.created.FromSeconds(1_700_000_000)
        return models_pb2.ListModelsResponse(models=models)

    async def Promote(self, request: models_pb2.PromoteRequest, context: Any) -> models_pb2.PromoteResponse:
        if request.version == "2" and not request.force:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "worse than stable at 200 e/Å²")
        if request.reason == "race":
            await context.abort(grpc.StatusCode.ABORTED, "stable has changed meanwhile")
        self.stable.append(request.version)
        return models_pb2.PromoteResponse(change=self._change(request.reason, request.force))

    async def Rollback(self, request: models_pb2.RollbackRequest, context: Any) -> models_pb2.RollbackResponse:
        if len(self.stable) < 2:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "there is no version before")
        self.stable.append(self.stable[-2])
        return models_pb2.RollbackResponse(change=self._change(request.reason, False))

    async def History(self, request: models_pb2.HistoryRequest, context: Any) -> models_pb2.HistoryResponse:
        return models_pb2.HistoryResponse(changes=[self._change("as before", False)] if len(self.stable) > 1 else [])

    def _change(self, reason: str, forced: bool) -> models_pb2.ChannelChange:
        change = models_pb2.ChannelChange(
            family="sum",
            channel="stable",
            from_version=self.stable[-2],
            to_version=self.stable[-1],
            principal="operator",
            reason=reason,
            forced=forced,
        )
        change.time.FromSeconds(1_700_000_000)
        return change


async def serve(plan: Plan, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> tuple[Any, int]:
    """A running server and its port."""
    server = grpc.aio.server(options=contract.CHANNEL_OPTIONS)
    models = Models()
    health = HealthServicer()
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    estimator_pb2_grpc.add_EstimatorServiceServicer_to_server(Estimator(plan), server)
    models_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
    models_pb2_grpc.add_ModelAdminServiceServicer_to_server(models, server)
    address = f"127.0.0.1:{port}"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    return server, port
