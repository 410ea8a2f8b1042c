"""How many frames a TIFF file announces, beside its pages: a file that was cut off shows there."""

import math
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from segdepth.errors import UnreadableFile

if TYPE_CHECKING:
    import tifffile


def check_announced(tiff: "tifffile.TiffFile", series: "tifffile.TiffPageSeries", length: int, pages: int) -> None:
    """UnreadableFile where ImageJ's, OME's or tifffile's own count is not that of the frames there.

    length: of the series [frames]; pages: of the whole file.
    """
    imagej = _imagej(tiff)
    if imagej is not None and imagej != length:
        page = tiff.pages.first
        # Beyond 4 GB ImageJ writes one page, and all frames one after the other behind it.
        behind = (tiff.filehandle.size - page.dataoffsets[0]) // max(1, page.nbytes)
        there = behind if pages == 1 else length
        if there >= imagej:
            raise UnreadableFile(f"damaged: ImageJ announces {imagej} images, and {length} in slices and frames")
        raise _mismatch("ImageJ", imagej, there)
    ome = ome_root(tiff)
    if ome is not None and not is_multifile(tiff):
        announced = sum(map(_planes, ome.iterfind("{*}Image/{*}Pixels")))
        if announced and announced != pages:
            raise _mismatch("OME-XML", announced, pages)
    if tiff.is_shaped and series.kind != "shaped":
        frame = max(1, math.prod(series.shape[-2:]))
        announced = sum(math.prod(each.get("shape", ())) // frame for each in tiff.shaped_metadata or ())
        if announced > length:
            raise _mismatch("ImageDescription", announced, length)


def ome_root(tiff: "tifffile.TiffFile") -> ET.Element | None:
    """The OME-XML, None without one or if it is damaged."""
    if not tiff.ome_metadata:
        return None
    try:
        return ET.fromstring(tiff.ome_metadata)  # noqa: S314 - expat resolves no external entities
    except ET.ParseError:
        return None


def is_multifile(tiff: "tifffile.TiffFile") -> bool:
    """Whether OME-XML says that frames are in other files too."""
    return len(_files(tiff)) > 1


def check_beside(tiff: "tifffile.TiffFile") -> None:
    """UnreadableFile if OME-XML names files elsewhere than beside this one: tifffile opens them wherever they are."""
    for name in _files(tiff):
        if PureWindowsPath(name).name != name:
            raise UnreadableFile(f"OME-XML names another file, {name}, which is not beside it; write one file")


def _files(tiff: "tifffile.TiffFile") -> set[str]:
    root = ome_root(tiff)
    return set() if root is None else {uuid.get("FileName", "") for uuid in root.iterfind(".//{*}UUID")}


def _imagej(tiff: "tifffile.TiffFile") -> int | None:
    meta = tiff.imagej_metadata
    if not meta or not {"images", "frames", "slices", "channels"} & set(meta):
        return None
    counts = [_count(meta.get(name, 1)) for name in ("frames", "slices", "channels")]
    return max(_count(meta.get("images", 1)), math.prod(counts))


def _planes(pixels: ET.Element) -> int:
    return math.prod(_count(pixels.get(name, 1)) for name in ("SizeZ", "SizeT", "SizeC"))


def _count(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise UnreadableFile(f"damaged: {value!r} is no number of frames") from None


def _mismatch(who: str, announced: int, there: int) -> UnreadableFile:
    kind = "truncated" if there < announced else "damaged"
    return UnreadableFile(f"{kind}: {who} announces {announced} frames, {there} are there")
