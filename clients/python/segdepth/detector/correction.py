"""Frames as they would be with a detector that has neither dark current nor gain variation nor bad pixels."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.arguments import checked, image_array, number
from segdepth.calibration import Calibration, as_calibration
from segdepth.detector.bad_pixels import BadPixels
from segdepth.detector.profile import read_camera
from segdepth.errors import InvalidFrame, UnreadableFile
from segdepth.files import Movie, open_movie
from segdepth.files.open_movie import check_size
from segdepth_protos.piles import PILE, top_pile


@dataclass(frozen=True, eq=False, repr=False)
class Detector:
    """What is known of a detector; whatever is not known is left out.

    dark: what each pixel reads without a beam [counts], an image [height, width] or one number; gain: an image of an
    even beam, dark subtracted, which frames are divided by once its mean is 1 (pixels of it that are not positive are
    bad ones); counts_per_electron: detector counts for one incident electron; modulation_transfer: from zero frequency
    to Nyquist's, evenly spaced; black_level: what a pixel reads that no electron reached [counts], where no `dark` says
    so; names: of the images, for messages.

    Raises InvalidFrame for images of different shapes, for a dark together with a black level, for numbers that cannot
    be; InvalidType.
    """

    dark: NDArray[Any] | float | None = None
    gain: NDArray[Any] | None = None
    bad_pixels: BadPixels = field(default_factory=BadPixels)
    counts_per_electron: float | None = None
    modulation_transfer: tuple[float, ...] | None = None
    black_level: float | None = None
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked(self.bad_pixels, BadPixels, "bad_pixels", "a BadPixels")
        for name, image in (("dark", self.dark), ("gain", self.gain), ("bad_pixels", self.bad_pixels.mask)):
            if name == "dark" and isinstance(image, int | float):
                number(image, name)
            elif image is not None:
                checked(image, np.ndarray, name, "an array [height, width]")
        if self.black_level is not None and (self.dark is not None or self.gain is not None):
            raise InvalidFrame(
                "black_level: is for frames that are not corrected; state it as `dark`, which is subtracted before the"
                " gain divides",
                "black_level",
            )
        shapes = {name: image.shape for name, image in self._images.items()}
        for name, shape in shapes.items():
            if len(shape) != 2:
                raise InvalidFrame(f"{self._named(name)}: an array of shape {shape} is not one image", name)
            first = next(iter(shapes))
            if shape != shapes[first]:
                raise InvalidFrame(
                    f"{self._named(name)} has {_px(shape)}, {self._named(first)} {_px(shapes[first])}; they must be of"
                    " one detector, binned alike",
                    name,
                )
        # Made now, so that what is wrong with them is said before the first frame; of any pixel size.
        _ = self._scale, self.shape and self._bad(self.shape), self.calibration(0.1).message()

    @classmethod
    def load(cls, path: str | Path) -> "Detector":
        """The detector of a profile: a TOML file with a section [camera], see docs/examples/detector.toml.

        UnreadableFile for what cannot be read, unknown keys of [camera] and images that do not fit each other.
        """
        checked(path, (str, Path), "path", "the name of a detector's profile")
        try:
            return cls(**read_camera(Path(path)))
        except (InvalidFrame, UnreadableFile) as error:
            raise UnreadableFile(f"{path}: {error}") from error

    @property
    def shape(self) -> tuple[int, int] | None:
        """(height, width) of its images [px], None if it has none."""
        return next((image.shape for image in self._images.values()), None)

    def correct(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """A frame [height, width], f32: dark subtracted, divided by the gain, bad pixels NaN.

        Saturated pixels stay what they are: the highest value, all the same. Raises InvalidFrame for what is no frame
        and for one of another shape than the detector's images.
        """
        raw = image_array(image)
        if raw.ndim != 2 or raw.dtype.kind not in "uif":
            raise InvalidFrame(f"frame: an array {raw.shape} of {raw.dtype} is not one frame [height, width]", "frame")
        self.check_shape(raw.shape)
        corrected = raw.astype(np.float32)
        if self.dark is not None:
            corrected -= np.asarray(self.dark, np.float32)
        if self._scale is not None:
            corrected *= self._scale
        corrected[self._bad(raw.shape)] = np.nan
        top = _saturated(raw)
        if top is not None and np.isfinite(corrected).any():
            corrected[top & np.isfinite(corrected)] = np.nanmax(corrected)
        return corrected

    def corrects(self, shape: tuple[int, int]) -> bool:
        """Whether `correct` changes frames of that shape [px] at all."""
        dark = np.any(0 if self.dark is None else self.dark)
        return bool(self._scale is not None or dark or self._bad(shape).any())

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """InvalidFrame unless a frame of that shape [px] is one of this detector."""
        if self.shape is not None and shape != self.shape:
            name = next(iter(self._images))
            raise InvalidFrame(
                f"frame: {_px(shape)}, but {self._named(name)} has {_px(self.shape)}; frames must be as large as the"
                " detector's images, and binned alike",
                "frame",
            )

    def calibration(self, calibration: Calibration | float) -> Calibration:
        """A calibration of corrected frames: what the detector knows comes before what it says, the rest stays."""
        known = {
            "counts_per_electron": self.counts_per_electron,
            "black_level": 0.0 if self.dark is not None else self.black_level,
            "modulation_transfer": self.modulation_transfer,
        }
        changes: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
        return replace(as_calibration(calibration), **changes)

    def open_movie(self, path: str | Path, sampling_A: float | None = None) -> Movie:
        """The movie in a file with its frames corrected, as `segdepth.files.open_movie` opens it.

        UnreadableFile also for frames of another shape than the detector's images.
        """
        movie = open_movie(path, sampling_A)
        try:
            self.check_shape(movie.shape)
            calibration = self.calibration(movie.calibration)
            if self.corrects(movie.shape):
                movie = movie.corrected(self.correct, calibration)
                # A corrected pixel has four bytes.
                check_size(movie)
        except (InvalidFrame, UnreadableFile) as error:
            movie.close()
            raise UnreadableFile(f"{path}: {error}") from error
        movie.calibration = calibration
        return movie

    def __repr__(self) -> str:
        known = {
            "dark": self.names.get("dark", "image") if isinstance(self.dark, np.ndarray) else self.dark,
            "gain": None if self.gain is None else self.names.get("gain", "image"),
            "shape": self.shape,
            "counts_per_electron": self.counts_per_electron,
            "black_level": self.black_level,
            "modulation_transfer": self.modulation_transfer and f"{len(self.modulation_transfer)} values",
        }
        return f"Detector({', '.join(f'{name}={value!r}' for name, value in known.items() if value is not None)})"

    @cached_property
    def _scale(self) -> NDArray[np.float32] | None:
        """What frames are multiplied by; NaN where the gain is not positive. Bad pixels do not count for its mean."""
        if self.gain is None:
            return None
        gain = np.asarray(self.gain, np.float64)
        good = np.isfinite(gain) & (gain > 0) & ~self._bad(gain.shape)
        if not good.any():
            raise InvalidFrame(f"{self._named('gain')}: no pixel of it is positive", "gain")
        return np.where(good, gain[good].mean() / np.where(good, gain, 1), np.nan).astype(np.float32)

    def _bad(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        found = self._bad_of.get(shape)
        if found is None:
            found = self._bad_of[shape] = self.bad_pixels.of(shape)
        return found

    @cached_property
    def _bad_of(self) -> dict[tuple[int, int], NDArray[np.bool_]]:
        return {}

    @property
    def _images(self) -> dict[str, NDArray[Any]]:
        images = {"dark": self.dark, "gain": self.gain, "bad_pixels": self.bad_pixels.mask}
        return {name: image for name, image in images.items() if isinstance(image, np.ndarray)}

    def _named(self, name: str) -> str:
        return f"{name} ({self.names[name]})" if name in self.names else name


def _saturated(raw: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where pixels pile up at the highest value, None where they do not: dark and gain would hide it."""
    values = raw[np.isfinite(raw)] if raw.dtype.kind == "f" else raw
    return raw == values.max() if top_pile(values) > PILE * raw.size else None


def _px(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + " px"
