"""All files of one movie, written while the answers come and published together."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from segdepth.calibration import Detail
from segdepth.errors import NotInstalled
from segdepth.export.atomic import AtomicFile, AtomicFolder, cannot_write
from segdepth.export.maps import TiffMaps
from segdepth.export.picture import png
from segdepth.export.program import Program, Request
from segdepth.export.summary import SummaryWriter
from segdepth.export.table import CsvTable
from segdepth.export.xyz import ModelAtoms
from segdepth.files import Movie
from segdepth.results import Answer, FrameResult

DEFAULT_FORMATS = ("csv", "tiff", "json", "png")
FORMATS = (*DEFAULT_FORMATS, "parquet", "zarr", "xyz", "python")

_MAPS = {"tiff", "png", "zarr"}


class Writer(Protocol):
    """One format."""

    def add(self, answer: Answer) -> None:
        """The next answer."""

    def finish(self) -> None:
        """No frame follows."""


class MovieExport:
    """Writes STEM.columns.csv, STEM.depth.tif, STEM.confidence.tif, STEM.summary.json and pictures into a folder.

    Other `formats`: STEM.columns.parquet, STEM.maps.zarr, STEM.model.xyz and STEM.py. Use `with`: at its end all files
    appear together; after an error none does. Answers come in order of their frames, which are numbered from 0. Nothing
    of the movie stays in memory. Raises CannotWrite; NotInstalled for a format whose library is not there.

    pictures: how many frames to draw, by default all; request: what was asked, for STEM.py; period_A: distance of a
    column's atoms along the beam [Å], for STEM.model.xyz of a family that is not released.
    """

    def __init__(
        self,
        folder: Path,
        movie: Movie,
        formats: tuple[str, ...] = DEFAULT_FORMATS,
        pictures: int | None = None,
        *,
        request: Request | None = None,
        period_A: float | None = None,
    ):
        self._folder, self._movie, self._formats = folder, movie, formats
        self._pictures_left = len(movie) if pictures is None else pictures
        self._request, self._period_A = request or Request(), period_A
        self._files: list[AtomicFile | AtomicFolder] = []
        self._writers: list[Writer] = []
        self._abandon: list[Callable[[], None]] = []

    @staticmethod
    def detail(formats: tuple[str, ...]) -> Detail:
        """What must be asked for to write these formats."""
        maps = not _MAPS.isdisjoint(formats)
        return Detail(depth_map=maps, confidence_map=maps)

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        try:
            self._writers += self._open()
        except BaseException:
            self._discard()
            raise
        return self

    def _open(self) -> Iterator[Writer]:
        movie, wanted = self._movie, self._formats
        if "csv" in wanted:
            yield CsvTable(self._file("columns.csv"))
        if "tiff" in wanted:
            yield TiffMaps(self._file("depth.tif"), self._file("confidence.tif"), movie)
        if "json" in wanted:
            yield SummaryWriter(self._file("summary.json"), movie.source)
        if "parquet" in wanted:
            yield self._parquet()
        if "zarr" in wanted:
            yield self._zarr()
        if "xyz" in wanted:
            yield ModelAtoms(self._file("model.xyz"), movie.shape, movie.calibration.sampling_A, self._period_A)
        if "python" in wanted:
            yield Program(self._file("py"), movie, self._request)

    def _parquet(self) -> Writer:
        try:
            from segdepth.export.parquet import ParquetTable
        except ImportError as error:
            raise NotInstalled("Parquet output needs: pip install 'segdepth[export]'") from error
        table = ParquetTable(self._file("columns.parquet"), self._about())
        self._abandon.append(table.abandon)
        return table

    def _zarr(self) -> Writer:
        try:
            from segdepth.export.ngff import ZarrMaps
        except ImportError as error:
            raise NotInstalled("Zarr output needs: pip install 'segdepth[export]'") from error
        folder = AtomicFolder(self._folder / f"{self._movie.path.stem}.maps.zarr")
        self._files.append(folder)
        tables = [
            name for name, wanted in (("columns.parquet", "parquet"), ("columns.csv", "csv")) if wanted in self._formats
        ]
        about: dict[str, Any] = {"source": f"{self._movie.path.name}{self._movie.inside}"}
        if tables:
            about["columns"] = f"../{self._movie.path.stem}.{tables[0]}"
        return ZarrMaps(folder, self._movie, about)

    def _about(self) -> dict[str, Any]:
        return {"source": self._movie.source, "sampling_A_per_px": self._movie.calibration.sampling_A}

    def _file(self, name: str) -> AtomicFile:
        file = AtomicFile(self._folder / f"{self._movie.path.stem}.{name}")
        self._files.append(file)
        return file

    def add(self, answer: Answer) -> None:
        """The next answer."""
        for writer in self._writers:
            writer.add(answer)
        if "png" in self._formats and self._pictures_left > 0 and isinstance(answer, FrameResult):
            self._pictures_left -= 1
            self._add_picture(answer)

    def _add_picture(self, result: FrameResult) -> None:
        digits = len(str(len(self._movie) - 1))
        name = "png" if len(self._movie) == 1 else f"{result.sequence:0{digits}d}.png"
        file = self._file(name)
        title = f"{self._movie.path.name} frame {result.sequence}"
        file.write(png(self._movie.frame(result.sequence), result, title))
        file.finish()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._discard()
            return
        try:
            for writer in self._writers:
                writer.finish()
            for file in self._files:
                file.publish()
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        for abandon in self._abandon:
            abandon()
        for file in self._files:
            file.discard()
