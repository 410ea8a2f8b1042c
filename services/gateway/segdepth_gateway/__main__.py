"""Tokens of a gateway.

python -m segdepth_gateway mint tokens.json station-3 --scope estimate
python -m segdepth_gateway revoke tokens.json station-3
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from segdepth_gateway import tokens
from segdepth_gateway.auth import Scope

app = typer.Typer(help="Tokens of a gateway. Gateways that run read the file again when it changes.")

File = Annotated[Path, typer.Argument(help="File of hashed tokens")]
Name = Annotated[str, typer.Argument(help="Whose token it is: shown in logs and in the history of channels")]


@app.command()
def mint(
    file: File,
    principal: Name,
    scope: Annotated[list[Scope], typer.Option(help="What it allows; may be given several times")],
    days: Annotated[float | None, typer.Option(help="How long it is valid [days]; for ever if not given")] = None,
) -> None:
    """Add a token to the file, and print it: this once, as the file holds its hash alone."""
    scopes = tuple(str(one) for one in scope)
    typer.echo(tokens.mint(file, principal, scopes, timedelta(days=days) if days is not None else None))


@app.command()
def revoke(file: File, principal: Name) -> None:
    """Remove all tokens of a principal."""
    removed = tokens.revoke(file, principal)
    typer.echo(f"{removed} removed")
    if not removed:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
