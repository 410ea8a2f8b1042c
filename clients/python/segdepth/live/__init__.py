"""Frames that arrive while they are answered: sources, the account of their frames, and results that leave at once."""
