"""All files of one movie, written while the answers come and published together."""

from pathlib import Path
from types import TracebackType
from typing import Self

from segdepth.calibration import Detail
from segdepth.errors import CannotWrite
from segdepth.export.atomic import AtomicFile, cannot_write
from segdepth.export.maps import MapWriter, no_confidence, no_depth
from segdepth.export.picture import png
from segdepth.export.summary import SummaryWriter
from segdepth.export.table import CSV_HEADER, csv_rows
from segdepth.files import Movie
from segdepth.results import Answer, FrameResult

FORMATS = ("csv", "tiff", "json", "png")


class MovieExport:
    """Writes STEM.columns.csv, STEM.depth.tif, STEM.confidence.tif, STEM.summary.json and pictures into a folder.

    Use `with`: at its end all files appear together; after an error none does. Answers come in order of their frames,
    which are numbered from 0. Nothing of the movie stays in memory. Raises CannotWrite.
    """

    def __init__(self, folder: Path, movie: Movie, formats: tuple[str, ...] = FORMATS, pictures: int | None = None):
        self._folder, self._movie, self._formats = folder, movie, formats
        self._pictures_left = len(movie) if pictures is None else pictures
        self._files: list[AtomicFile] = []

    @staticmethod
    def detail(formats: tuple[str, ...]) -> Detail:
        """What must be asked for to write these formats."""
        maps = "tiff" in formats or "png" in formats
        return Detail(depth_map=maps, confidence_map=maps)

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        try:
            self._open()
        except BaseException:
            self._discard()
            raise
        return self

    def _open(self) -> None:
        pixels = len(self._movie) * self._movie.shape[0] * self._movie.shape[1]
        self._csv = self._file("columns.csv") if "csv" in self._formats else None
        self._depth = MapWriter(self._file("depth.tif"), pixels) if "tiff" in self._formats else None
        self._confidence = MapWriter(self._file("confidence.tif"), 4 * pixels) if "tiff" in self._formats else None
        self._summary = SummaryWriter(self._file("summary.json"), self._movie.path) if "json" in self._formats else None
        if self._csv:
            self._csv.write(CSV_HEADER.encode())

    def _file(self, name: str) -> AtomicFile:
        file = AtomicFile(self._folder / f"{self._movie.path.stem}.{name}")
        self._files.append(file)
        return file

    def add(self, answer: Answer) -> None:
        """The next answer."""
        if isinstance(answer, FrameResult):
            self._add_result(answer)
        else:
            for _ in range(len(answer)):
                self._add_maps(None)
        if self._summary:
            self._summary.add(answer)

    def _add_result(self, result: FrameResult) -> None:
        if self._csv:
            self._csv.write(csv_rows(result).encode())
        self._add_maps(result)
        if "png" in self._formats and self._pictures_left > 0:
            self._pictures_left -= 1
            self._add_picture(result)

    def _add_maps(self, result: FrameResult | None) -> None:
        shape, sampling_A = self._movie.shape, self._movie.calibration.sampling_A
        depth, confidence = (result.depth_map, result.confidence_map) if result else (None, None)
        if self._depth:
            self._depth.add(no_depth(shape) if depth is None else depth, sampling_A)
        if self._confidence:
            self._confidence.add(no_confidence(shape) if confidence is None else confidence, sampling_A)

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
            self._finish()
            for file in self._files:
                file.publish()
        except CannotWrite:
            self._discard()
            raise

    def _finish(self) -> None:
        if self._csv:
            self._csv.finish()
        for writer in (self._depth, self._confidence, self._summary):
            if writer:
                writer.finish()

    def _discard(self) -> None:
        for file in self._files:
            file.discard()
