"""Batch jobs over HTTP: who may, from where to where, and what carries them out."""
