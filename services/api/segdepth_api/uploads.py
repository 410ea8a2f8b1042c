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
from segdepth.files import SUFFIXES, Movie, open_movie
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
    """Frames to be estimated. `first` is the number of the first of them in the caller's movie."""

    movie: Movie | list[NDArray[Any]]
    calibration: Calibration
    first: int
    length: int

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
            with await asyncio.to_thread(_opened, path, query.sampling_A) as movie:
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
    if query.frame not in (None, 0):
        raise Problem(422, "invalid-frame", "a raw body is one frame, number 0", field="frame")
    image = np.frombuffer(body, dtype).reshape(query.height, query.width)
    return Upload([image], query.calibration(query.sampling_A), first=0, length=1)


async def _saved(request: Request, folder: Path) -> Path:
    async with request.form(max_files=1, max_fields=MOST_FIELDS) as form:
        _check_fields(name for name, value in form.multi_items() if isinstance(value, str))
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise Problem(422, "invalid-frame", "the form has no file of that name", field="file")
        # Of the caller's name only the format is taken; it never becomes a path.
        suffix = Path(file.filename or "").suffix.lower()
        if suffix not in SUFFIXES:
            raise Problem(415, "unsupported-media-type", f"there is {', '.join(SUFFIXES)}", field="file")
        path = folder / f"upload{suffix}"
        with path.open("wb") as target:
            await asyncio.to_thread(shutil.copyfileobj, file.file, target, 1024 * 1024)
    return path


def _check_fields(names: Iterable[str]) -> None:
    """A form has the file alone: what else stands in it must not be overlooked."""
    for name in names:
        if name in EstimateQuery.model_fields:
            detail = f"send it as a query parameter (?{name}=...); a form has the field `file` alone"
            raise Problem(422, "invalid-parameter", detail, field=name)
        if name != "file":
            known = ", ".join(EstimateQuery.model_fields)
            raise Problem(422, "invalid-parameter", f"unknown; as a query parameter there is {known}", field=name)


def _opened(path: Path, sampling_A: float | None) -> Movie:
    try:
        return open_movie(path, sampling_A)
    except (errors.UnreadableFile, errors.NotInstalled) as error:
        raise problem(_without_path(error, path)) from error


def _without_path(error: errors.SegDepthError, path: Path) -> errors.UnreadableFile:
    # The path is ours and the option is the command line's.
    return errors.UnreadableFile(str(error).removeprefix(f"{path}: ").replace("(--sampling)", "(sampling_A)"))


def _selected(movie: Movie, query: EstimateQuery, max_frames: int) -> Upload:
    calibration = query.calibration(movie.calibration.sampling_A)
    if query.frame is not None:
        if query.frame >= len(movie):
            raise Problem(422, "invalid-parameter", f"the movie has frames 0 to {len(movie) - 1}", field="frame")
        return Upload(movie, calibration, first=query.frame, length=1)
    if len(movie) > max_frames:
        detail = f"{len(movie)} frames; at most {max_frames} at once: send parts, or stream to the gateway"
        raise Problem(413, "too-many-frames", detail, field="file")
    return Upload(movie, calibration, first=0, length=len(movie))


async def _within(seconds: float, arriving: Coroutine[Any, Any, T]) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await arriving
    except TimeoutError:
        detail = f"the body did not arrive within {seconds:g} s"
        raise Problem(408, "request-timeout", detail, field="body", headers={"Connection": "close"}) from None
