"""What `segdepth estimate` writes, and where."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from segdepth.errors import InvalidFrame
from segdepth.export import DEFAULT_FORMATS, FORMATS, MovieExport, Request
from segdepth.files import INSIDE, Movie

PANEL = "Results"

PICTURES = 10


@dataclass(frozen=True)
class Outputs:
    """The options of the results."""

    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Folder for the results; without one only a summary.", rich_help_panel=PANEL
        ),
    ] = None
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help=f"Any of {','.join(FORMATS)}.", rich_help_panel=PANEL)
    ] = ",".join(DEFAULT_FORMATS)
    pictures: Annotated[
        int,
        typer.Option(
            min=0, help="Frames of each movie to draw, from its first; the format png.", rich_help_panel=PANEL
        ),
    ] = PICTURES
    period: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="Å",
            help="Distance of a column's atoms along the beam, for the format xyz; of ceo2-110 and au-110 it is known.",
            rich_help_panel=PANEL,
        ),
    ] = None

    def check(self, files: list[Path]) -> None:
        """Raises InvalidFrame for formats that there are not, and for results that would have the same names."""
        chosen = self.chosen
        unknown = [name for name in chosen if name not in FORMATS]
        if unknown or not chosen:
            raise InvalidFrame(f"--format {self.formats}: there is {','.join(FORMATS)}")
        stems = Counter(Path(str(path).partition(INSIDE)[0]).stem for path in files)
        twice = [stem for stem, count in stems.items() if count > 1]
        if self.out_dir is not None and twice:
            raise InvalidFrame(f"several files are called {', '.join(twice)}; their results would have the same names")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The formats, by name."""
        return tuple(part.strip() for part in self.formats.split(",") if part.strip())

    def export(self, movie: Movie, request: Request) -> MovieExport | None:
        """The files of a movie, where there is a folder for them."""
        if self.out_dir is None:
            return None
        return MovieExport(self.out_dir, movie, self.chosen, self.pictures, request=request, period_A=self.period)
