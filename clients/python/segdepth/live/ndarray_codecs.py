"""Compressed pixels of an NTNDArray, as areaDetector's NDPluginCodec makes them. Needs imagecodecs."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import InvalidFrame, NotInstalled, UnreadableFile
from segdepth.files.inflation import check_inflated

_BSHUF_BLOCK_BYTES, _BSHUF_MULTIPLE = 8192, 8
"""bitshuffle's default block [bytes], and the elements that its last, shorter one is a multiple of."""


def decompressed(codec: str, data: bytes, dtype: np.dtype[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Pixels [height, width] of `dtype`. Raises InvalidFrame for an unknown codec and for damage; NotInstalled."""
    decode = _CODECS.get(codec)
    if decode is None:
        raise InvalidFrame(f"frames compressed with {codec!r} are not read; {', '.join(_CODECS)} are, or none")
    try:
        import imagecodecs
    except ImportError as error:
        raise NotInstalled(f"frames compressed with {codec} need: pip install 'segdepth[files]'") from error
    try:
        pixels = decode(imagecodecs, data, dtype, shape)
    except (UnreadableFile, RuntimeError, ValueError, IndexError) as error:
        raise InvalidFrame(f"a frame compressed with {codec} is damaged: {error}") from error
    if pixels.size != math.prod(shape):
        raise InvalidFrame(f"a frame compressed with {codec} is damaged: {pixels.size} pixels of {math.prod(shape)}")
    return pixels.reshape(shape)


def _jpeg(imagecodecs: Any, data: bytes, dtype: np.dtype[Any], shape: tuple[int, int]) -> NDArray[Any]:
    # Into an array of the size that was announced: what inflates beyond it, or has colours, does not fit.
    return np.asarray(imagecodecs.jpeg8_decode(data, out=np.empty(shape, np.uint8))).view(dtype)


def _blosc(imagecodecs: Any, data: bytes, dtype: np.dtype[Any], shape: tuple[int, int]) -> NDArray[Any]:
    check_inflated("blosc", data, math.prod(shape) * dtype.itemsize)
    return np.frombuffer(imagecodecs.blosc_decode(data, numthreads=1), dtype)


def _lz4(imagecodecs: Any, data: bytes, dtype: np.dtype[Any], shape: tuple[int, int]) -> NDArray[Any]:
    return np.frombuffer(imagecodecs.lz4_decode(data, out=math.prod(shape) * dtype.itemsize), dtype)


def _bslz4(imagecodecs: Any, data: bytes, dtype: np.dtype[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Blocks of bit-shuffled elements, each as LZ4 with its length before it; the last few elements as they are.

    The layout of bitshuffle's bshuf_compress_lz4, without the header that HDF5's filter writes before it.
    """
    size = dtype.itemsize
    block = max(_BSHUF_BLOCK_BYTES // size // _BSHUF_MULTIPLE * _BSHUF_MULTIPLE, 128)
    parts: list[bytes] = []
    at, left = 0, math.prod(shape)
    while left >= _BSHUF_MULTIPLE:
        elements = min(block, left // _BSHUF_MULTIPLE * _BSHUF_MULTIPLE)
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        shuffled = imagecodecs.lz4_decode(data[at + 4 : end], out=elements * size)
        parts.append(bytes(imagecodecs.bitshuffle_decode(shuffled, itemsize=size, blocksize=elements)))
        at, left = end, left - elements
    parts.append(data[at : at + left * size])
    return np.frombuffer(b"".join(parts), dtype)


_CODECS: dict[str, Callable[[Any, bytes, np.dtype[Any], tuple[int, int]], NDArray[Any]]] = {
    "jpeg": _jpeg,
    "blosc": _blosc,
    "lz4": _lz4,
    "bslz4": _bslz4,
}
