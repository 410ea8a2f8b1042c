"""Columns through time: where the specimen drifts, which column is which, and when its number of atoms changes."""

from segdepth.tracks.results import Change, TrackedColumns, TrackedFrame, TrackState
from segdepth.tracks.settings import Tracking
from segdepth.tracks.tracker import Tracker

__all__ = ["Change", "TrackState", "TrackedColumns", "TrackedFrame", "Tracker", "Tracking"]
