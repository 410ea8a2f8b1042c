"""Movies from files, frame by frame, with the calibration of their header: by the end of their name."""

from segdepth.files.movie import Header, Movie
from segdepth.files.open_movie import COMPANIONS, FOLDERS, PICTURES, SUFFIXES, open_movie

__all__ = ["Header", "Movie", "open_movie", "SUFFIXES", "PICTURES", "COMPANIONS", "FOLDERS"]
