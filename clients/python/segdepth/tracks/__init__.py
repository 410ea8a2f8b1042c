"""Columns through time: where the specimen drifts, which column is which, and when its number of atoms changes."""
