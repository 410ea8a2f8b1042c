"""Which of several datasets of a file is the movie."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segdepth.errors import UnreadableFile
from segdepth.files.axes import Layout

LISTED = 20
"""As many datasets are named in an error."""


@dataclass(frozen=True)
class Dataset:
    """An array in a file: `layout` if it is a movie, else `refusal`, what it is instead. `title`: for people."""

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: Layout | None = None
    refusal: str = ""
    title: str = ""

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        return f"::{self.path} {size} {self.dtype}" + (f" ({self.title})" if self.title else "")


def chosen(datasets: Sequence[Dataset], path: str) -> tuple[Dataset, Layout]:
    """The dataset at `path`, by default the only movie.

    Raises UnreadableFile: none at `path`, several movies (the message lists them), or something else than a movie.
    """
    movies = [dataset for dataset in datasets if dataset.layout is not None]
    if path:
        datasets = [dataset for dataset in datasets if dataset.path.strip("/") == path.strip("/")]
        if not datasets:
            raise UnreadableFile(f"no dataset {path}; {_there(movies)}")
    elif len(movies) > 1:
        raise UnreadableFile(f"holds {len(movies)} movies or images, say which: {_there(movies)}")
    elif movies:
        datasets = movies
    if not datasets:
        raise UnreadableFile("holds no array of numbers")
    dataset = max(datasets, key=lambda each: np.prod(each.shape, dtype=float))
    if dataset.layout is None:
        raise UnreadableFile(dataset.refusal)
    return dataset, dataset.layout


def _there(movies: Sequence[Dataset]) -> str:
    if not movies:
        return "there is no movie in the file"
    more = f" and {len(movies) - LISTED} more" if len(movies) > LISTED else ""
    return "there is " + ", ".join(map(str, movies[:LISTED])) + more
