"""What is in an HDF5 file, by its own links alone, and whether its numbers are there."""

import math
from collections.abc import Iterator
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - the filters of cameras: bitshuffle, LZ4, zstd, Blosc
import numpy as np

from segdepth.errors import UnreadableFile
from segdepth.files.hdf5_probe import MOST_OBJECTS, objects
from segdepth.files.inflation import check_inflated
from segdepth.files.slabs import MOST_BYTES

_CODECS = {1: "zlib", 32001: "blosc", 32015: "zstd"}
"""HDF5's numbers of those filters that say how large a chunk becomes, or can be asked."""

_FLETCHER32 = 3


def datasets(file: h5py.File) -> Iterator[h5py.Dataset]:
    """Every dataset that lies in the file itself, once. Raises UnreadableFile if there are too many."""
    for number, found in enumerate(objects(file)):
        if number == MOST_OBJECTS:
            raise UnreadableFile(f"more than {MOST_OBJECTS} groups and datasets; name the movie: file::/path")
        if isinstance(found, h5py.Dataset):
            yield found


def object_at(group: h5py.Group, path: str, hops: int = 16) -> Any:
    """The group or dataset at `path`, None if there is none. Raises UnreadableFile if it lies in another file."""
    found: Any = group.file["/"] if path.startswith("/") else group
    for name in filter(None, path.split("/")):
        link = found.get(name, getlink=True) if isinstance(found, h5py.Group) else None
        if link is None or hops == 0:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise UnreadableFile(f"{path} lies in another file, {link.filename}: open that one")
        found = object_at(found, link.path, hops - 1) if isinstance(link, h5py.SoftLink) else found[name]
    return found


def dataset_at(file: h5py.File, path: str) -> h5py.Dataset:
    """The dataset at `path`. Raises UnreadableFile if there is none."""
    found = object_at(file["/"], path)
    if isinstance(found, h5py.Group):
        raise UnreadableFile(f"{path} is a group of {', '.join(list(found)[:20])}: name a dataset")
    if not isinstance(found, h5py.Dataset):
        raise UnreadableFile(f"no dataset {path}")
    return found


def check_numbers(dataset: h5py.Dataset, size: int) -> None:
    """Raises UnreadableFile unless all numbers of a dataset are in its file, of `size` bytes."""
    if dataset.external or dataset.is_virtual:
        raise UnreadableFile("its numbers lie in other files: open those")
    if dataset.chunks is None:
        if dataset.id.get_storage_size() < dataset.size * dataset.dtype.itemsize:
            raise UnreadableFile("empty or truncated: its numbers were never written")
        return
    for index in range(dataset.id.get_create_plist().get_nfilters()):
        code, _, _, name = dataset.id.get_create_plist().get_filter(index)
        if not h5py.h5z.filter_avail(code):
            label = name.decode(errors="replace") or str(code)
            raise UnreadableFile(f"compressed by {label}, for which there is no filter: save it by gzip")
    need = math.prod(math.ceil(n / chunk) for n, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    there = dataset.id.get_num_chunks()
    if there < need:
        raise UnreadableFile(f"incomplete: {there} of {need} chunks were written")
    if math.prod(dataset.chunks) * dataset.dtype.itemsize > MOST_BYTES or dataset.id.get_storage_size() > size:
        raise UnreadableFile("damaged: its chunks are larger than the file can hold")


def check_chunks(dataset: h5py.Dataset, part: tuple[slice, ...]) -> None:
    """Raises UnreadableFile if a compressed chunk of this part is larger than it may be.

    HDF5 inflates whatever it finds: some megabytes in a file could fill the memory.
    """
    filters = _filters(dataset)
    if not filters:
        return
    nominal = math.prod(dataset.chunks) * dataset.dtype.itemsize
    codec = next((code for code in filters if code in _CODECS), None)
    starts = [range(piece.start // n * n, piece.stop, n) for piece, n in zip(part, dataset.chunks, strict=True)]
    for start in np.array(np.meshgrid(*starts, indexing="ij")).reshape(len(starts), -1).T:
        offset = tuple(int(value) for value in start)
        if dataset.id.get_chunk_info_by_coord(offset).size > 2 * nominal + 4096:
            raise UnreadableFile("damaged: a chunk is larger compressed than it would be without")
        if codec is None:
            continue
        skipped, raw = dataset.id.read_direct_chunk(offset)
        if skipped & 1 << filters.index(codec):
            continue
        if set(filters[filters.index(codec) + 1 :]) - {_FLETCHER32}:
            raise UnreadableFile("compressed twice: write the file anew")
        # A checksum on each filter's output may follow what the first filters made of the numbers.
        check_inflated(_CODECS[codec], raw, nominal + 4 * len(filters))


def _filters(dataset: h5py.Dataset) -> list[int]:
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
