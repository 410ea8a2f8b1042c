"""Crystals as atoms: projections, surfaces, families of specimens, foreign crystals."""
