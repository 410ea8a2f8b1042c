"""S3 endpoints and lines to them that misbehave, as real servers on loopback."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Careless(BaseHTTPRequestHandler):
    """Stores what it is sent and gives it back; which conditions it ignores, its server says."""

    protocol_version = "HTTP/1.1"
    server: "CarelessServer"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.path.partition("?")[0]
        present, swap = self.server.objects.get(key), self.headers.get("If-Match")
        if (
            ("If-None-Match" in self.headers and self.server.honours_create and present is not None)
            or (swap and self.server.honours_swap and (present is None or etag(present) != swap))
            or (swap and self.server.never_swaps)
        ):
            self._answer(412)
        else:
            self.server.objects[key] = body
            self._answer(200, ETag=etag(body))

    def do_GET(self) -> None:
        body = self.server.objects.get(self.path.partition("?")[0])
        if body is None:
            error = b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"
            self._answer(404, error, **{"Content-Type": "application/xml"})
        else:
            self._answer(200, body, ETag=etag(body))

    def do_DELETE(self) -> None:
        self.server.objects.pop(self.path.partition("?")[0], None)
        self._answer(204)

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


class CarelessServer(ThreadingHTTPServer):
    """An S3 endpoint without signatures, that honours the conditions it is told to."""

    daemon_threads = True

    def __init__(self, *, honours_create: bool = True, honours_swap: bool = True, never_swaps: bool = False):
        super().__init__(("127.0.0.1", 0), Careless)
        self.objects: dict[str, bytes] = {}
        self.honours_create, self.honours_swap, self.never_swaps = honours_create, honours_swap, never_swaps


def etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


@contextmanager
def careless(**behaviour: bool) -> Iterator[CarelessServer]:
    """A CarelessServer that runs."""
    server = CarelessServer(**behaviour)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent() -> Iterator[str]:
    """A port that accepts connections and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=100)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def line_to(
    endpoint: str,
    *,
    on_sent: Callable[[int], None] = lambda _: None,
    lose_answers: Callable[[bytes], bool] = lambda _: False,
) -> Iterator[str]:
    """A line to a server, at another port.

    `on_sent` is told how many bytes each connection has carried to the server; where `lose_answers` finds something
    in a request, the server gets it whole but the connection is cut before the answer.
    """
    host, port = endpoint.split(":")

    def carry(near: socket.socket) -> None:
        with near, socket.create_connection((host, int(port))) as far:
            threading.Thread(target=back, args=(far, near), daemon=True).start()
            sent, lost = 0, False
            with suppress(OSError):
                while piece := near.recv(65536):
                    lost = lost or lose_answers(piece)
                    if lost:
                        losing.add(near)
                    far.sendall(piece)
                    sent += len(piece)
                    on_sent(sent)
            with suppress(OSError):  # a close alone would wait for `back`, and the server for the rest of the request
                far.shutdown(socket.SHUT_RDWR)

    def back(far: socket.socket, near: socket.socket) -> None:
        with suppress(OSError):
            while piece := far.recv(65536):
                if near in losing:
                    near.shutdown(socket.SHUT_RDWR)
                    return
                near.sendall(piece)
            near.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=carry, args=(listener.accept()[0],), daemon=True).start()

    losing: set[socket.socket] = set()
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
