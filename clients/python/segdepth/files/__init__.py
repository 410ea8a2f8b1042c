"""Movies from files, frame by frame, with the calibration of their header: MRC/MRCS, TIFF/OME-TIFF, NPY."""

from segdepth.files.movie import Header, Movie
from segdepth.files.open_movie import SUFFIXES, open_movie

__all__ = ["Header", "Movie", "open_movie", "SUFFIXES"]
