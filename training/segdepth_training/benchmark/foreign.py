"""The benchmark's foreign crystals; no model was shown them before (see segdepth_training.specimens.foreign)."""

from segdepth_training.specimens.foreign import Foreign

CEO2_A = 5.4113
FOREIGN = {
    "zone-100": Foreign("CeO2", "fluorite", CEO2_A, (1, 0, 0)),
    "zone-111": Foreign("CeO2", "fluorite", CEO2_A, (1, 1, 1)),
    "gold-110": Foreign("Au", "fcc", 4.0782, (1, 1, 0)),
    "silicon-110": Foreign("Si", "diamond", 5.4309, (1, 1, 0)),
    "magnesia-100": Foreign("MgO", "rocksalt", 4.2112, (1, 0, 0)),
}
"""Lattice constants at room temperature [Å]: Wyckoff, Crystal Structures, 2nd ed."""
