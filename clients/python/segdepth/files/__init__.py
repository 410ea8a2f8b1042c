"""Movies from files, frame by frame, with the calibration of their header: by the end of their name."""

from segdepth.files.formats import FORMATS, INSIDE, PICTURES, SINGLE, SUFFIXES, Format, format_of
from segdepth.files.movie import Header, Movie
from segdepth.files.open_movie import open_movie

__all__ = [
    "Header",
    "Movie",
    "open_movie",
    "Format",
    "format_of",
    "FORMATS",
    "SUFFIXES",
    "PICTURES",
    "SINGLE",
    "INSIDE",
]
