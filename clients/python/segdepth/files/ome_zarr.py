"""Zarr stores, version 2 and 3, frame by frame, with the scales of OME's multiscales."""

import lzma
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segdepth.errors import UnreadableFile
from segdepth.files.axes import Axis, layout
from segdepth.files.choice import Dataset, chosen
from segdepth.files.damage import DAMAGED
from segdepth.files.inflation import check_inflated
from segdepth.files.movie import Header, Stack
from segdepth.files.slabs import Slabs

PIXEL_SIZE = "scale of the OME multiscales"

MOST_NODES = 2_000
"""A store of more groups and arrays is not looked through."""

_DAMAGED = (*DAMAGED, struct.error, zlib.error, lzma.LZMAError)
"""What zarr and its codecs raise for damaged stores."""


@dataclass(frozen=True)
class _Found:
    """An array with its axes; `source` is where they stand."""

    array: zarr.Array[Any]
    axes: list[Axis]
    source: str


def open_zarr(path: Path, dataset: str) -> Stack:
    """A stack of frames: `dataset` is the array's path in the store, by default the only movie.

    Of a pyramid of scales the finest is taken. Raises UnreadableFile: no store, damaged, several movies, or none.
    """
    if not path.is_dir():
        raise UnreadableFile("not a Zarr store: that is a folder")
    try:
        root = zarr.open(store=path, mode="r")
        found = [_named(root, dataset)] if dataset else list(_arrays(root))
        return _stack(path, found)
    except UnreadableFile:
        raise
    except _DAMAGED as error:
        raise UnreadableFile(f"not a Zarr store, or damaged: {error}") from error


def _named(root: zarr.Array[Any] | zarr.Group, name: str) -> _Found:
    name = name.strip("/")
    if not isinstance(root, zarr.Group) or name not in root:
        raise UnreadableFile(f"no array {name}")
    array = root[name]
    if not isinstance(array, zarr.Array):
        raise UnreadableFile(f"{name} is a group: name an array")
    above, _, level = name.rpartition("/")
    group = root[above] if above else root
    assert isinstance(group, zarr.Group)
    return _found(array, _multiscales(group), level)


def _arrays(root: zarr.Array[Any] | zarr.Group) -> Iterator[_Found]:
    nodes, seen = [root], 0
    while nodes:
        node = nodes.pop()
        seen += 1
        if seen > MOST_NODES:
            raise UnreadableFile(f"more than {MOST_NODES} groups and arrays; name the movie: store.zarr::/path")
        if isinstance(node, zarr.Array):
            yield _found(node, {}, "")
            continue
        scales = _multiscales(node)
        levels = scales.get("datasets")
        if isinstance(levels, list) and levels and isinstance(levels[0], dict):
            finest = str(levels[0].get("path", ""))
            array = node[finest]
            if isinstance(array, zarr.Array):
                yield _found(array, scales, finest)
        else:
            nodes += [member for _, member in node.members()]


def _multiscales(group: zarr.Group) -> Mapping[str, Any]:
    told = group.attrs.asdict()
    ome = told.get("ome")
    scales = (ome if isinstance(ome, dict) else told).get("multiscales")
    return scales[0] if isinstance(scales, list) and scales and isinstance(scales[0], dict) else {}


def _found(array: zarr.Array[Any], scales: Mapping[str, Any], level: str) -> _Found:
    levels = [each for each in scales.get("datasets", []) if isinstance(each, dict) and each.get("path") == level]
    named = scales.get("axes")
    if not levels or not isinstance(named, list) or len(named) != array.ndim:
        return _Found(array, [Axis(size) for size in array.shape], "")
    factors = [_scale(told.get("coordinateTransformations"), array.ndim) for told in (levels[0], scales)]
    axes = []
    for size, told, *scale in zip(array.shape, named, *factors, strict=True):
        # Version 0.3 names axes by a letter alone.
        told = told if isinstance(told, dict) else {"name": told}
        if size > 1 and (told.get("type") == "channel" or told.get("name") == "c"):
            raise UnreadableFile(f"a colour picture of {size} channels: save one of them")
        axes.append(Axis(size, str(told.get("name", "")), math.prod(scale), str(told.get("unit", ""))))
    return _Found(array, axes, PIXEL_SIZE)


def _scale(transformations: Any, ndim: int) -> list[float]:
    for each in transformations if isinstance(transformations, list) else []:
        scale = each.get("scale") if isinstance(each, dict) else None
        if isinstance(scale, list) and len(scale) == ndim:
            return [float(factor) for factor in scale]
    return [1.0] * ndim


def _stack(path: Path, found: list[_Found]) -> Stack:
    datasets = [_dataset(each) for each in found]
    one, axes = chosen(datasets, "")
    array, source = next((each.array, each.source) for each, told in zip(found, datasets, strict=True) if told is one)
    slabs = Slabs(_reader(path, array), axes, array.shards or array.chunks, one.dtype)
    header = axes.header(source) if source else Header(missing="the store has no OME multiscales")
    return Stack(
        length=axes.length,
        shape=axes.shape,
        dtype=one.dtype,
        header=replace(header, interval_s=axes.interval_s(), notes=_notes(array)),
        read=slabs,
        close=lambda: None,
    )


def _dataset(found: _Found) -> Dataset:
    array, name = found.array, f"/{found.array.path}"
    # Types that numpy does not know are none of a movie.
    dtype = np.dtype(getattr(array, "dtype", "V"))
    try:
        return Dataset(name, array.shape, dtype, layout(found.axes, dtype))
    except UnreadableFile as error:
        return Dataset(name, array.shape, dtype, refusal=str(error))


def _reader(path: Path, array: zarr.Array[Any]) -> Any:
    codecs = _codecs(array)
    nominal = math.prod(array.chunks) * array.dtype.itemsize

    def read(part: tuple[slice, ...]) -> NDArray[Any]:
        try:
            for file in _files(path, array, part) if codecs and array.shards is None else ():
                # Codecs but the outermost add some bytes of their own.
                check_inflated(codecs[-1], file.read_bytes(), 2 * nominal + 4096)
            return np.asarray(array[part])
        except UnreadableFile:
            raise
        except _DAMAGED as error:
            raise UnreadableFile(f"damaged: {error}") from error

    return read


def _files(path: Path, array: zarr.Array[Any], part: tuple[slice, ...]) -> Iterator[Path]:
    starts = [range(piece.start // n, -(-piece.stop // n)) for piece, n in zip(part, array.chunks, strict=True)]
    for place in np.array(np.meshgrid(*starts, indexing="ij")).reshape(len(starts), -1).T:
        file = path / array.path / array.metadata.encode_chunk_key(tuple(int(number) for number in place))
        # A chunk that is not there is one of the fill value.
        if file.exists():
            yield file


def _codecs(array: zarr.Array[Any]) -> list[str]:
    """What compresses a chunk, outermost last."""
    told = array.metadata.to_dict()
    codecs = told.get("codecs") or [told.get("compressor")]
    names = [str(each.get("name") or each.get("id", "")) for each in codecs if isinstance(each, dict)]  # type: ignore[union-attr, unused-ignore]
    return [name.removeprefix("numcodecs.") for name in names if name not in ("bytes", "crc32c", "transpose")]


def _notes(array: zarr.Array[Any]) -> tuple[str, ...]:
    there = array.nchunks_initialized if array.shards is None else array.nchunks
    if there == 0:
        raise UnreadableFile("empty: no chunk was written")
    if there < array.nchunks:
        return (f"{there} of {array.nchunks} chunks were written; what is missing reads as {array.fill_value}",)
    return ()
