"""The chain of pages of a TIFF file, as it stands in the file."""

import struct
from collections import Counter
from typing import TYPE_CHECKING

from segdepth.errors import UnreadableFile

if TYPE_CHECKING:
    import tifffile

MOST_PAGES = 300_000
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_LIKENESS = (_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC)
_INLINE = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""Types of one number that stands in the tag itself."""

Likeness = tuple[int | None, ...]
"""Width, height, bits, compression and photometric interpretation of a page."""


def pages_of(tiff: "tifffile.TiffFile") -> Counter[Likeness]:
    """How many pages the file's chain has of each kind. UnreadableFile if the chain breaks off, or has no end.

    tifffile ends a broken chain with a line in the log: a truncated movie would pass as a short one.
    """
    offset, seen, pages = tiff.pages.first.offset, set[int](), Counter[Likeness]()
    while offset:
        if offset in seen:
            raise UnreadableFile(f"damaged: page {len(seen)} is one of those before it")
        if len(seen) >= MOST_PAGES:
            raise UnreadableFile(f"more than {MOST_PAGES} pages; split the file")
        seen.add(offset)
        likeness, offset = _page(tiff, offset, len(seen) - 1)
        pages[likeness] += 1
    return pages


def series_of(tiff: "tifffile.TiffFile", pages: Counter[Likeness]) -> list["tifffile.TiffPageSeries"]:
    """The series of alike pages. UnreadableFile if tifffile takes pages of several shapes for one."""
    try:
        return list(tiff.series)
    except RuntimeError as error:
        if len(pages) == 1:
            raise
        sizes = ", ".join(f"{height}x{width}" for width, height, *_ in pages)
        raise UnreadableFile(f"pages of different shapes or types ({sizes}); split them into files") from error


def check_alike(tiff: "tifffile.TiffFile", series: "tifffile.TiffPageSeries", pages: Counter[Likeness]) -> None:
    """UnreadableFile unless all pages of a series are like its first: tifffile asks not all of them."""
    first, _ = _page(tiff, series.keyframe.offset, 0)
    others = sum(pages.values()) - pages[first]
    if pages[first] and others and pages[first] < len([page for page in series.pages if page is not None]):
        raise UnreadableFile(f"pages of different shapes: {others} are not like the first")


def _page(tiff: "tifffile.TiffFile", offset: int, number: int) -> tuple[Likeness, int]:
    """What a page is like, and the offset of the next."""
    handle, form = tiff.filehandle, tiff.tiff
    handle.seek(offset)
    head = handle.read(form.tagnosize)
    if len(head) < form.tagnosize:
        raise UnreadableFile(f"truncated: page {number} lies beyond the end of the file")
    (tags,) = struct.unpack(form.tagnoformat, head)
    size = tags * form.tagsize
    if offset + form.tagnosize + size + form.offsetsize > handle.size:
        raise UnreadableFile(f"truncated: page {number} lies beyond the end of the file")
    if not tags:
        raise UnreadableFile(f"damaged: page {number} is empty")
    block = handle.read(size + form.offsetsize)
    (following,) = struct.unpack(form.offsetformat, block[size:])
    likeness: dict[int, int | None] = dict.fromkeys(_LIKENESS)
    wide = form.offsetsize == 8
    for code, kind, count, value in struct.iter_unpack(form.byteorder + ("HHQ8s" if wide else "HHI4s"), block[:size]):
        if code in likeness and count == 1 and kind in _INLINE and (wide or kind != 16):
            likeness[code] = struct.unpack_from(form.byteorder + _INLINE[kind], value)[0]
    return tuple(likeness.values()), following
