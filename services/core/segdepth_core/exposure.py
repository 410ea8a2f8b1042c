"""What a camera recorded of a frame, and what it did not: read once, before anything else looks at the pixels.

Single pixels that were not recorded rightly (hot, dead, NaN) and lines of them are read from their neighbours. Regions
that were not recorded (padding after drift alignment, gaps between sensors, a beam stop) become vacuum with the frame's
own noise, and have no columns.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from segdepth_core.constant_regions import constant_regions, joined_3x3, thick
from segdepth_core.outliers import Image, Surroundings, outliers
from segdepth_core.piles import black_share, saturated_share
from segdepth_core.prediction import Array

MEAN_LIMITS = (1e-30, 1e30)
"""Mean intensity whose inverse is still a float32."""

POSITIVE = "it must be positive (is a background subtracted twice?)"

SMALLEST_PX = 16
"""Side of a frame from which its noise can be told."""

REACH_PX = 2
"""Neighbours up to this far away tell what a single pixel should have held."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Exposure:
    """A frame [height, width] as it may be looked at. Shares are of its pixels, 0-1."""

    shape: tuple[int, int]
    problem: str = ""
    """Why it is none at all; then the rest is empty."""
    intensity: Image | None = None
    """Pixels over the mean of those recorded."""
    recorded: float = 0.0
    replaced: float = 0.0
    masked: Mask | None = None
    """Pixels of regions that were not recorded; None = there are none."""
    saturated: float = 0.0
    black: float = 0.0
    """At the lowest value beyond what counting noise puts there."""
    mean_counts: float | None = None
    """Of the pixels recorded, where all hold whole numbers."""
    around: Surroundings | None = None
    sound: Mask | None = None
    """Which of `around` is of recorded pixels alone; None = all."""

    @classmethod
    def of(cls, frame: Array, black_level: float = 0.0) -> Self:
        """Read a frame of any real dtype, whose pixels without electrons hold `black_level`."""
        shape = (frame.shape[0], frame.shape[1])
        if min(shape) < SMALLEST_PX:
            return cls(shape, f"{shape[0]}x{shape[1]} px are too few to look at")
        missing = _missing(frame)
        seen = frame if missing is None else frame[~missing]
        mean, problem = _mean(seen, frame.size, black_level)
        if problem:
            return cls(shape, problem, recorded=seen.size / frame.size)
        image = np.multiply(frame, np.float32(1 / mean), dtype=np.float32)
        if black_level:
            image -= np.float32(black_level / mean)
        if missing is not None:
            image[missing] = 1
        found, around = outliers(image)
        if found.any():
            # A hot pixel hides what piles up below it, and may be all that makes a mean positive.
            seen = frame[~found] if missing is None else frame[~(found | missing)]
            _, problem = _mean(seen, frame.size, black_level)
            if problem:
                return cls(shape, problem, recorded=seen.size / frame.size)
        whole = cls(
            shape,
            intensity=image,
            recorded=1.0 if missing is None else 1 - int(missing.sum()) / frame.size,
            saturated=saturated_share(seen),
            black=black_share(seen, around.noise),
            mean_counts=mean if _is_whole(seen) else None,
            around=around,
        )
        if missing is None and not found.any():
            return whole
        masked = None if missing is None else thick(missing)
        single = found if missing is None or masked is None else (found | missing) & ~masked
        image, masked = _filled(image, single, masked, around.noise)
        return replace(
            whole,
            intensity=image,
            replaced=int(single.sum()) / frame.size,
            masked=masked if masked is not None and masked.any() else None,
            around=Surroundings.of(image),
            sound=~joined_3x3(single if masked is None else single | masked, np.logical_or),
        )


def _is_whole(seen: Array) -> bool:
    """Whether pixels are whole numbers; of other types than integers some tell."""
    some = seen.ravel()[:: max(1, seen.size // 1000)]
    return seen.dtype.kind in "iu" or bool((some == np.rint(some)).all())


def _missing(frame: Array) -> Mask | None:
    """Pixels that hold no number, or that are of constant regions; None if there are none."""
    missing = constant_regions(frame)
    if frame.dtype.kind != "f":
        return missing
    finite = np.isfinite(frame)
    if finite.all():
        return missing
    return ~finite if missing is None else missing | ~finite


def _mean(seen: Array, pixels: int, black_level: float) -> tuple[float, str]:
    """Mean of what was recorded over the black level, and why there is no picture in it; "" if there is."""
    if seen.size < 2:
        return 0.0, f"{pixels - seen.size} of {pixels} pixels are constant, NaN or infinite: an empty frame"
    mean = float(seen.mean(dtype=np.float64)) - black_level
    if seen.min() == seen.max():
        return mean, f"every pixel is {seen.flat[0]}: an empty frame"
    if not MEAN_LIMITS[0] <= mean <= MEAN_LIMITS[1]:
        over = f" over the black level of {black_level:g}" if black_level else ""
        right = f"it must be {MEAN_LIMITS[0]:g} to {MEAN_LIMITS[1]:g}" if mean > 0 else POSITIVE
        return mean, f"the mean intensity{over} is {mean:g}; {right}"
    return mean, ""


def _filled(image: Image, single: Mask, masked: Mask | None, noise: float) -> tuple[Image, Mask | None]:
    """The image, its single pixels read from their neighbours and its masked ones vacuum with noise, of mean 1 again.

    Of single pixels those without a neighbour are masked too.
    """
    image = image.copy()
    bad = single if masked is None else single | masked
    y, x = np.nonzero(single)
    total, count = np.zeros(len(y)), np.zeros(len(y))
    for dy in range(-REACH_PX, REACH_PX + 1):
        for dx in range(-REACH_PX, REACH_PX + 1):
            there = (y + dy >= 0) & (y + dy < image.shape[0]) & (x + dx >= 0) & (x + dx < image.shape[1])
            at = (np.where(there, y + dy, 0), np.where(there, x + dx, 0))
            good = there & ~bad[at]
            total += np.where(good, image[at], 0)
            count += good
    alone = count == 0
    image[y, x] = np.where(alone, 1, total / np.maximum(count, 1))
    if alone.any():
        masked = np.zeros_like(single) if masked is None else masked.copy()
        masked[y[alone], x[alone]] = True
    if masked is None:
        return image / np.float32(image.mean(dtype=np.float64)), None
    image /= np.float32(image[~masked].mean(dtype=np.float64))
    spread = np.float32(np.sqrt(noise))
    image[masked] = 1 + spread * _normal(image.shape)[masked]
    return image, masked


@lru_cache(maxsize=4)
def _normal(shape: tuple[int, int]) -> Image:
    """Normal noise of variance 1, always the same, so that an answer can be had again."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)
