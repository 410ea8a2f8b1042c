"""The pixel size of `segdepth estimate`: the header's, a stated one, or what the movie's own lattice implies."""

import math
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.markup import escape

from segdepth.calibration import Options
from segdepth.cli.console import err
from segdepth.client import Client
from segdepth.errors import InvalidFrame
from segdepth.files import Movie
from segdepth.lattice import NoLattice, corrected, lattice_sampling

BY_LATTICE = "auto-lattice"

SAMPLING_DIFFERS = 0.01
"""Relative difference from the header's sampling that is worth a word."""


@dataclass(frozen=True)
class Sampling:
    """What the command line says of the pixel size."""

    sampling: Annotated[
        str | None,
        typer.Option(
            metavar="Å|auto-lattice",
            help="Pixel size at the specimen [Å/px], instead of the header's; or what the movie's own lattice implies.",
        ),
    ] = None
    sampling_about: Annotated[
        float | None,
        typer.Option(
            metavar="Å",
            help="With --sampling auto-lattice: roughly the pixel size [Å/px], for a file without one, such as NPY.",
        ),
    ] = None

    @property
    def by_lattice(self) -> bool:
        """Whether the lattice shall correct it."""
        return self.sampling == BY_LATTICE

    def stated_A(self) -> float | None:
        """What is said instead of the header's [Å/px]. Raises InvalidFrame for what is no number."""
        if self.by_lattice:
            return self.sampling_about
        if self.sampling_about is not None:
            raise InvalidFrame(
                f"--sampling-about {self.sampling_about:g} is where --sampling {BY_LATTICE} begins; add that, or state"
                " the pixel size (--sampling)",
                "sampling",
            )
        try:
            return None if self.sampling is None else float(self.sampling)
        except ValueError:
            raise InvalidFrame(
                f"--sampling {self.sampling}: a pixel size in Å/px, or {BY_LATTICE}", "sampling"
            ) from None

    def check_live(self) -> None:
        """Raises InvalidFrame where the lattice shall give the pixel size of frames that are still to come."""
        if self.by_lattice:
            raise InvalidFrame(
                f"--sampling {BY_LATTICE} needs the whole movie, and this source still runs: measure it on one of its"
                f" files (segdepth doctor FILE --server HOST:PORT), and state it in Å/px (--sampling)",
                "sampling",
            )

    def settle(self, client: Client, movie: Movie, options: Options) -> None:
        """Say where the pixel size used is not the header's, and correct it by the lattice where that is asked for.

        Raises NoLattice, with the file's name.
        """
        if not self.by_lattice:
            _compare(movie)
            return
        try:
            found = lattice_sampling(client, movie, options)
        except NoLattice as error:
            raise NoLattice(f"{movie.path}: {error}", error.field) from error
        doubt = "" if math.isnan(found.uncertainty_A) else f" ± {found.uncertainty_A:.1g}"
        before = f"where {movie.calibration.sampling_A:g} is stated"
        _note(movie, f"the lattice implies {found.sampling_A:.5g}{doubt} Å/px ({found.frames} frames), {before}; the"
                     " former is used")  # fmt: skip
        corrected(movie, found)


def _compare(movie: Movie) -> None:
    header, used = movie.header.sampling_A, movie.calibration.sampling_A
    if header is not None and abs(header - used) > SAMPLING_DIFFERS * used:
        _note(movie, f"--sampling {used:g} Å/px is used, its header says {header:g}")


def _note(movie: Movie, text: str) -> None:
    err().print(f"[yellow]note:[/] {escape(f'{movie.path}: {text}')}")
