"""What the simulated camera looks at: noise-free images of a specimen, made by `segdepth-train camera-scenes`."""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import InvalidFrame

SHIPPED = Path(__file__).with_name("scenes.npz")

MARGIN_A = 1.6
"""A field keeps this far from the cell's edge, where the other side's waves wrap around."""

ROWS, COLUMNS = 4, 128
"""Of a block of a product: with some 400 terms, fewer multiplications (2^18) than OpenBLAS begins a thread for."""


@dataclass(frozen=True, eq=False, repr=False)
class Scene:
    """A specimen in a periodic cell, some of whose columns can hop, each between two numbers of atoms.

    side_A: of the cell; base: its noise-free image [n, n], vacuum = 1; patches: what the hop of a column adds to it
    [hops, p, p], from row and column `corners` [hops, 2] on; xy_A [columns, 2], atoms, species [columns]: its columns,
    (0, 0) the centre of the image's first pixel; hopping: which columns hop [hops], and `by` how many atoms [hops].
    """

    name: str
    side_A: float
    base: NDArray[np.float32]
    patches: NDArray[np.float32]
    corners: NDArray[np.int64]
    xy_A: NDArray[np.float64]
    atoms: NDArray[np.int64]
    species: NDArray[np.int64]
    elements: tuple[str, ...]
    hopping: NDArray[np.int64]
    by: NDArray[np.int64]
    beam_energy_kev: float
    optics: dict[str, float]

    def image(self, hopped: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The image [n, n] of the specimen where `hopped` [hops] says which columns have hopped."""
        image = self.base.copy()
        size = self.patches.shape[1]
        for index in np.flatnonzero(hopped):
            row, column = self.corners[index]
            image[row : row + size, column : column + size] += self.patches[index]
        return image

    def counts(self, hopped: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Atoms of every column [columns] then."""
        counts = self.atoms.copy()
        counts[self.hopping] += np.where(hopped, self.by, 0)
        return counts

    def largest_drift_A(self, size: int, sampling_A: float) -> float:
        """By how much a field of `size` pixels can drift from the cell's middle; below 0 if it does not fit at all."""
        return (self.side_A - (size - 1) * sampling_A) / 2 - MARGIN_A

    def __repr__(self) -> str:
        return f"Scene({self.name!r}, columns={len(self.atoms)}, hopping={len(self.hopping)}, side_A={self.side_A:g})"


class Field:
    """The camera's field in the middle of a scene: `size` x `size` pixels of `sampling_A` [Å/px] that integrate.

    spread_px: standard deviation of the sensor's point spread, which blurs before electrons are counted [px]. The
    image is interpolated exactly (it is band-limited and periodic), so that the scene's own sampling does not show.
    Raises InvalidFrame for a field that the scene has no room for.
    """

    def __init__(self, scene: Scene, size: int, sampling_A: float, spread_px: float = 0.0):
        if not scene.largest_drift_A(size, sampling_A) >= 0:
            most = math.floor((scene.side_A - 2 * MARGIN_A) / sampling_A) + 1
            raise InvalidFrame(
                f"size: {size} px of {sampling_A:g} Å do not fit into scene {scene.name}; at most {most}", "size"
            )
        self.scene, self.size, self.sampling_A = scene, size, sampling_A
        self.first_A = (scene.side_A - (size - 1) * sampling_A) / 2
        """Where the first pixel's centre is without drift, along either axis."""
        n = len(scene.base)
        k = np.arange(n // 2 + 1) / scene.side_A
        passed = np.sinc(k * sampling_A) * np.exp(-2 * (np.pi * spread_px * sampling_A * k) ** 2)
        self._k, self._points = k, n
        # Some pixels more than are shown, for `_product`.
        pixels_A = self.first_A + np.arange(-(-size // ROWS) * ROWS) * sampling_A
        self._waves = (passed * np.exp(-2j * np.pi * pixels_A[:, None] * k)).astype(np.complex64)

    def expected(self, image: NDArray[np.float32], drift_A: tuple[float, float]) -> NDArray[np.float32]:
        """What an image of the scene [n, n] looks like in the field [size, size], vacuum = 1; drift_A: (x, y) by which
        the specimen is displaced."""
        across, down = self._interpolation(drift_A[0]), self._interpolation(drift_A[1])
        seen = _product(_product(down, image), np.ascontiguousarray(across.T))
        # Ringing of the interpolation cannot make a pixel of less than no electrons.
        return np.maximum(seen[: self.size, : self.size], 0)

    def positions_A(self, drift_A: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.float64]:
        """x, y of the scene's columns in the field [columns, 2]; (0, 0) is the centre of the first pixel."""
        return np.asarray(self.scene.xy_A - self.first_A + np.array(drift_A))

    def inside(self, xy_A: NDArray[np.float64], border_A: float) -> NDArray[np.bool_]:
        """Which positions [n, 2] are in the field and not within its border."""
        end_A = (self.size - 1) * self.sampling_A - border_A
        return np.asarray(((xy_A >= border_A) & (xy_A <= end_A)).all(axis=1))

    def _interpolation(self, drift_A: float) -> NDArray[np.float32]:
        """Matrix [size, n] from an image's samples along an axis to the field's pixels."""
        shifted = self._waves * np.exp(2j * np.pi * self._k * drift_A).astype(np.complex64)
        return np.fft.irfft(shifted, self._points, axis=1).astype(np.float32)


def _product(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """a @ b in blocks that BLAS does not share out to threads: they would go on spinning on the service's cores."""
    product = np.empty((len(a) // ROWS, ROWS, b.shape[1]), np.float32)
    rows = a.reshape(-1, ROWS, a.shape[1])
    for start in range(0, b.shape[1], COLUMNS):
        np.matmul(rows, b[:, start : start + COLUMNS], out=product[:, :, start : start + COLUMNS])
    return product.reshape(len(a), -1)


def scene_names() -> tuple[str, ...]:
    """The scenes that there are."""
    return tuple(_about()["scenes"])


@cache
def load_scene(name: str) -> Scene:
    """A scene by its name. InvalidFrame for one that there is not."""
    about = _about()
    if name not in about["scenes"]:
        raise InvalidFrame(f"scene: {name!r} is unknown; one of {', '.join(about['scenes'])}", "scene")
    with np.load(SHIPPED, allow_pickle=False) as parts:
        columns = parts[f"{name}.columns"].astype(np.float64)
        hops = parts[f"{name}.hops"].astype(np.int64)
        return Scene(
            name=name,
            side_A=float(about["side_A"]),
            base=parts[f"{name}.base"].astype(np.float32) + 1,
            patches=parts[f"{name}.patches"].astype(np.float32),
            corners=parts[f"{name}.corners"].astype(np.int64),
            xy_A=columns[:, :2],
            atoms=columns[:, 2].astype(np.int64),
            species=columns[:, 3].astype(np.int64),
            elements=tuple(about["elements"]),
            hopping=hops[:, 0],
            by=hops[:, 1],
            beam_energy_kev=float(about["energy_keV"]),
            optics=about["scenes"][name]["optics"],
        )


@cache
def _about() -> dict[str, Any]:
    with np.load(SHIPPED, allow_pickle=False) as parts:
        about: dict[str, Any] = json.loads(str(parts["about"]))
    return about
