"""All commands: ours, and those that other packages add (entry point group `segdepth.commands`)."""

import typer

from segdepth.cli import batch, camera, doctor, estimate, models, pva, stream, track, watch
from segdepth.cli.plugins import Commands

app = typer.Typer(
    name="segdepth",
    cls=Commands,
    help="Atom counts per column from noisy high-resolution TEM frames.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("estimate")(estimate.estimate)
app.command("stream")(stream.stream)
app.command("track")(track.track)
app.command("watch")(watch.watch)
app.command("pva")(pva.pva)
app.command("camera")(camera.camera)
app.add_typer(models.app, name="models")
app.add_typer(batch.app, name="batch")
app.command("doctor")(doctor.doctor)
