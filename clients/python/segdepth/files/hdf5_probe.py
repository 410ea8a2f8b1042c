"""Looks through an HDF5 file as the reader will, in a process of its own: `python -P hdf5_probe.py FILE [growing]`.

A damaged file can make the HDF5 library loop forever or crash, which no exception tells. Imports nothing of ours, for
speed. Ends with 0 if the file can be read, and with a word on stdout if not.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import h5py

CPU_S = 5
MEMORY_BYTES = 2 * 1024**3
GROWING = "growing"
MOST_OBJECTS = 20_000
"""A file of more groups and datasets is not looked through."""


def main() -> int:
    """Open every object that lies in the file, with all its attributes."""
    _limit()
    try:
        with opened(sys.argv[1], growing=sys.argv[2:] == [GROWING]) as file:
            _attributes(file)
            for number, found in enumerate(objects(file)):
                if number == MOST_OBJECTS:
                    break
                if isinstance(found, h5py.Group):
                    _attributes(found)
                elif isinstance(found, h5py.Dataset):
                    _dataset(found)
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, MemoryError) as error:
        print(error)
        return 1
    return 0


def opened(path: Any, *, growing: bool = False, **options: Any) -> h5py.File:
    """The file, to read; also, of one that is `growing`, beside a writer that lets others read meanwhile (SWMR)."""
    try:
        return h5py.File(path, "r", locking="best-effort", **options)
    except OSError:
        if not growing:
            raise
    return h5py.File(path, "r", locking="best-effort", swmr=True, **options)


def objects(file: h5py.File) -> Iterator[Any]:
    """Every group, dataset and type below the root that lies in the file itself, once."""
    seen: set[int] = set()
    groups = [file["/"]]
    while groups:
        group = groups.pop()
        for name in group:
            # A link may lead to any file of this machine: those are not followed.
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            found = group[name]
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:
                continue
            seen.add(address)
            yield found
            if isinstance(found, h5py.Group):
                groups.append(found)


def _limit() -> None:
    # Windows has no such limits; there the caller's patience is the only one.
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _attributes(of: h5py.Group | h5py.Dataset) -> None:
    for name in of.attrs:
        # One that cannot be read is not asked for later.
        with suppress(OSError, RuntimeError, ValueError, LookupError, TypeError):
            of.attrs[name]


def _dataset(dataset: h5py.Dataset) -> None:
    _attributes(dataset)
    if dataset.external or dataset.is_virtual or not dataset.shape or not dataset.size:
        return
    if dataset.chunks:
        dataset.id.get_num_chunks()
    if dataset.id.get_create_plist().get_nfilters() == 0 and dataset.id.get_storage_size():
        for place in ((0,) * dataset.ndim, tuple(size - 1 for size in dataset.shape)):
            dataset[place]


if __name__ == "__main__":
    sys.exit(main())
