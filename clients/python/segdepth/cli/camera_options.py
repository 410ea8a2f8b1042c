"""Options of `segdepth camera`: what it sees, and where its frames go."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from segdepth.camera import Camera, scene_names
from segdepth.camera.faults import Fault
from segdepth.errors import InvalidFrame

PICTURE, PLACE = "Picture", "Where frames go"

PVA_ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Picture:
    """What the camera sees, and how."""

    scene: Annotated[
        str, typer.Option(metavar="NAME", help=f"{', '.join(scene_names())}.", rich_help_panel=PICTURE)
    ] = "particle"
    dose: Annotated[float, typer.Option(metavar="e/Å²", help="Of a frame, in vacuum.", rich_help_panel=PICTURE)] = 200.0
    size: Annotated[int, typer.Option(metavar="PX", help="Width and height.", rich_help_panel=PICTURE)] = 256
    sampling: Annotated[float, typer.Option(metavar="Å", help="Pixel size [Å/px].", rich_help_panel=PICTURE)] = 0.1
    drift: Annotated[float, typer.Option(metavar="Å/s", help="Speed of drift.", rich_help_panel=PICTURE)] = 0.1
    hop_every: Annotated[
        float,
        typer.Option(
            metavar="S", help="Mean time between hops of columns in sight, 0 for none.", rich_help_panel=PICTURE
        ),
    ] = 2.0
    seed: Annotated[int, typer.Option(min=0, help="Draws drift, hops and noise.", rich_help_panel=PICTURE)] = 0

    def camera(self, fps: float, paced: bool) -> Camera:
        """A camera. Raises InvalidFrame."""
        return Camera(
            self.scene,
            dose=self.dose,
            fps=fps,
            size=self.size,
            sampling_A=self.sampling,
            drift_A_per_s=self.drift,
            hop_every_s=self.hop_every,
            seed=self.seed,
            paced=paced,
        )


@dataclass(frozen=True)
class Place:
    """Where frames go instead of a gateway."""

    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", metavar="DIR", help="Write MRC movies to a folder, each there when whole.", rich_help_panel=PLACE
        ),
    ] = None
    frames_per_file: Annotated[int, typer.Option(min=1, help="Of --dir.", rich_help_panel=PLACE)] = 100
    grow: Annotated[
        bool,
        typer.Option(
            "--grow", help="Movies of --dir are there from their first frame on and grow.", rich_help_panel=PLACE
        ),
    ] = False
    pva: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Serve an EPICS PV Access channel, NTNDArray.", rich_help_panel=PLACE),
    ] = None
    pva_address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Interface on which --pva is served.", rich_help_panel=PLACE)
    ] = PVA_ADDRESS
    fault: Annotated[
        Fault | None,
        typer.Option(
            help="What goes wrong with frame numbers, of --pva, or with frames, of --dir.", rich_help_panel=PLACE
        ),
    ] = None

    def check(self, server: str | None) -> None:
        """Raises InvalidFrame unless there is one place, and a fault is of a place that has it."""
        if self.folder is not None and self.pva is not None:
            raise InvalidFrame("--dir and --pva: one of them")
        if self.folder is None and self.pva is None:
            if server is None:
                raise InvalidFrame("name where frames go: --server HOST:PORT, --dir DIR or --pva NAME")
            if self.fault is not None:
                raise InvalidFrame(f"--fault {self.fault}: numbers of a stream must rise; it goes with --pva or --dir")
