"""EstimatorService: one frame, or a stream of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import grpc

from segdepth_gateway import wire
from segdepth_gateway.auth import Authenticator, Principal, Scope
from segdepth_gateway.calls import Calls, Context, Rejected, remaining_s
from segdepth_gateway.credit import LEAST_CREDIT_BYTES, Budget, Full, Grant, frames_for
from segdepth_gateway.estimator import EstimateFailed
from segdepth_gateway.intake import Intake
from segdepth_gateway.job import Job
from segdepth_gateway.metrics import Metrics
from segdepth_gateway.pack import refuse
from segdepth_gateway.replicas import Replicas
from segdepth_gateway.scheduler import Scheduler
from segdepth_gateway.session import Sessions
from segdepth_gateway.settings import GatewaySettings
from segdepth_gateway.stream import End, Stream
from segdepth_gateway.terms import Terms, parse_open, priority_of, read_open
from segdepth_protos.contract import OutsideDomain
from segdepth_protos.v1 import estimator_pb2

NAME = estimator_pb2.DESCRIPTOR.services_by_name["EstimatorService"].full_name

SCOPES = {estimator_pb2.PRIORITY_INTERACTIVE: Scope.ESTIMATE, estimator_pb2.PRIORITY_BATCH: Scope.BATCH}
"""What a caller must be permitted, by the priority of its frames."""


class EstimatorService:
    """Answers frames. Messages of streams stay bytes here: see `wire`."""

    def __init__(
        self,
        settings: GatewaySettings,
        authenticator: Authenticator,
        sessions: Sessions,
        scheduler: Scheduler,
        replicas: Replicas,
        metrics: Metrics,
    ):
        self._settings = settings
        self._authenticator = authenticator
        self._sessions = sessions
        self._scheduler = scheduler
        self._replicas = replicas
        self._metrics = metrics
        self._calls = Calls(metrics)
        self._budget = Budget(settings.buffer_bytes, metrics)
        self._streams: set[Stream] = set()
        self._unary = 0
        self._draining = False

    def handler(self) -> grpc.GenericRpcHandler:
        """For the server."""
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Estimate": grpc.unary_unary_rpc_method_handler(
                    self.estimate, request_deserializer=estimator_pb2.EstimateRequest.FromString
                ),
                "EstimateStream": grpc.stream_stream_rpc_method_handler(self.estimate_stream),
            },
        )

    def drain(self) -> None:
        """Accept no more frames. Streams answer what they accepted and ask their clients to open again."""
        self._draining = True
        for stream in self._streams:
            stream.end(End(reopen="this gateway is about to stop"))

    async def estimate(self, request: estimator_pb2.EstimateRequest, context: Context) -> bytes:
        """One frame, one answer."""
        async with self._calls.answering("Estimate", context, self._scheduler.waiting_s()):
            principal = self._authenticator.principal(context.invocation_metadata())
            priority = priority_of(request.options)
            principal.require(SCOPES[priority])
            deadline_s = remaining_s(context, self._settings.unary_deadline_s)
            self._check_not_draining()
            if self._unary >= self._settings.unary_calls:
                raise Full(f"{self._unary} calls are under way")
            nbytes = len(request.frame.data)
            self._unary += 1
            try:
                with self._budget.grant(1, nbytes, nbytes):
                    return await self._answer(request, priority, deadline_s)
            finally:
                self._unary -= 1
        raise AssertionError  # `answering` has ended the call

    def _check_not_draining(self) -> None:
        if self._draining:
            raise Rejected(grpc.StatusCode.UNAVAILABLE, "this gateway is about to stop; try again")

    async def _answer(
        self, request: estimator_pb2.EstimateRequest, priority: estimator_pb2.Priority.ValueType, deadline_s: float
    ) -> bytes:
        loop = asyncio.get_running_loop()
        frame = request.frame
        job = Job(frame.sequence, frame.sequence, len(frame.data), loop.time())
        job.sender = job
        job.priority = priority
        Intake(request.options, None).prepare(job, wire.received(frame))
        settled = asyncio.Event()
        job.on_settled = settled.set
        self._metrics.received.labels("unary").inc()
        self._scheduler.submit([job])
        try:
            async with asyncio.timeout(deadline_s):
                await settled.wait()
        except TimeoutError as error:
            self._metrics.gap(estimator_pb2.GAP_REASON_DEADLINE, 1)
            raise TimeoutError("deadline: passed before the frame was answered") from error
        finally:
            job.on_settled = lambda: None
            self._scheduler.withdraw([job])
        return self._response(job, request.options.strict, loop.time())

    def _response(self, job: Job, strict: bool, now: float) -> bytes:
        if job.error is not None:
            raise job.error
        if strict:
            refuse(job)
        if job.shortfall is not None:
            self._metrics.gap(job.shortfall.reason, 1)
            if job.shortfall.reason == estimator_pb2.GAP_REASON_REFUSED:
                raise OutsideDomain(job.shortfall.detail)
            raise EstimateFailed(job.shortfall.detail)
        assert job.result is not None
        self._metrics.answered.labels("unary").inc()
        queue_s = (job.sent or now) - job.arrived
        return wire.estimate_response(job.result, job.first, queue_s * 1000, (now - job.arrived) * 1000)

    async def estimate_stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """A stream of frames, answered in order."""
        async with self._calls.answering("EstimateStream", context, self._scheduler.waiting_s()):
            opening = await read_open(requests, self._settings.open_timeout_s)
            principal = self._authenticator.principal(context.invocation_metadata())
            principal.require(SCOPES[priority_of(opening.options)])
            terms = parse_open(opening, principal.name, self._sessions)
            self._check_room()
            await self._replicas.check_model(terms.options.family, terms.options.version)
            with self._admitted(terms) as stream:
                await context.write(self._opened(terms, principal, stream.grant))
                end = await stream.run(requests, context.write)
                if end.reopen:
                    await context.write(_reopen(end.reopen))
            if end.code is not grpc.StatusCode.OK:
                raise Rejected(end.code, end.detail)

    @contextmanager
    def _admitted(self, terms: Terms) -> Iterator[Stream]:
        """A stream with its credit, until it ends. Rejected while draining, Full.

        Nothing is awaited between the checks and the entry in `_streams`, so that none escapes limit or drain.
        """
        self._check_room()
        frames = frames_for(terms.options.detail, self._settings.credit_frames)
        with self._budget.grant(frames, self._settings.credit_bytes, LEAST_CREDIT_BYTES) as grant:
            stream = Stream(terms, grant, self._scheduler, self._settings, self._metrics)
            renewal = End(reopen="connections are renewed from time to time")
            age = asyncio.get_running_loop().call_later(self._settings.stream_age_s, stream.end, renewal)
            self._streams.add(stream)
            self._metrics.streams.inc()
            if terms.resumed:
                self._metrics.resumed.inc()
            try:
                yield stream
            finally:
                age.cancel()
                self._streams.discard(stream)
                self._metrics.streams.dec()

    def _check_room(self) -> None:
        """Whether one more stream may open. Rejected while draining, Full."""
        self._check_not_draining()
        if len(self._streams) >= self._settings.streams:
            raise Full(f"{len(self._streams)} streams are open")

    def _opened(self, terms: Terms, principal: Principal, grant: Grant) -> bytes:
        opened = estimator_pb2.Opened(
            session=self._sessions.issue(principal.name, terms.stream, terms.drop_policy),
            credit=estimator_pb2.Credit(frames=grant.frames, bytes=grant.nbytes),
            model=self._replicas.model(terms.options.family, terms.options.version),
            resume_after=terms.resume_after,
        )
        return estimator_pb2.EstimateStreamResponse(opened=opened).SerializeToString()


def _reopen(reason: str) -> bytes:
    reopen = estimator_pb2.Reopen(reason=reason)
    return estimator_pb2.EstimateStreamResponse(reopen=reopen).SerializeToString()
