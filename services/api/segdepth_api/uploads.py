"""The frames of a request: an uploaded file, or the bytes of one raw frame."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from starlette.datastructures import UploadFile

from segdepth import Calibration, errors
from segdepth.files import INSIDE, SINGLE, Movie, format_of, open_movie
from segdepth_api.faults import problem
from segdepth_api.problems import Problem
from segdepth_api.query import EstimateQuery
from segdepth_api.settings import ApiSettings

T = TypeVar("T")

FORM, RAW = "multipart/form-data", "application/octet-stream"

MOST_FIELDS = 32
"""Of a form, so that a misplaced one can be named."""


@dataclass(frozen=True)
class Upload:
    """Frames to be estimated. `first` is the number of the first of them in the caller's movie.

    notes: what the caller should know of how the file was read.
    """

    movie: Movie | list[NDArray[Any]]
    calibration: Calibration
    first: int
    length: int
    notes: tuple[str, ...] = ()

    def frame(self, index: int) -> NDArray[Any]:
        """Frame [height, width], counted from `first`. Reads the file: not for the event loop."""
        movie = self.movie
        if isinstance(movie, list):
            return movie[index]
        try:
            return movie.frame(self.first + index)
        except errors.UnreadableFile as error:
            raise _without_path(error, movie.path) from error

    def frames(self) -> Iterator[NDArray[Any]]:
        """All of them, read one by one."""
        return (self.frame(index) for index in range(self.length))


@asynccontextmanager
async def received(request: Request, query: EstimateQuery, settings: ApiSettings) -> AsyncIterator[Upload]:
    """Read the body, as far as it is permitted to go. Problem 408, 413, 415 or 422 for one that will not do."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == RAW:
        yield _raw(await _within(settings.upload_timeout_s, request.body()), query)
    elif kind == FORM:
        with tempfile.TemporaryDirectory(prefix="segdepth-api-") as folder:
            path = await _within(settings.upload_timeout_s, _saved(request, Path(folder)))
            with await asyncio.to_thread(_opened, path, query) as movie:
                yield _selected(movie, query, settings.max_frames)
    else:
        raise Problem(
            415,
            "unsupported-media-type",
            f"send {FORM} with a file in the field `file`, or {RAW} with the bytes of one frame",
            field="Content-Type",
            headers={"Accept-Post": f"{FORM}, {RAW}"},
        )


def _raw(body: bytes, query: EstimateQuery) -> Upload:
    for field in ("sampling_A", "height", "width", "dtype"):
        if getattr(query, field) is None:
            raise Problem(422, "invalid-frame", "a raw frame needs it as a query parameter", field=field)
    assert query.height is not None
    assert query.width is not None
    assert query.sampling_A is not None
    dtype = query.raw_dtype()
    need = query.height * query.width * dtype.itemsize
    if len(body) != need:
        detail = f"{len(body)} bytes, but {query.height}x{query.width} {query.dtype} has {need}"
        raise Problem(422, "invalid-frame", detail, field="body")
    if query.dataset:
        raise Problem(422, "invalid-parameter", "a raw body is one frame, without datasets", field="dataset")
    if query.frame not in (None, 0):
        raise Problem(422, "invalid-frame", "a raw body is one frame, number 0", field="frame")
    image = np.frombuffer(body, dtype).reshape(query.height, query.width)
    return Upload([image], query.calibration(Calibration(query.sampling_A)), first=0, length=1)


async def _saved(request: Request, folder: Path) -> Path:
    async with request.form(max_files=1, max_fields=MOST_FIELDS) as form:
        _check_fields(name for name, value in form.multi_items() if isinstance(value, str))
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise Problem(422, "invalid-frame", "the form has no file of that name", field="file")
        # Of the caller's name only the format is taken; it never becomes a path.
        suffix = Path(file.filename or "").suffix.lower()
        check_single(f"upload{suffix}", "file")
        path = folder / f"upload{suffix}"
        with path.open("wb") as target:
            await asyncio.to_thread(shutil.copyfileobj, file.file, target, 1024 * 1024)
    return path


def check_single(name: str, field: str) -> None:
    """Problem 415, of the request's `field`, for the name of a file that alone is no movie."""
    if Path(name).suffix.lower() in SINGLE:
        return
    known = format_of(Path(name))
    detail = known.instead if known else f"there is {', '.join(SINGLE)}"
    raise Problem(415, "unsupported-media-type", detail, field=field)


def _check_fields(names: Iterable[str]) -> None:
    """A form has the file alone: what else stands in it must not be overlooked."""
    for name in names:
        if name in EstimateQuery.model_fields:
            detail = f"send it as a query parameter (?{name}=...); a form has the field `file` alone"
            raise Problem(422, "invalid-parameter", detail, field=name)
        if name != "file":
            known = ", ".join(EstimateQuery.model_fields)
            raise Problem(422, "invalid-parameter", f"unknown; as a query parameter there is {known}", field=name)


def _opened(path: Path, query: EstimateQuery) -> Movie:
    name = f"{path}{INSIDE}{query.dataset}" if query.dataset else path
    try:
        return open_movie(name, query.sampling_A)
    except (errors.UnreadableFile, errors.NotInstalled) as error:
        raise problem(_without_path(error, path)) from error


def _without_path(error: errors.SegDepthError, path: Path) -> errors.UnreadableFile:
    # The path is ours and the options are the command line's.
    said = str(error).removeprefix(f"{path}: ").replace("(--sampling)", "(sampling_A)")
    said = said.replace(", or roughly (--sampling auto-lattice --sampling-about)", "")
    return errors.UnreadableFile(said.replace("say which:", "say which (dataset):").replace(INSIDE, ""))


def _selected(movie: Movie, query: EstimateQuery, max_frames: int) -> Upload:
    calibration, notes = query.calibration(movie.calibration), movie.header.notes
    if query.frame is not None:
        if query.frame >= len(movie):
            raise Problem(422, "invalid-parameter", f"the movie has frames 0 to {len(movie) - 1}", field="frame")
        return Upload(movie, calibration, first=query.frame, length=1, notes=notes)
    if len(movie) > max_frames:
        detail = f"{len(movie)} frames; at most {max_frames} at once: send parts, or stream to the gateway"
        raise Problem(413, "too-many-frames", detail, field="file")
    return Upload(movie, calibration, first=0, length=len(movie), notes=notes)


async def _within(seconds: float, arriving: Coroutine[Any, Any, T]) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await arriving
    except TimeoutError:
        detail = f"the body did not arrive within {seconds:g} s"
        raise Problem(408, "request-timeout", detail, field="body", headers={"Connection": "close"}) from None
