"""`segdepth pva`: a camera on EPICS PV Access, counted live."""

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segdepth.calibration import Calibration, Options, Policy
from segdepth.cli import options as given
from segdepth.cli.console import ALL_REFUSED, ANSWERED, FAILED, err, errors_end_the_command, out, print_note
from segdepth.cli.live_results import Leaving, Results
from segdepth.cli.live_status import Service, ended_by_signals
from segdepth.cli.live_stream import Asked, count_live
from segdepth.cli.option_groups import with_option_groups
from segdepth.errors import CannotWrite, InvalidFrame
from segdepth.live.account import FrameAccount
from segdepth.live.frame_attributes import FORM, NAMES, SAMPLING, CalibrationAttributes
from segdepth.live.states import SourceState, disk_full
from segdepth.results import Status

if TYPE_CHECKING:
    from segdepth.live.pva import PvaSource

PANEL = "Camera"


@dataclass(frozen=True)
class Camera:
    """How the frames were taken, and how long to wait for them."""

    sampling: Annotated[
        float | None,
        typer.Option(
            metavar="Å",
            help=f"Pixel size at the specimen [Å/px]; without it that of the attribute {SAMPLING}.",
            rich_help_panel=PANEL,
        ),
    ] = None
    sampling_attribute: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:UNIT",
            help="The attribute of a frame that has its pixel size, with the unit: PixelSize:nm.",
            rich_help_panel=PANEL,
        ),
    ] = None
    dose: Annotated[
        float | None,
        typer.Option(metavar="E/Å²", help="Electrons per Å² in vacuum, per frame.", rich_help_panel=PANEL),
    ] = None
    counts_per_electron: Annotated[
        float | None,
        typer.Option(metavar="N", help="Detector counts for one electron.", rich_help_panel=PANEL),
    ] = None
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=NAME",
            help=f"The attribute of another field: {', '.join(NAMES)}. By default {', '.join(NAMES.values())}.",
            rich_help_panel=PANEL,
        ),
    ] = None
    detector: given.Profile = None
    patience: given.ChannelPatience = 10.0
    queue: Annotated[
        int,
        typer.Option(min=2, metavar="N", help="Frames that may wait in PV Access.", rich_help_panel=PANEL),
    ] = 64

    def attributes(self) -> CalibrationAttributes:
        """Which attributes to read. Raises InvalidFrame for a form that is none."""
        chosen: dict[str, Any] = {}
        for one in self.attribute or ():
            field, _, name = one.partition("=")
            if field not in NAMES or not name:
                raise InvalidFrame(f"--attribute {one}: FIELD=NAME is wanted, FIELD one of {', '.join(NAMES)}")
            chosen[field] = name
        attributes = CalibrationAttributes(**chosen)
        if self.sampling_attribute is None:
            return attributes
        if self.sampling is not None:
            raise InvalidFrame("--sampling and --sampling-attribute both say the pixel size; give one of them")
        try:
            return attributes.with_sampling(self.sampling_attribute)
        except InvalidFrame:
            raise InvalidFrame(f"--sampling-attribute {self.sampling_attribute}: {FORM}") from None

    def calibration(self) -> Calibration | None:
        """What is stated of every frame, where that is a pixel size."""
        if self.sampling is None:
            return None
        return Calibration(self.sampling)

    def stated(self) -> dict[str, float]:
        """What is stated besides the pixel size, by fields of a Calibration."""
        known = {"dose_per_A2": self.dose, "counts_per_electron": self.counts_per_electron}
        return {name: value for name, value in known.items() if value is not None}


@with_option_groups
def pva(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="NTNDArray channel, such as CAM1:Pva1:Image.")],
    connection: given.Connection,
    camera: Camera,
    results: Results,
    frames: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many frames.")] = None,
    policy: Annotated[
        Policy,
        typer.Option(help="When the service is slower: drop the oldest frame, or wait; then the channel loses frames."),
    ] = "drop_oldest",
    deadline: Annotated[
        float | None, typer.Option(min=0.001, metavar="S", help="A frame not answered after this long is dropped.")
    ] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Let interactive users go first.")] = False,
    model: given.Model = "",
    version: given.Version = "",
) -> None:
    """Count the atoms in the frames of a running camera, by EPICS PV Access.

    Where channels are looked for is EPICS' own matter: EPICS_PVA_ADDR_LIST,
    EPICS_PVA_AUTO_ADDR_LIST, EPICS_PVA_NAME_SERVERS.

    The pixel size is never guessed: it is --sampling, or in an attribute of each
    frame. Every frame is accounted for; Ctrl-C ends, once what is under way is
    answered.

    Exit status: 0 any frame answered, 3 all refused, 2 unusable input, 1 nothing came, or the service failed.

    Examples:

      segdepth pva CAM1:Pva1:Image --server 127.0.0.1:50051 --sampling 0.1

      segdepth pva CAM1:Pva1:Image --server 127.0.0.1:50051 --sampling-attribute PixelSize:nm --out results

      segdepth pva CAM1:Pva1:Image --server 127.0.0.1:50051 --sampling 0.1 --jsonl - | jq '.status // empty'

      segdepth pva CAM1:Pva1:Image --server 127.0.0.1:50051 --sampling 0.1 --publish LAB:Columns
    """
    with errors_end_the_command(), ExitStack() as stack:
        source = _source(channel, camera)
        leaving = stack.enter_context(Leaving(results, source.name, source.account))
        source.on_state, source.on_note = leaving.state, partial(print_note, source.name)
        stack.enter_context(source)
        stack.enter_context(ended_by_signals(source.close))
        service = Service()
        service.on_state = leaving.service
        options = Options(model, version, priority="batch" if batch else "interactive")
        try:
            count_live(
                connection,
                source,
                islice(source.frames(), frames),
                Asked(source.name, options, policy, deadline),
                lambda: _told(source),
                err() if results.take_stdout else out(),
                service=service,
                add=leaving.add,
            )
        except CannotWrite as error:
            if disk_full(error):
                with suppress(CannotWrite):
                    leaving.state(SourceState.DISK_FULL, str(error))
            raise
        finally:
            leaving.finish()
    raise typer.Exit(_exit_status(source.account))


def _source(channel: str, camera: Camera) -> "PvaSource":
    from segdepth.live.pva import PvaSource

    return PvaSource(
        channel,
        camera.calibration(),
        stated=camera.stated(),
        attributes=camera.attributes(),
        detector=given.detector(camera.detector),
        patience_s=camera.patience,
        queue_frames=camera.queue,
    )


def _told(source: "PvaSource") -> str:
    detail = f" ({source.detail})" if source.detail else ""
    return f"{source.name}, {source.state.value}{detail}"


def _exit_status(account: FrameAccount) -> int:
    if account.usable:
        return ANSWERED
    return ALL_REFUSED if account.answered[Status.REFUSED] else FAILED
