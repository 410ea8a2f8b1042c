"""EstimatorService: one frame, or a stream of them."""

import asyncio
from collections.abc import AsyncIterator

import grpc

from segdepth_gateway import wire
from segdepth_gateway.auth import Authenticator, Principal, Scope
from segdepth_gateway.calls import Calls, Context, Rejected, remaining_s
from segdepth_gateway.credit import Budget, Full, Grant, frames_for
from segdepth_gateway.estimator import EstimateFailed
from segdepth_gateway.intake import Intake, priority_of
from segdepth_gateway.job import Job
from segdepth_gateway.metrics import Metrics
from segdepth_gateway.pack import refuse
from segdepth_gateway.replicas import Replicas
from segdepth_gateway.scheduler import Scheduler
from segdepth_gateway.session import Sessions
from segdepth_gateway.settings import GatewaySettings
from segdepth_gateway.stream import End, Stream, Terms
from segdepth_protos import contract
from segdepth_protos.contract import InvalidFrame, OutsideDomain
from segdepth_protos.v1 import estimator_pb2

LEAST_CREDIT_BYTES = contract.MESSAGE_BYTES
"""A stream with less could not send its largest frame."""

NAME = estimator_pb2.DESCRIPTOR.services_by_name["EstimatorService"].full_name


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
            self._permit(request.options, context)
            deadline_s = remaining_s(context, self._settings.unary_deadline_s)
            if self._draining:
                raise Rejected(grpc.StatusCode.UNAVAILABLE, "this gateway is about to stop; try again")
            if self._unary >= self._settings.unary_calls:
                raise Full(f"{self._unary} calls are under way")
            nbytes = len(request.frame.data)
            self._unary += 1
            try:
                with self._budget.grant(1, nbytes, nbytes):
                    return await self._answer(request, deadline_s)
            finally:
                self._unary -= 1
        raise AssertionError  # `answering` has ended the call

    def _permit(self, options: estimator_pb2.EstimateOptions, context: Context) -> Principal:
        principal = self._authenticator.principal(context.invocation_metadata())
        batch = priority_of(options) == estimator_pb2.PRIORITY_BATCH
        principal.require(Scope.BATCH if batch else Scope.ESTIMATE)
        return principal

    async def _answer(self, request: estimator_pb2.EstimateRequest, deadline_s: float) -> bytes:
        loop = asyncio.get_running_loop()
        frame = request.frame
        job = Job(frame.sequence, frame.sequence, len(frame.data), loop.time())
        job.sender = job
        job.priority = priority_of(request.options)
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
            opening = await self._opening(requests)
            principal = self._permit(opening.options, context)
            if self._draining:
                raise Rejected(grpc.StatusCode.UNAVAILABLE, "this gateway is about to stop; try again")
            if len(self._streams) >= self._settings.streams:
                raise Full(f"{len(self._streams)} streams are open")
            await self._replicas.check_model(opening.options.family, opening.options.version)
            wanted = frames_for(opening.options.detail, self._settings.credit_frames)
            with self._budget.grant(wanted, self._settings.credit_bytes, LEAST_CREDIT_BYTES) as grant:
                end = await self._stream(opening, principal, grant, requests, context)
            if end.code is not grpc.StatusCode.OK:
                raise Rejected(end.code, end.detail)

    async def _opening(self, requests: AsyncIterator[bytes]) -> estimator_pb2.Open:
        try:
            async with asyncio.timeout(self._settings.open_timeout_s):
                opening = wire.read_request(await anext(requests))
        except TimeoutError as error:
            raise TimeoutError(f"open: nothing came within {self._settings.open_timeout_s:g} s") from error
        except (StopAsyncIteration, wire.Malformed) as error:
            raise InvalidFrame("open", f"missing; a stream begins with it ({error})") from error
        if not isinstance(opening, estimator_pb2.Open):
            raise InvalidFrame("open", "missing; a stream begins with it, then come frames")
        return opening

    async def _stream(
        self,
        opening: estimator_pb2.Open,
        principal: Principal,
        grant: Grant,
        requests: AsyncIterator[bytes],
        context: Context,
    ) -> End:
        terms = self._terms(opening, principal, grant)
        calibration = opening.calibration if opening.HasField("calibration") else None
        stream = Stream(terms, Intake(opening.options, calibration), self._scheduler, self._metrics)
        loop = asyncio.get_running_loop()
        age = loop.call_later(
            self._settings.stream_age_s, stream.end, End(reopen="connections are renewed from time to time")
        )
        self._streams.add(stream)
        self._metrics.streams.inc()
        try:
            await context.write(self._opened(opening, principal, terms))
            end = await stream.run(requests, context.write)
            if end.reopen:
                reopen = estimator_pb2.Reopen(reason=end.reopen)
                await context.write(estimator_pb2.EstimateStreamResponse(reopen=reopen).SerializeToString())
            return end
        finally:
            age.cancel()
            self._streams.discard(stream)
            self._metrics.streams.dec()

    def _terms(self, opening: estimator_pb2.Open, principal: Principal, grant: Grant) -> Terms:
        if opening.session:
            session = self._sessions.check(opening.session, principal.name)
            if session.drop_policy != opening.drop_policy:
                raise InvalidFrame("open.drop_policy", "is not the one that the session began with")
            self._metrics.resumed.inc()
        elif opening.HasField("resume_after"):
            raise InvalidFrame("open.resume_after", "needs the session of the stream that is resumed")
        if opening.drop_policy not in estimator_pb2.DropPolicy.values():
            raise InvalidFrame("open.drop_policy", f"{opening.drop_policy} is unknown; send BLOCK or DROP_OLDEST")
        deadline_s = opening.frame_deadline.ToTimedelta().total_seconds()
        if opening.HasField("frame_deadline") and deadline_s <= 0:
            raise InvalidFrame("open.frame_deadline", f"{deadline_s:g} s is no time; leave it out for none")
        return Terms(
            options=opening.options,
            priority=priority_of(opening.options),
            live=opening.drop_policy == estimator_pb2.DROP_POLICY_DROP_OLDEST,
            frame_deadline_s=deadline_s if opening.HasField("frame_deadline") else None,
            resumed=bool(opening.session),
            resume_after=opening.resume_after if opening.HasField("resume_after") else None,
            grant=grant,
            live_frames=self._settings.live_frames,
            idle_timeout_s=self._settings.idle_timeout_s,
        )

    def _opened(self, opening: estimator_pb2.Open, principal: Principal, terms: Terms) -> bytes:
        opened = estimator_pb2.Opened(
            session=self._sessions.issue(principal.name, opening.stream, opening.drop_policy),
            credit=estimator_pb2.Credit(frames=terms.grant.frames, bytes=terms.grant.nbytes),
            model=self._replicas.model(opening.options.family, opening.options.version),
            resume_after=terms.resume_after,
        )
        return estimator_pb2.EstimateStreamResponse(opened=opened).SerializeToString()


LEAST_CREDIT_BYTES = 64 * 1024 * 1024
"""A stream with less could not send its largest frame."""
