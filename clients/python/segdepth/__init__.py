"""Atom counts per column from noisy high-resolution TEM frames: SDK and command line."""
