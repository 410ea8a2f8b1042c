"""Options that several commands have, and the client that they describe."""

from pathlib import Path
from typing import Annotated

import typer

import segdepth
from segdepth.client import Client
from segdepth.security import TLS

CONNECTION = "Connection"

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
Model = Annotated[
    str, typer.Option(metavar="FAMILY", help="Model family, by default the service's; auto = by lattice.")
]
Version = Annotated[str, typer.Option(help="Exact model version, by default what `stable` points at.")]


def open_client(
    server: str | None,
    token: str | None,
    tls: bool | None,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> Client:
    """A client of the server, or of the model in this process. Raises SegDepthError."""
    if server is None:
        return segdepth.connect("local")
    own = TLS(ca=ca, certificate=certificate, key=key)
    encrypted = own != TLS() if tls is None else tls
    return segdepth.connect(server, token=token, tls=own if encrypted else False)
