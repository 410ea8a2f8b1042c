"""What a job will do, pinned when it first starts: the model's version, the inputs as they are, the cut into chunks."""

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from segdepth_artefacts.manifest import Strict

_OUTSIDE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 80


class Model(Strict):
    """The version that answers every frame of the job, and the engine that runs it."""

    family: str
    version: str
    sha256: str
    engine: str


class Input(Strict):
    """A movie."""

    name: str = Field(description="of its part of the output; unique in the job")
    source: str = Field(description="path, s3:// address or upload")
    size_bytes: int
    tag: str = Field(description="changes with the file's content: the ETag in S3")
    frames: int = Field(ge=1)
    height: int
    width: int
    dtype: str = Field(description="of the pixels as the model gets them")
    sampling_A: float = Field(description="pixel size [Å/px]")
    chunk_frames: int = Field(ge=1)

    def chunks(self) -> Iterator["Chunk"]:
        """The movie's chunks, in order."""
        for number, first in enumerate(range(0, self.frames, self.chunk_frames)):
            yield Chunk(movie=self, number=number, first=first, frames=min(self.chunk_frames, self.frames - first))


class Chunk(Strict):
    """Frames `first` to `first + frames - 1` of a movie."""

    movie: Input
    number: int
    first: int
    frames: int

    @property
    def name(self) -> str:
        """The same for the same frames in every attempt."""
        return f"{self.movie.name}.{self.number:06d}"


class Plan(Strict):
    """plan.json of a job: written once, by the first driver; every later one follows it."""

    format: Literal[1] = 1
    job: str
    model: Model
    inputs: tuple[Input, ...] = Field(min_length=1)
    output: str
    maps: bool

    def chunks(self) -> Iterator[Chunk]:
        """All chunks, movie by movie."""
        for movie in self.inputs:
            yield from movie.chunks()

    @property
    def frames(self) -> int:
        """Of all movies."""
        return sum(movie.frames for movie in self.inputs)


def output_name(number: int, source: str) -> str:
    """A plain name for a movie's part of the output, that shows which movie it is: 0003-movie."""
    stem = source.rstrip("/").rpartition("/")[2].rpartition(".")[0]
    return f"{number:04d}-{_OUTSIDE.sub('_', stem)[:_LONGEST]}"


def chunk_frames(shape: tuple[int, int], itemsize: int, most_frames: int, most_bytes: int) -> int:
    """Frames of a chunk whose pixels (`itemsize` bytes each) and maps (5 bytes) fit into `most_bytes`."""
    return max(1, min(most_frames, most_bytes // (shape[0] * shape[1] * (itemsize + 5))))
