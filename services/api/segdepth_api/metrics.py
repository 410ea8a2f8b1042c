"""What the api counts. One registry for each application, so that two in a process do not mix."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Requests, their time, the frames in them, and those turned away."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "segdepth_api_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "segdepth_api_request_seconds",
            "Time from a request's headers to the last byte of its answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.frames = Counter(
            "segdepth_api_frames", "Frames answered, by domain status", ["status"], registry=self.registry
        )
        self.present = Gauge(
            "segdepth_api_requests_present", "Estimates at work or waiting for a place", registry=self.registry
        )
        self.turned_away = Counter(
            "segdepth_api_requests_turned_away", "Estimates for which there was no place", registry=self.registry
        )

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
