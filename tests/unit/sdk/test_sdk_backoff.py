"""What is tried again waits as long as it should, however often it failed, and gives up when it should."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import numpy as np
import pytest

from segdepth import jobs
from segdepth.backoff import Backoff, Patience
from segdepth.errors import Overloaded, Unavailable
from segdepth.jobs import TRIES, BatchClient
from segdepth.streaming.entries import Entry
from segdepth.streaming.remote_carrier import RemoteCarrier
from segdepth.streaming.window import Window
from segdepth.streaming.wire import encode
from segdepth_protos.v1 import estimator_pb2 as pb
from segdepth_protos.v1 import frame_pb2
from tests.integration.sdk.service import Plan, serve

DOWN = Unavailable("down")


class Clock:
    """A clock that a test sets [s]."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


class TestPauses:
    def test_each_is_twice_the_one_before_up_to_the_longest(self):
        backoff = Backoff(0.1, 1.0)
        for longest_s in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
            assert longest_s / 2 <= backoff.pause_s(DOWN) <= longest_s

    @pytest.mark.parametrize("error", [DOWN, None])
    def test_after_thousands_of_failures_it_is_still_the_longest(self, error):
        backoff = Backoff(0.05, 5.0)
        pauses_s = [backoff.pause_s(error) for _ in range(2000)]
        assert all(2.5 <= pause_s <= 5.0 for pause_s in pauses_s[10:])

    def test_they_differ_from_client_to_client(self):
        assert len({Backoff(1.0, 1.0).pause_s(DOWN) for _ in range(20)}) > 1

    def test_a_first_pause_longer_than_the_longest_is_the_longest(self):
        assert Backoff(9.0, 1.0).pause_s(DOWN) <= 1.0

    def test_success_begins_anew(self):
        backoff = Backoff(0.1, 10.0)
        for _ in range(5):
            backoff.pause_s(DOWN)
        backoff.reset()
        assert backoff.pause_s(DOWN) <= 0.1

    @pytest.mark.parametrize("kind", [Overloaded, Unavailable])
    def test_no_shorter_than_the_server_asks(self, kind):
        backoff = Backoff(0.1, 1.0)
        assert backoff.pause_s(kind("full", retry_after_s=30.0)) == 30.0
        assert backoff.pause_s(kind("full", retry_after_s=0.001)) >= 0.1


class TestGivingUp:
    def test_after_the_last_try(self):
        backoff = Backoff(0.1, 1.0, tries=3)
        backoff.pause_s(DOWN)
        backoff.pause_s(DOWN)
        with pytest.raises(Unavailable, match="down"):
            backoff.pause_s(DOWN)

    def test_when_the_server_asks_for_longer_than_anyone_waits(self):
        with pytest.raises(Unavailable, match="an hour"):
            Backoff(0.1, 1.0).pause_s(Unavailable("an hour", retry_after_s=3600.0))

    def test_when_it_has_failed_for_too_long(self):
        clock = Clock()
        backoff = Backoff(0.1, 1.0, limit_s=10.0, clock=clock)
        clock.now_s = 10.0
        backoff.pause_s(DOWN)
        clock.now_s = 10.1
        with pytest.raises(Unavailable, match="down"):
            backoff.pause_s(DOWN)
        backoff.reset()
        backoff.pause_s(DOWN)

    def test_never_where_the_server_asks_to_come_again(self):
        clock = Clock()
        backoff = Backoff(0.1, 1.0, tries=1, limit_s=10.0, clock=clock)
        clock.now_s = 1000.0
        assert backoff.pause_s() <= 0.1


class Stream:
    """A stream of one frame to a real server; its pauses are written down instead of waited for."""

    def __init__(self, patience=None):
        self.patience = patience or Patience(first_connection_s=60, first_pause_s=0.01, longest_pause_s=0.05)
        self.pauses_s = []
        self.answers = []

    async def run(self, plan):
        server, port = await serve(plan)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.stream_stream(
                "/segdepth.v1.EstimatorService/EstimateStream",
                response_deserializer=pb.EstimateStreamResponse.FromString,
            )
            carrier = RemoteCarrier("server", call, self.patience, self._sleep)
            try:
                await carrier.carry(pb.Open(), self._window(), self._settle)
            finally:
                await server.stop(None)

    def _window(self):
        self.window = Window()
        head, pixels = encode(np.ones((8, 8), "u1"), 0, frame_pb2.Calibration(sampling_angstrom_per_px=0.1))
        self.window.offer(Entry(0, 0, head, pixels))
        self.window.end()
        return self.window

    async def _settle(self, answers):
        settled = self.window.settle(answers)
        self.answers += settled
        return bool(settled)

    async def _sleep(self, pause_s):
        self.pauses_s.append(pause_s)


class TestStream:
    async def test_waits_as_long_as_a_full_server_asks(self):
        stream = Stream()
        await stream.run(Plan(refuse_open=[grpc.StatusCode.RESOURCE_EXHAUSTED] * 3))
        assert stream.pauses_s == [0.25] * 3
        assert [answer.sequence for answer in stream.answers] == [0]

    async def test_pauses_as_its_patience_says(self):
        stream = Stream()
        await stream.run(Plan(refuse_open=[grpc.StatusCode.UNAVAILABLE] * 6))
        assert len(stream.pauses_s) == 6
        assert stream.pauses_s[0] <= 0.01
        assert 0.025 <= stream.pauses_s[-1] <= 0.05
        assert [answer.sequence for answer in stream.answers] == [0]

    async def test_gives_up_on_a_server_that_was_never_there(self):
        stream = Stream(Patience(first_connection_s=-1.0))
        with pytest.raises(Unavailable, match="server: as planned"):
            await stream.run(Plan(refuse_open=[grpc.StatusCode.UNAVAILABLE]))
        assert stream.pauses_s == []


class TestBatchJobs:
    @pytest.fixture
    def pauses_s(self, monkeypatch):
        pauses_s = []
        monkeypatch.setattr(jobs, "sleep", pauses_s.append)
        return pauses_s

    @pytest.fixture
    def api(self):
        """An api that is busy as often as its list says, with that Retry-After; the keys that it was sent."""

        class Api(BaseHTTPRequestHandler):
            busy, keys = [], []

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                self.keys.append(self.headers["idempotency-key"])
                retry_after = self.busy.pop(0) if self.busy else None
                answer = {"detail": "busy"} if retry_after else _job()
                body = json.dumps(answer).encode()
                self.send_response(503 if retry_after else 202)
                if retry_after:
                    self.send_header("Retry-After", retry_after)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Api)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        Api.url = f"http://127.0.0.1:{server.server_port}"
        yield Api
        server.shutdown()
        thread.join()
        server.server_close()

    def test_a_submission_waits_as_long_as_the_api_asks(self, api, pauses_s):
        api.busy += ["7", "9"]
        with BatchClient(api.url) as client:
            assert client.submit(["s3://movies/night"]).job == "batch-1"
        assert pauses_s == [7.0, 9.0]
        assert len(set(api.keys)) == 1
        assert len(api.keys) == 3

    def test_a_submission_is_given_up(self, api, pauses_s):
        api.busy += ["1"] * 10
        with BatchClient(api.url) as client, pytest.raises(Unavailable, match="busy"):
            client.submit(["s3://movies/night"])
        assert len(pauses_s) == TRIES - 1
        assert len(api.keys) == TRIES


def _job():
    numbers = ("frames_done", "frames_total", "chunks_done", "chunks_total", "frames_per_s")
    words = ("status", "message", "model", "output", "created", "principal")
    progress = {**dict.fromkeys(numbers, 0), "eta_s": None}
    return {**dict.fromkeys(words, ""), "job": "batch-1", "input": [], "progress": progress}
