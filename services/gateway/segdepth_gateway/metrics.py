"""What operators watch. Exposed for Prometheus, each gateway with a registry of its own."""

from collections.abc import Mapping
from functools import partial
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, start_http_server

from segdepth_protos.v1 import estimator_pb2

PRIORITY_NAMES: dict[int, str] = {
    estimator_pb2.PRIORITY_INTERACTIVE: "interactive",
    estimator_pb2.PRIORITY_BATCH: "batch",
}
REASON_NAMES: dict[int, str] = {
    number: name.removeprefix("GAP_REASON_").lower() for name, number in estimator_pb2.GapReason.items() if number
}
STAGE_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
PREFIX = "segdepth_gateway_"
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters, gauges and histograms of one gateway."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.received = Counter(f"{PREFIX}frames_received", "Frames that came in", ["call"], registry=own)
        self.answered = Counter(f"{PREFIX}frames_answered", "Frames answered with a result", ["call"], registry=own)
        self.gaps = Counter(f"{PREFIX}frames_unanswered", "Frames without a result", ["reason"], registry=own)
        self.rejected = Counter(f"{PREFIX}calls_rejected", "Calls ended by an error", ["method", "code"], registry=own)
        self.retries = Counter(f"{PREFIX}batch_retries", "Micro-batches sent again, their replica lost", registry=own)
        self.streams = Gauge(f"{PREFIX}streams", "Streams that are open", registry=own)
        self.resumed = Counter(f"{PREFIX}streams_resumed", "Streams that go on with an earlier one", registry=own)
        self.granted = Gauge(f"{PREFIX}granted_bytes", "Bytes that callers may have under way", registry=own)
        self.replicas = Gauge(f"{PREFIX}replicas", "Replicas that run", registry=own)
        self.ready = Gauge(f"{PREFIX}ready", "1 while a model answers", registry=own)
        self.model = Info(f"{PREFIX}model", "The model that answers", registry=own)
        self.problem = Gauge(f"{PREFIX}model_problem", "1 while a channel's model fails", ["problem"], registry=own)
        self._queue = Gauge(f"{PREFIX}queue_frames", "Frames that wait for a replica", ["priority"], registry=own)
        self._size = Histogram(f"{PREFIX}batch_frames", "Frames of a micro-batch", buckets=BATCH_BUCKETS, registry=own)
        stage = Histogram(f"{PREFIX}stage_seconds", "Time in a stage", ["stage"], buckets=STAGE_BUCKETS_S, registry=own)
        self._in_queue = stage.labels("queue")
        self._at_replica = stage.labels("replica")
        self._total = stage.labels("total")
        for reason in REASON_NAMES.values():
            self.gaps.labels(reason)

    def watch_queue(self, waiting: Mapping[int, int]) -> None:
        """Read the queue's depth, by priority, whenever somebody looks."""
        for priority, name in PRIORITY_NAMES.items():
            self._queue.labels(name).set_function(partial(_depth, waiting, priority))

    def batch(self, frames: int, queue_s: float, replica_s: float) -> None:
        """A micro-batch came back; its oldest frame had waited `queue_s` [s]."""
        self._size.observe(frames)
        self._in_queue.observe(queue_s)
        self._at_replica.observe(replica_s)

    def pack(self, total_s: float) -> None:
        """Answers left; the oldest had come `total_s` ago [s]."""
        self._total.observe(total_s)

    def gap(self, reason: int, frames: int) -> None:
        """Frames were answered without a result."""
        self.gaps.labels(REASON_NAMES[reason]).inc(frames)

    def serve(self, host: str, port: int) -> WSGIServer:
        """Expose them over HTTP. OSError if the port is in use."""
        server, _ = start_http_server(port, host, self.registry)
        return server


def _depth(waiting: Mapping[int, int], priority: int) -> float:
    return float(waiting[priority])
