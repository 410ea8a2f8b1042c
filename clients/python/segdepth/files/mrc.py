"""MRC and MRCS files, read section by section."""

from dataclasses import replace
from pathlib import Path

from segdepth.errors import NotInstalled, UnreadableFile
from segdepth.files.movie import Stack
from segdepth.files.raw_frames import RawFrames, whole_frames

_STANDARD, _TURNED, _BLANK = (1, 2, 3), (2, 1, 3), (0, 0, 0)


def open_mrc(path: Path, *, growing: bool = False) -> Stack:
    """A stack of 2D sections, rows along Y; of a `growing` file those that are there of the announced ones.

    Raises UnreadableFile, with the cause, for a file that is none.
    """
    try:
        from segdepth.files.mrc_header import facts, read_header
    except ImportError as error:
        raise NotInstalled("MRC files need: pip install 'segdepth[files]'") from error
    header = read_header(path)
    turned, note = _turned(header.axes)
    known = facts(header, path)
    length, rows, columns = header.size
    dtype = header.dtype
    assert dtype is not None
    if growing:
        length = min(length, whole_frames(path, header.data_offset, (rows, columns), dtype))
    frames = RawFrames(path, header.data_offset, length, (rows, columns), dtype)
    return Stack(
        length=length,
        shape=(columns, rows) if turned else (rows, columns),
        dtype=dtype,
        header=replace(known, notes=known.notes + note),
        read=(lambda index: frames.read(index).T) if turned else frames.read,
        close=frames.close,
    )


def _turned(axes: tuple[int, int, int]) -> tuple[bool, tuple[str, ...]]:
    """Whether columns run along Y and rows along X, and what there is to say of it."""
    if axes in (_STANDARD, _BLANK):
        return False, ()
    named = ", ".join(map(str, axes))
    if axes == _TURNED:
        return True, (f"columns run along Y (mapc, mapr, maps = {named}): the frames are turned",)
    if sorted(axes) == sorted(_STANDARD):
        raise UnreadableFile(
            f"sections run along {'XYZ'[axes[2] - 1]} (mapc, mapr, maps = {named}), those of a movie along Z: turn the"
            " volume first"
        )
    return False, (f"mapc, mapr, maps = {named} is no order of axes; read as 1, 2, 3",)
