"""PNG and JPEG files: pictures that were made to be looked at."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import NotInstalled, UnreadableFile
from segdepth.files.movie import Header, Stack

NOT_LINEAR = (
    "a display export: stretched, clipped or given a gamma, its values are not linear in the electrons, and counts made"
    " from them are in doubt; use the camera's own file"
)
_LOSSY = "JPEG changes the noise, which counts are made from"

_DTYPES: dict[str, str] = {
    "1": "?",
    "L": "u1",
    "I;16": "<u2",
    "I;16L": "<u2",
    "I;16B": ">u2",
    "I;16N": "=u2",
    "I": "i4",
}
"""Pillow's modes of grey pictures."""

_COLOURED = {"P": "a palette", "LA": "transparency", "PA": "a palette", "La": "transparency"}

# A chunk's checksum, a bomb of text and what is no picture at all each have a type of their own.
_DAMAGED = (OSError, ValueError, SyntaxError, IndexError, KeyError, TypeError, EOFError, OverflowError)


def open_picture(path: Path) -> Stack:
    """One grey picture, without a pixel size. Raises UnreadableFile: damaged, truncated, colour, an animation."""
    try:
        from PIL import Image
    except ImportError as error:
        raise NotInstalled("PNG and JPEG files need: pip install 'segdepth[files]'") from error
    damaged = (*_DAMAGED, Image.DecompressionBombError)

    def opened() -> Image.Image:
        # Reads no pixel: a bomb is refused by the size that it says, as every frame is.
        return Image.open(path, formats=("PNG", "JPEG"))

    def read(_: int) -> NDArray[Any]:
        try:
            with opened() as image:
                return np.array(image, _DTYPES[image.mode])
        except damaged as error:
            raise UnreadableFile(f"damaged or truncated: {error}") from error

    try:
        with opened() as image:
            mode, (width, height), kind = image.mode, image.size, image.format
            frames = getattr(image, "n_frames", 1)
    except damaged as error:
        raise UnreadableFile(f"not a PNG or JPEG file, or truncated: {error}") from error
    if frames != 1:
        raise UnreadableFile(f"an animation of {frames} frames; save them as TIFF, MRC or NPY")
    if mode not in _DTYPES:
        raise UnreadableFile(f"a picture with {_COLOURED.get(mode, f'colour ({mode})')}; save it as grey")
    return Stack(
        length=1,
        shape=(height, width),
        dtype=np.dtype(_DTYPES[mode]),
        header=Header(
            missing="a display export has no pixel size",
            notes=(NOT_LINEAR, _LOSSY) if kind == "JPEG" else (NOT_LINEAR,),
        ),
        read=read,
        close=lambda: None,
    )
