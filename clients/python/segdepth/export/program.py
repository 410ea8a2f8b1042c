"""STEM.py: the program that makes STEM.columns.csv again, from the movie and with the model's exact version."""

import dataclasses
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

from segdepth.calibration import Options
from segdepth.export.atomic import AtomicFile
from segdepth.files import Movie
from segdepth.models import ModelVersion
from segdepth.results import Answer, FrameResult
from segdepth.security import TLS
from segdepth_protos.contract import AUTO


@dataclass(frozen=True)
class Request:
    """What was asked, and of whom.

    server: host:port, None for the model in this process; tls: as `segdepth.connect` takes it; token: whether one was
    sent (it is never written down); detector: the profile that corrected the frames.
    """

    options: Options = field(default_factory=Options)
    server: str | None = None
    tls: TLS | bool = False
    token: bool = False
    detector: Path | None = None


class Program:
    """Writes the program when the models that answered are known. Raises CannotWrite."""

    def __init__(self, file: AtomicFile, movie: Movie, request: Request):
        self._file, self._movie, self._request = file, movie, request
        self._models: list[ModelVersion] = []

    def add(self, answer: Answer) -> None:
        """The next answer."""
        if isinstance(answer, FrameResult) and answer.model not in self._models:
            self._models.append(answer.model)

    def finish(self) -> None:
        """No frame follows."""
        self._file.write(program(self._movie, self._request, self._models).encode())
        self._file.finish()


def program(movie: Movie, request: Request, models: list[ModelVersion]) -> str:
    """The program's text. What a file or a server says is in it as literals only."""
    options = _options(request.options, models)
    return _PROGRAM.substitute(
        segdepth=version("segdepth"),
        environment="import os\n" if request.token else "",
        names=_names(request),
        movie=ascii(f"{movie.path.resolve()}{movie.inside}"),
        sampling=ascii(movie.calibration.sampling_A),
        reader="" if request.detector else _READER,
        open_movie=_opened(request.detector),
        options=_call(Options, options),
        answered="".join(f"# {f'{model.family} {model.version}'!a} sha256 {model.sha256!a}\n" for model in models),
        note="" if options.version else _NOT_PINNED,
        connect=_connect(request),
    )


def _options(asked: Options, models: list[ModelVersion]) -> Options:
    """The exact version where one model answered all; which of several answered a frame, no version can say."""
    if len(models) != 1 or asked.model == AUTO:
        return Options(asked.model, asked.version)
    return Options(models[0].family, models[0].version)


def _connect(request: Request) -> str:
    if request.server is None:
        return "segdepth.connect()"
    parts = [ascii(request.server)]
    if request.token:
        parts.append('token=os.environ["SEGDEPTH_TOKEN"]')
    if isinstance(request.tls, TLS):
        parts.append(f"tls={_call(TLS, request.tls)}")
    elif request.tls:
        parts.append("tls=True")
    return f"segdepth.connect({', '.join(parts)})"


def _names(request: Request) -> str:
    """What the program imports of segdepth."""
    used = (("TLS", isinstance(request.tls, TLS)), ("Detector", request.detector is not None), ("Options", True))
    return ", ".join(name for name, needed in used if needed)


def _opened(detector: Path | None) -> str:
    return f"Detector.load({str(detector.resolve())!a}).open_movie" if detector else "open_movie"


def _call(kind: type[Any], value: Any) -> str:
    """How to make a dataclass again: the fields that differ from their default."""
    said = []
    for each in dataclasses.fields(kind):
        given = getattr(value, each.name)
        default = each.default_factory() if callable(each.default_factory) else each.default
        if given != default:
            # A file is found from any folder.
            said.append(f"{each.name}={str(given.resolve()) if isinstance(given, Path) else given!a}")
    return f"{kind.__name__}({', '.join(said)})"


_READER = "from segdepth.files import open_movie\n"

_NOT_PINNED = """\
# Not of one version: several models answered (or --model auto chose one for each frame), and what is stable by then
# answers again.
"""

_PROGRAM = Template('''\
"""Makes the table of columns again; written by segdepth $segdepth. Run: python THIS_FILE [FOLDER]"""

${environment}import sys
from pathlib import Path

import segdepth
from segdepth import $names
from segdepth.export import MovieExport
${reader}
MOVIE = $movie
SAMPLING_A = $sampling
${answered}${note}OPTIONS = $options
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "again")

with (
    $connect as client,
    $open_movie(MOVIE, SAMPLING_A) as movie,
    MovieExport(FOLDER, movie, ("csv",)) as table,
    client.stream(movie, movie.calibration, OPTIONS) as answers,
):
    for answer in answers:
        table.add(answer)
print(FOLDER / f"{movie.path.stem}.columns.csv")
''')
