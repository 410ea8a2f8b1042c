"""Does the service count as the model does? A short movie through the gateway, and through the same model here.

    python -m segdepth_stack.selftest --server gateway:50051 --ca ca.crt

The token comes from SEGDEPTH_TOKEN, the model from the store of SEGDEPTH_STORE_*. Ends with 1 and says what differs
unless every frame is answered, in order, with the very counts that the model gives in this process. The movie is
simulated: CeO2 [110] at 500-2000 e/Å².
"""

import os
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

import segdepth
from segdepth.results import FrameResult

MOVIE = Path(__file__).with_name("selftest.npz")


def main(
    server: Annotated[str, typer.Option(help="host:port of the gateway.")],
    ca: Annotated[Path | None, typer.Option(help="PEM authority of its certificate; implies TLS.", exists=True)] = None,
    cert: Annotated[Path | None, typer.Option(help="PEM certificate of this client (mutual TLS).", exists=True)] = None,
    key: Annotated[Path | None, typer.Option(help="PEM key of that certificate.", exists=True)] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often the movie is played.")] = 4,
    patience_s: Annotated[float, typer.Option(help="How long to wait for a gateway that answers [s].")] = 120,
) -> None:
    """Stream the movie, estimate it locally with the model that answered, compare."""
    console = Console(width=120)
    shipped = np.load(MOVIE)
    movie, sampling_A = list(shipped["frames"]) * rounds, float(shipped["sampling_A"])
    tls = segdepth.TLS(ca=ca, certificate=cert, key=key) if ca else False
    patience = segdepth.Patience(first_connection_s=patience_s)
    started = time.monotonic()
    try:
        with segdepth.connect(server, token=os.environ.get("SEGDEPTH_TOKEN"), tls=tls, patience=patience) as client:
            served = list(client.stream(movie, sampling_A, name="selftest"))
        seconds = time.monotonic() - started
        version = version_of(served)
        with segdepth.connect("local", model=f"{version.family}/{version.version}", store=store()) as client:
            local = list(client.stream(movie, sampling_A))
        differs = differences(served, local)
    except (segdepth.SegDepthError, ValueError) as error:
        console.print(f"[red]failed:[/] {error}")
        raise typer.Exit(1) from None
    if differs:
        console.print(f"[red]failed:[/] {len(differs)} of {len(movie)} frames differ: {'; '.join(differs[:5])}")
        raise typer.Exit(1)
    columns = sum(len(answer.columns) for answer in served if isinstance(answer, FrameResult))
    console.print(
        f"ok: {len(movie)} frames in {seconds:.1f} s, {columns} columns,"
        f" each as {version.family} {version.version} ({version.engine}) counts it in this process"
    )


def store() -> str | None:
    """The store of the environment, None for the model that ships."""
    return os.environ.get("SEGDEPTH_STORE_URL") or None


def version_of(answers: list[segdepth.Answer]) -> segdepth.ModelVersion:
    """The one model that answered. ValueError if there is none, or more than one."""
    versions = {answer.model for answer in answers if isinstance(answer, FrameResult)}
    if len(versions) != 1:
        raise ValueError(f"{len(versions)} models answered one short movie: {versions or answers[:1]}")
    return versions.pop()


def differences(served: list[segdepth.Answer], local: list[segdepth.Answer]) -> list[str]:
    """What differs, in words, frame by frame."""
    words = []
    for number, (here, there) in enumerate(zip(local, served, strict=True)):
        if not (isinstance(there, FrameResult) and isinstance(here, FrameResult)):
            words.append(f"frame {number}: not answered ({there})")
        elif there.sequence != number:
            words.append(f"frame {number}: out of order, {there.sequence} came")
        elif there.domain.status != here.domain.status:
            words.append(f"frame {number}: {there.domain.status.value} instead of {here.domain.status.value}")
        elif not np.array_equal(there.columns.count, here.columns.count):
            words.append(f"frame {number}: {len(there.columns)} columns, {len(here.columns)} here, or other counts")
    return words


if __name__ == "__main__":
    typer.run(main)
