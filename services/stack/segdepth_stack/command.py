"""`segdepth serve`: the whole local stack in one command."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segdepth_stack.node_process import StackFailed
from segdepth_stack.ports import PortInUse
from segdepth_stack.settings import StackSettings
from segdepth_stack.stack import Stack

CHECK_S = 1.0
"""How soon a part that ended by itself is noticed [s]."""

Text = str | None
Number = int | None
File = Path | None


def serve(
    store: Annotated[
        Text, typer.Option(help="Folder or s3://bucket/prefix", show_default="the released model", metavar="STORE")
    ] = None,
    family: Annotated[Text, typer.Option(help="Model family to serve", show_default="the store's only one")] = None,
    port: Annotated[Number, typer.Option(help="Port of the gateway (gRPC); 0 = any", show_default="50051")] = None,
    http_port: Annotated[Number, typer.Option(help="Port of the api (HTTP); 0 = any", show_default="8080")] = None,
    metrics_port: Annotated[Number, typer.Option(help="Port of the gateway's metrics", show_default="9090")] = None,
    host: Annotated[Text, typer.Option(help="Address to listen at", show_default="127.0.0.1")] = None,
    replicas: Annotated[Number, typer.Option(min=1, help="Replicas of the model", show_default="1")] = None,
    tokens: Annotated[File, typer.Option(help="File of hashed tokens with their scopes", exists=True)] = None,
    tls_cert: Annotated[File, typer.Option(help="PEM certificate chain of gateway and api", exists=True)] = None,
    tls_key: Annotated[File, typer.Option(help="PEM private key of that certificate", exists=True)] = None,
    tls_client_ca: Annotated[File, typer.Option(help="PEM authorities of clients: mutual TLS", exists=True)] = None,
    api_cert: Annotated[File, typer.Option(help="PEM certificate of the api as a client", exists=True)] = None,
    api_key: Annotated[File, typer.Option(help="PEM private key of that certificate", exists=True)] = None,
    tls_ca: Annotated[File, typer.Option(help="PEM authority of that certificate", exists=True)] = None,
    batch: Annotated[Text, typer.Option(help="Folder or s3://bucket/prefix of batch jobs", metavar="STORE")] = None,
    insecure: Annotated[bool | None, typer.Option("--insecure", help="No TLS, no tokens beyond loopback")] = None,
) -> None:
    """Run gateway, model and HTTP api on this machine until Ctrl-C.

    What is not given here comes from SEGDEPTH_STACK_* variables.
    """
    options = {
        "store": store,
        "family": family,
        "port": port,
        "http_port": http_port,
        "metrics_port": metrics_port,
        "host": host,
        "replicas": replicas,
        "tokens": tokens,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "api_cert": api_cert,
        "api_key": api_key,
        "tls_ca": tls_ca,
        "batch": batch,
        "insecure": insecure,
    }
    console = Console(stderr=True)
    try:
        settings = StackSettings.model_validate({name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        for fault in error.errors():
            console.print(f"[red]{escape('.'.join(map(str, fault['loc'])) or 'options')}[/]: {escape(fault['msg'])}")
        raise typer.Exit(2) from None
    raise typer.Exit(run(settings, console))


def run(settings: StackSettings, console: Console) -> int:
    """Run the stack until a signal. The exit status: 0 after a signal, 1 if a part failed, 2 if a port is taken."""
    with console.status("starting") as status:
        stack = Stack(settings, progress=status.update)
        signals = Signals(stack)
        try:
            stack.start()
        except Interrupted:
            console.print("stopped before it was ready")
            return 0
        except PortInUse as error:
            console.print(f"[red]{escape(str(error.strerror))}[/]")
            return 2
        except StackFailed as error:
            console.print(f"[red]{escape(str(error))}[/]")
            return 1
    console.print(where(stack))
    failure = signals.wait()
    with console.status("answering what is under way; Ctrl-C again drops it"):
        stack.stop()
    console.print("stopped" if failure is None else f"[red]{escape(str(failure))}[/]")
    return 0 if failure is None else 1


class Interrupted(BaseException):
    """A signal before the stack was ready."""


class Signals:
    """Ctrl-C and SIGTERM: the first stops the stack in good order, the second at once."""

    def __init__(self, stack: Stack):
        self._stack = stack
        self._stop = threading.Event()
        self._waiting = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._received)

    def _received(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's signature
        if self._stop.is_set():
            self._stack.kill()
            return
        self._stop.set()
        if not self._waiting:
            raise Interrupted

    def wait(self) -> StackFailed | None:
        """Return after a signal, or with what failed if a part of the stack ends by itself."""
        self._waiting = True
        while not self._stop.wait(CHECK_S):
            try:
                self._stack.check()
            except StackFailed as error:
                self._stop.set()
                return error
        return None


def where(stack: Stack) -> Table:
    """Where everything listens."""
    table = Table("", "address", "try", title="SegDepth is ready", title_justify="left")
    table.add_row("gateway", stack.address, f"segdepth estimate movie.mrc --server {stack.address}")
    table.add_row("api", stack.http_url, f"{stack.http_url}/docs")
    table.add_row("metrics", stack.metrics_url, f"{stack.http_url}/metrics")
    return table
