"""Options that several commands have, and the client that they describe."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

import segdepth
from segdepth.backoff import Patience
from segdepth.cli.console import errors_end_the_command
from segdepth.client import Client
from segdepth.detector import Detector
from segdepth.files import FORMATS
from segdepth.security import TLS
from segdepth.streaming.outages import OnOutage

CONNECTION = "Connection"

FILES = f"{', '.join(each.name for each in FORMATS)}, by the end of the name; FILE::/path names a dataset in one."

Server = Annotated[
    str | None,
    typer.Option(
        envvar="SEGDEPTH_SERVER",
        metavar="HOST:PORT",
        help="Gateway to ask. Without one the model runs in this process.",
        rich_help_panel=CONNECTION,
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="SEGDEPTH_TOKEN",
        help="Who asks. Better in the environment: others can read a command line.",
        rich_help_panel=CONNECTION,
    ),
]
UseTls = Annotated[
    bool | None,
    typer.Option(
        "--tls/--no-tls",
        help="Encrypt the connection, or not; by default only with one of the certificates below.",
        show_default=False,
        rich_help_panel=CONNECTION,
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option(
        envvar="SEGDEPTH_CA",
        metavar="PEM",
        help="Certificates to trust (implies --tls).",
        rich_help_panel=CONNECTION,
    ),
]
Certificate = Annotated[
    Path | None,
    typer.Option(
        envvar="SEGDEPTH_CERTIFICATE",
        metavar="PEM",
        help="This client's certificate (implies --tls).",
        rich_help_panel=CONNECTION,
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(envvar="SEGDEPTH_KEY", metavar="PEM", help="The key of --certificate.", rich_help_panel=CONNECTION),
]
Sampling = Annotated[
    float | None,
    typer.Option(metavar="Å", help="Pixel size at the specimen [Å/px], instead of the header's."),
]
Profile = Annotated[
    Path | None,
    typer.Option(
        "--detector",
        metavar="TOML",
        help="Profile of the camera: its section \\[camera] names dark, gain, bad pixels, MTF, counts per electron.",
    ),
]
Settle = Annotated[
    float,
    typer.Option(min=0.1, metavar="S", help="A file in DIR that has not changed for so long is complete, or damaged."),
]
Once = Annotated[bool, typer.Option("--once", help="End when all that is in DIR is complete.")]
ChannelPatience = Annotated[
    float, typer.Option("--patience", min=0.1, metavar="S", help="How long to wait for a channel that is not there.")
]
Model = Annotated[
    str,
    typer.Option(metavar="FAMILY", help="Model family, of an instrument FAMILY@PROFILE; auto = by lattice."),
]
Version = Annotated[str, typer.Option(help="Exact model version, by default what `stable` points at.")]


def detector(profile: Path | None) -> Detector:
    """The detector of a profile; without one, a detector of which nothing is known. Raises UnreadableFile."""
    return Detector() if profile is None else Detector.load(profile)


@dataclass(frozen=True)
class Connection:
    """How to reach the server, or the model in this process."""

    server: Server = None
    token: Token = None
    tls: UseTls = None
    ca: Ca = None
    certificate: Certificate = None
    key: Key = None

    def open(self, patience: Patience | None = None, on_outage: OnOutage | None = None) -> Client:
        """A client; patience: of its streams with a server that goes away; on_outage: told of that.

        Raises SegDepthError.
        """
        if self.server is None:
            return segdepth.connect("local")
        return segdepth.connect(
            self.server, token=self.token, tls=self.security(), patience=patience, on_outage=on_outage
        )

    def security(self) -> TLS | bool:
        """How to encrypt the connection, False for not at all."""
        own = TLS(ca=self.ca, certificate=self.certificate, key=self.key)
        encrypted = own != TLS() if self.tls is None else self.tls
        return own if encrypted else False

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client whose errors end the command."""
        with errors_end_the_command(), self.open() as client:
            yield client
