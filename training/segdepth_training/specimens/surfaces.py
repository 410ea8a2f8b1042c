"""Surfaces of specimens: for each point of the field, where the crystal begins and ends along the beam.

A surface maps positions x, y [Å] (arrays [columns]) to its entrance and exit height in periods along the beam;
a column whose exit is not above its entrance is vacuum.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segdepth_training.recipes.recipe import Specimens

Field = NDArray[np.float64]


class Heights(NamedTuple):
    """Entrance and exit of the crystal along the beam [periods], one of each for every column."""

    entrance: Field
    exit: Field


def thickness_range(rng: np.random.Generator, limits: Specimens) -> tuple[int, int]:
    """Thinnest and thickest column of a specimen [atoms]."""
    low, high = limits.atoms
    if rng.random() < limits.thick_share:
        high = limits.thick_atoms
    first, second = rng.integers(low, high + 1, 2)
    return int(min(first, second)), int(max(first, second))


def along(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Distance [Å] along a random direction, from a random origin: half of them along the lattice's own axes."""
    angle = float(rng.choice([0, np.pi / 2, 0.9553, -0.9553])) if rng.random() < 0.5 else rng.uniform(0, np.pi)
    return np.asarray(x * np.cos(angle) + y * np.sin(angle) + rng.uniform(0, 60))


def placed(rng: np.random.Generator, thickness: Field) -> Heights:
    """A thickness [periods] as heights: even about a plane, on a flat entrance, or under a flat exit."""
    place = rng.choice(["even", "even", "entrance", "exit"])
    entrance = {"even": -np.round(thickness) // 2, "entrance": 0 * thickness, "exit": -thickness}[str(place)]
    return Heights(entrance, entrance + thickness)


def flat(rng: np.random.Generator, x: Field, y: Field, limits: Specimens) -> Heights:  # noqa: ARG001
    """One thickness everywhere."""
    _, high = thickness_range(rng, limits)
    return placed(rng, np.full_like(x, high))


def sawtooth(rng: np.random.Generator, x: Field, y: Field, limits: Specimens) -> Heights:
    """A thickness that rises evenly and falls at once, again and again."""
    low, high = thickness_range(rng, limits)
    period_A = rng.uniform(12, 60)
    phase = along(rng, x, y) / period_A % 1
    if rng.random() < 0.4:
        phase = 2 * np.abs(phase - 0.5)
    return placed(rng, np.round(low + (high - low) * phase))


def stepped(rng: np.random.Generator, x: Field, y: Field, limits: Specimens) -> Heights:
    """Terraces with straight steps of one to three atoms; half of the specimens have a second set across."""
    low, high = thickness_range(rng, limits)
    thickness = np.zeros_like(x)
    for _ in range(rng.integers(1, 3)):
        edges = np.sort(rng.uniform(-20, 140, rng.integers(2, 14)))
        heights = np.cumsum(rng.choice([-3, -2, -1, 1, 2, 3], len(edges) + 1, p=[0.05, 0.1, 0.35, 0.35, 0.1, 0.05]))
        thickness += heights[np.searchsorted(edges, along(rng, x, y) + 20)]
    return placed(rng, np.clip(thickness + rng.integers(low, high + 1), low, high).astype(float))


def waves(rng: np.random.Generator, x: Field, y: Field, shortest_A: float) -> Field:
    """A smooth random function of unit variance: plane waves no shorter than `shortest_A` [Å]."""
    total = np.zeros_like(x)
    for _ in range(12):
        k = 2 * np.pi / rng.uniform(shortest_A, 6 * shortest_A)
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        total += np.cos(k * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    return np.asarray(total / np.sqrt(6))


def smooth(rng: np.random.Generator, x: Field, y: Field, limits: Specimens) -> Heights:
    """Entrance and exit that undulate independently, from gentle to rough."""
    low, high = thickness_range(rng, limits)
    middle, swing = (low + high) / 2, (high - low + 1) / 4
    shortest_A = rng.choice([6.0, 10.0, 18.0, 30.0])
    top = middle / 2 + swing * waves(rng, x, y, shortest_A)
    bottom = -middle / 2 - (swing * waves(rng, x, y, shortest_A) if rng.random() < 0.6 else 0 * x)
    return Heights(bottom, top)


def facets(frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit normals of {111}, {100}, {110} and {311} of a cubic crystal, along the unit axes in the rows of `frame`.

    `frame` is a view's `Projection.frame`: two axes in the image, the third along the beam.
    """
    indices = {
        tuple(sign * np.array(order))
        for family in ((1, 1, 1), (1, 0, 0), (1, 1, 0), (3, 1, 1))
        for order in {(family[i], family[j], family[k]) for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2))}
        for sign in np.array(np.meshgrid([1, -1], [1, -1], [1, -1])).T.reshape(-1, 3)
    }
    hkl = np.array(sorted(indices), float)
    hkl /= np.linalg.norm(hkl, axis=1)[:, None]
    return np.asarray(hkl @ frame.T)


def particle(rng: np.random.Generator, x: Field, y: Field, limits: Specimens, normals: NDArray[np.float64]) -> Heights:
    """One or two convex polyhedra of crystal facets at distances drawn anew: Wulff shapes and their truncations.

    x, y are along the crystal's axes, as `normals` [n, 3] of the facets are. Particles are squeezed along the beam to a
    random height; some are cut flat where they sit on a support.
    """
    entrance, exit_ = np.full_like(x, np.inf), np.full_like(x, -np.inf)
    most = limits.thick_atoms if rng.random() < limits.thick_share else limits.atoms[1]
    up, down, side = normals[:, 2] > 1e-6, normals[:, 2] < -1e-6, np.abs(normals[:, 2]) <= 1e-6
    for _ in range(rng.integers(1, 3)):
        height, size_A = rng.uniform(limits.atoms[0], most + 2), rng.uniform(10, 34)
        distance_A = size_A * rng.uniform(0.75, 1.25, len(normals))
        centre = rng.uniform(-16, 16, 2)
        room_A = distance_A - (x[:, None] - centre[0]) * normals[:, 0] - (y[:, None] - centre[1]) * normals[:, 1]
        periods_per_A = height / 2 / size_A
        top = (room_A[:, up] / normals[up, 2]).min(axis=1) * periods_per_A
        bottom = (room_A[:, down] / normals[down, 2]).max(axis=1) * periods_per_A
        if rng.random() < 0.4:
            bottom = np.maximum(bottom, -rng.uniform(0, 0.4) * height)
        inside = (room_A[:, side] > 0).all(axis=1) & (top > bottom)
        entrance = np.where(inside, np.minimum(entrance, bottom), entrance)
        exit_ = np.where(inside, np.maximum(exit_, top), exit_)
    vacuum = ~(exit_ > entrance)
    return Heights(np.where(vacuum, 0, entrance), np.where(vacuum, 0, exit_))


def islands(rng: np.random.Generator, x: Field, y: Field, limits: Specimens) -> Heights:
    """A flat base with islands and pits of one to three atoms on either side."""
    low, high = thickness_range(rng, limits)
    base = placed(rng, np.full_like(x, max(low, 2)))
    shift = {True: np.zeros_like(x), False: np.zeros_like(x)}
    for _ in range(rng.integers(2, 12)):
        centre, radius_A = rng.uniform(-28, 28, 2), rng.uniform(2, 14)
        stretch, angle = rng.uniform(1, 2), rng.uniform(0, np.pi)
        dx, dy = x - centre[0], y - centre[1]
        u, v = dx * np.cos(angle) + dy * np.sin(angle), (dy * np.cos(angle) - dx * np.sin(angle)) * stretch
        inside = np.hypot(u, v) < radius_A if rng.random() < 0.5 else np.maximum(np.abs(u), np.abs(v)) < radius_A
        shift[bool(rng.random() < 0.6)] += inside * rng.choice([-2, -1, 1, 1, 2, 3])
    room = high - max(low, 2) + 1
    return Heights(base.entrance - np.clip(shift[True], -1, room), base.exit + np.clip(shift[False], -1, room))


LAYERED: dict[str, Callable[[np.random.Generator, Field, Field, Specimens], Heights]] = {
    "flat": flat,
    "sawtooth": sawtooth,
    "stepped": stepped,
    "smooth": smooth,
    "islands": islands,
}
"""Surfaces that know nothing of the crystal but its columns."""

SURFACES = ("flat", "sawtooth", "stepped", "smooth", "particle", "islands")
"""All kinds; a store keeps a kind as its place here."""


def heights_of(
    kind: str, rng: np.random.Generator, x: Field, y: Field, limits: Specimens, frame: NDArray[np.float64]
) -> Heights:
    """A random surface of a kind; x, y [Å] are along the first two rows of `frame` (see `facets`)."""
    if kind == "particle":
        return particle(rng, x, y, limits, facets(frame))
    return LAYERED[kind](rng, x, y, limits)
