"""Damaged files: what a reader may do with one is to refuse it, or to read frames that are what the file now says."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from segdepth.errors import UnreadableFile
from segdepth.files import open_movie

MOST_FRAMES = 20
"""As many frames of a damaged file are read."""


def damaged(data: bytes, seed: int, cuts: int = 12, flips: int = 60) -> Iterator[bytes]:
    """`data` cut off at `cuts` places, then `flips` times with up to eight bytes of it changed, headers preferred."""
    rng = np.random.default_rng(seed)
    for length in rng.integers(0, len(data), cuts):
        yield data[:length]
    for number in range(flips):
        changed = bytearray(data)
        # Every other time where the header is.
        end = len(data) if number % 2 else min(len(data), 512)
        for place in rng.integers(0, end, rng.integers(1, 9)):
            changed[place] = rng.choice([0, 0x7F, 0x80, 0xFF, rng.integers(256)])
        yield bytes(changed)


def outcome(path: Path, sampling_A: float | None = 0.1) -> str:
    """What comes of a file: "read", or "refused" where that is a typed error. Any other error is the test's.

    Asserts of every frame that is read: the shape and type that the movie says.
    """
    try:
        with open_movie(path, sampling_A) as movie:
            for index in range(min(len(movie), MOST_FRAMES)):
                frame = movie.frame(index)
                assert frame.shape == movie.shape
                assert frame.dtype == movie.dtype
    except UnreadableFile:
        return "refused"
    return "read"
