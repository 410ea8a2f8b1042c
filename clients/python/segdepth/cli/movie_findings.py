"""What `segdepth doctor` says of a file: all that is read of it, and what the model says of three of its frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segdepth.calibration import Options
from segdepth.cli.findings import Finding
from segdepth.cli.sampling import Sampling
from segdepth.client import Client
from segdepth.detector import Detector
from segdepth.errors import NotInstalled, SegDepthError, UnreadableFile
from segdepth.files import INSIDE, Movie, format_of
from segdepth.results import Check, FrameResult, Status

MARKS = {Status.OK: True, Status.SUSPECT: None, Status.REFUSED: False}

SEE_FILES, SEE_FRAMES = "see docs/files.md", "see docs/frames.md"

REMEDIES = {
    "sampling": "bin the frames, or check --sampling",
    "field": "record a larger field",
    "pixels": "leave such frames out",
    "recorded": "crop the movie to what all its frames have",
    "replaced": "name the bad pixels in a detector profile (--detector)",
    "saturation": "fewer electrons a frame; export as 16 bit without a stretch",
    "clipping": "export without a stretch",
    "noise": "hand over the camera's own frames; segdepth track puts them together",
    "smoothing": "hand over the camera's own frames, or state the mtf in a detector profile (--detector)",
    "black": "subtract the dark image, or state it in a detector profile (--detector)",
    "snr": "bin the movie in time, or segdepth track",
    "contrast": "a thinner specimen; an export without gamma or stretch",
    "lattice": "if it is the model's crystal: within 4 % --sampling auto-lattice, else check the magnification",
    "inverted": "check defocus and look-up table",
    "foreign": "another crystal, zone axis, tilt or defocus: no setting mends it",
    "family": "name the family (--model)",
}
"""What to do where a check is not ok; docs/frames.md has more."""

UNSTATED = "not in the file"

ANY_A = 0.1
"""A pixel size to look at a file with that has none [Å/px]; no frame is counted with it."""


@dataclass(frozen=True)
class Wanted:
    """How the movie is to be read and counted: as `segdepth estimate` would."""

    sampling: Sampling
    camera: Detector
    options: Options


def movie_findings(path: Path, wanted: Wanted, client: Client | None) -> Iterator[Finding]:
    """Lines about a file; without a client its frames are not counted.

    Whatever `segdepth estimate` would end at or refuse is a line that is not good. Raises InvalidFrame for a --sampling
    that is no number.
    """
    stated_A = wanted.sampling.stated_A()
    try:
        with wanted.camera.open_movie(path, stated_A) as movie:
            yield from _read(movie)
            yield _pixel_size(movie, wanted, client)
            yield from _frames(movie, wanted.options, client)
    except (UnreadableFile, NotInstalled) as error:
        known = [] if stated_A else list(_without_pixel_size(path, wanted))
        yield from known
        yield Finding("pixel size" if known else str(path), False, _without_path(path, error), SEE_FILES)


def _without_pixel_size(path: Path, wanted: Wanted) -> Iterator[Finding]:
    """What is read of a file that lacks nothing else; nothing of any other."""
    try:
        with wanted.camera.open_movie(path, ANY_A) as movie:
            yield from _read(movie)
    except (UnreadableFile, NotInstalled):
        return


def _read(movie: Movie) -> Iterator[Finding]:
    header = movie.header
    format_ = format_of(movie.path)
    assert format_ is not None
    yield Finding("file", True, f"{movie.path}{movie.inside}")
    yield Finding("format", True, f"{format_.name}, read by {format_.read_by}")
    height, width = movie.shape
    yield Finding("frames", True, f"{len(movie)} of {height} x {width} px, {movie.stored_dtype} sent as {movie.dtype}")
    calibration = movie.calibration
    facts = (
        ("beam energy", calibration.beam_energy_kev, "{:g} kV"),
        ("C3", calibration.spherical_aberration_um, "{:g} µm"),
        ("dose", calibration.dose_per_A2, "{:g} e/Å² a frame"),
        ("counts per electron", calibration.counts_per_electron, "{:g}"),
        ("black level", calibration.black_level, "{:g}"),
        ("start", header.start, "{:%Y-%m-%d %H:%M:%S%z}"),
        ("interval", header.interval_s, "{:g} s"),
    )
    known = [f"{name} {said.format(value)}" for name, value, said in facts if value is not None]
    unknown = [name for name, value, _ in facts if value is None]
    yield Finding("calibration", True, "; ".join(known + ([f"{UNSTATED}: {', '.join(unknown)}"] if unknown else [])))
    for note in header.notes:
        yield Finding("note", None, note, SEE_FILES)


def _pixel_size(movie: Movie, wanted: Wanted, client: Client | None) -> Finding:
    header, before_A = movie.header, movie.calibration.sampling_A
    of_file = UNSTATED if header.sampling_A is None else f"{header.sampling_A:g} from {header.source}"
    if wanted.sampling.by_lattice and client is not None:
        try:
            wanted.sampling.settle(client, movie, wanted.options)
        except SegDepthError as error:
            return Finding("pixel size", False, _without_path(movie.path, error), "state it (--sampling)")
        return Finding("pixel size", True, f"{movie.calibration.sampling_A:.5g} Å/px by the lattice, from {before_A:g}")
    if wanted.sampling.stated_A() is not None:
        return Finding("pixel size", True, f"{before_A:g} Å/px, as stated (--sampling); the file: {of_file}")
    return Finding("pixel size", True, f"{before_A:g} Å/px, from {header.source}")


def _frames(movie: Movie, options: Options, client: Client | None) -> Iterator[Finding]:
    if client is None:
        yield Finding("frames", None, "not counted: no model answers")
        return
    for index in sorted({0, len(movie) // 2, len(movie) - 1}):
        what = f"frame {index}"
        try:
            yield _verdict(what, client.estimate(movie.frame(index), movie.calibration, options))
        except UnreadableFile as error:
            yield Finding(what, False, _without_path(movie.path, error), SEE_FILES)
        except SegDepthError as error:
            yield Finding(what, False, str(error))


def _verdict(what: str, result: FrameResult) -> Finding:
    status, columns = result.domain.status, result.columns
    unsure = int(columns.abstained.sum())
    counted = f"{len(columns)} columns, {unsure} of them abstained, by {result.model}"
    reasons = [_reason(check) for check in result.domain.checks if check.status is not Status.OK]
    lines = [f"{status.value}: {counted}" if status is not Status.REFUSED else status.value, *reasons]
    names = dict.fromkeys(check.name for check in result.domain.checks if check.status is not Status.OK)
    remedies = [f"{name}: {REMEDIES.get(name, SEE_FRAMES)}" for name in names]
    return Finding(what, MARKS[status], "\n".join(lines), "\n".join(remedies))


def _reason(check: Check) -> str:
    said = f"{check.status.value}: {check.message or check.name} [value {check.value:.4g}"
    lower, upper = (None if bound is None else f"{bound:.4g}" for bound in check.bounds)
    # The service's own words end in the range that was left.
    if "; permitted " in said or (lower is None and upper is None):
        return f"{said} {check.unit}".rstrip() + "]"
    permitted = f"up to {upper}" if lower is None else f"from {lower}" if upper is None else f"{lower} to {upper}"
    return f"{said}, permitted {permitted} {check.unit}".rstrip() + "]"


def _without_path(path: Path, error: SegDepthError) -> str:
    return str(error).removeprefix(f"{str(path).partition(INSIDE)[0]}: ")
