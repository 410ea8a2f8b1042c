"""The header of an MRC file, in whichever byte order it makes sense."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import mrcfile.dtypes  # type: ignore[import-untyped, unused-ignore]
import mrcfile.utils  # type: ignore[import-untyped, unused-ignore]
import numpy as np

from segdepth.errors import UnreadableFile
from segdepth.files.movie import Header
from segdepth.files.pixel_size import square
from segdepth.files.units import length_A
from segdepth_protos import contract

Order = Literal["<", ">"]
_ORDERS: tuple[Order, Order] = ("<", ">")

_IMOD_STAMP = 1146047817
_IMOD_SIGNED_BYTES = 1
_UNREAD_MODES = {3: "complex 16-bit integers", 4: "complex numbers", 16: "colour (RGB)", 101: "4-bit integers"}
_WRITE = "write it as mode 0, 1, 2, 6 or 12"


@dataclass(frozen=True)
class MrcHeader:
    """The fields of the standard, their byte order ("<" or ">") and what is odd about them."""

    fields: Any
    order: Order
    file_bytes: int
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int, int]:
        """(sections, rows, columns)."""
        return int(self.fields["nz"]), int(self.fields["ny"]), int(self.fields["nx"])

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Type of a pixel, None for a mode that is not numbers of whole bytes."""
        mode = int(self.fields["mode"])
        # Mode 0 is signed by the standard; IMOD wrote it unsigned for years, and says so at bytes 152 and 156.
        if mode == 0 and self.imod_flags is not None and not self.imod_flags & _IMOD_SIGNED_BYTES:
            return np.dtype(np.uint8)
        try:
            dtype: np.dtype[Any] = mrcfile.utils.dtype_from_mode(mode)
        except ValueError:
            return None
        return dtype.newbyteorder(self.order)

    @property
    def imod_flags(self) -> int | None:
        """IMOD's flags, None if IMOD did not write the file."""
        stamp, flags = np.frombuffer(self.fields.tobytes(), f"{self.order}i4", 2, offset=152)
        return int(flags) if stamp == _IMOD_STAMP else None

    @property
    def data_offset(self) -> int:
        """Where the pixels begin."""
        return int(mrcfile.dtypes.HEADER_DTYPE.itemsize) + max(0, int(self.fields["nsymbt"]))

    @property
    def axes(self) -> tuple[int, int, int]:
        """Along which axis (1 = X, 2 = Y, 3 = Z) columns, rows and sections are counted."""
        return int(self.fields["mapc"]), int(self.fields["mapr"]), int(self.fields["maps"])

    def makes_sense(self) -> bool:
        """Whether size and mode can be those of a file."""
        return min(self.size) > 0 and int(self.fields["nsymbt"]) >= 0 and self.dtype is not None

    def fits(self) -> bool:
        """Whether it makes sense and describes a file of exactly this length."""
        dtype = self.dtype
        if dtype is None or not self.makes_sense():
            return False
        return self.data_offset + math.prod(self.size) * dtype.itemsize == self.file_bytes


def read_header(path: Path) -> MrcHeader:
    """The header. A missing MAP stamp or an odd machine stamp is a note where one byte order alone fits the file.

    Raises UnreadableFile, with the cause: too short, stamps that are none, a mode that is no grey picture, no size.
    """
    with path.open("rb") as file:
        raw = file.read(mrcfile.dtypes.HEADER_DTYPE.itemsize)
    if len(raw) < mrcfile.dtypes.HEADER_DTYPE.itemsize:
        raise UnreadableFile(f"truncated: an MRC header has 1024 bytes, the file {len(raw)}")
    both = {order: _header(raw, order, path.stat().st_size) for order in _ORDERS}
    fields = both["<"].fields
    stamp, said = _byte_order(fields["machst"])
    odd = [] if bytes(fields["map"]).startswith(b"MAP") else ["the MAP stamp is missing"]
    if said is None:
        odd.append(f"the machine stamp ({stamp}) names no byte order")
    if said is not None and not odd and (both[said].makes_sense() or not both[_other(said)].fits()):
        return _checked(both[said])
    fitting = [header for header in both.values() if header.fits()]
    if said is not None and both[said] in fitting:
        fitting = [both[said]]
    if len(fitting) == 1:
        odd = odd or [f"the machine stamp ({stamp}) names the other byte order"]
        notes = (f"{' and '.join(odd)}; sizes and mode fit the file's length, so it is read",)
        return _checked(replace(fitting[0], notes=notes))
    raise UnreadableFile(
        f"not an MRC file, or damaged: {' and '.join(odd)}, and sizes and mode of the header do not fit the file's"
        f" {path.stat().st_size} bytes"
    )


def _header(raw: bytes, order: Order, file_bytes: int) -> MrcHeader:
    dtype = mrcfile.dtypes.HEADER_DTYPE.newbyteorder(order)
    return MrcHeader(np.frombuffer(raw, dtype)[0], order, file_bytes)


def _byte_order(stamp: Any) -> tuple[str, Order | None]:
    text = " ".join(f"{byte:02x}" for byte in stamp)
    try:
        return text, ">" if mrcfile.utils.byte_order_from_machine_stamp(stamp) == ">" else "<"
    except ValueError:
        return text, None


def _other(order: Order) -> Order:
    return "<" if order == ">" else ">"


def _checked(header: MrcHeader) -> MrcHeader:
    mode = int(header.fields["mode"])
    if mode in _UNREAD_MODES:
        raise UnreadableFile(f"mode {mode}, {_UNREAD_MODES[mode]}: {_WRITE}")
    if header.dtype is None:
        raise UnreadableFile(f"mode {mode} is unknown: {_WRITE}")
    for name, size in zip(("nz", "ny", "nx"), header.size, strict=True):
        if size < 1:
            raise UnreadableFile(f"damaged: the header announces {name} = {size}")
    if int(header.fields["nsymbt"]) < 0:
        raise UnreadableFile(f"damaged: an extended header of {int(header.fields['nsymbt'])} bytes")
    if mrcfile.utils.spacegroup_is_volume_stack(int(header.fields["ispg"])):
        raise UnreadableFile("a stack of volumes (4 dimensions); a movie has three, an image two")
    return header


def facts(header: MrcHeader, path: Path) -> Header:
    """What header and extended header say of the frames."""
    cell = _cell(header)
    fei = _fei(header, path)
    notes = header.notes + _notes(header)
    if fei is None:
        return replace(cell, notes=notes)
    energy_kev = fei.beam_energy_kev
    if cell.sampling_A in (None, contract.MISSING_SAMPLING) and fei.sampling_A is not None:
        return replace(fei, notes=notes)
    if cell.sampling_A and fei.sampling_A and abs(fei.sampling_A - cell.sampling_A) > 0.01 * cell.sampling_A:
        notes += (f"{fei.source} says {fei.sampling_A:g} Å/px, {cell.source} {cell.sampling_A:g}",)
    return replace(cell, beam_energy_kev=energy_kev, notes=notes)


def _cell(header: MrcHeader) -> Header:
    fields = header.fields
    if min(int(fields["mx"]), int(fields["my"])) < 1:
        return Header(missing="the header has no grid")
    # Cell and grid are those of the axes X and Y, however rows and columns run.
    x_A = float(fields["cella"]["x"]) / int(fields["mx"])
    y_A = float(fields["cella"]["y"]) / int(fields["my"])
    if x_A <= 0 or not math.isfinite(x_A):
        return Header(missing="the header has no cell size")
    gamma = float(fields["cellb"]["gamma"])
    if gamma != 0 and not abs(gamma - 90) < 0.1:
        return Header(missing=f"the cell's axes are at {gamma:g} degrees")
    return square(x_A, y_A, "cell / grid of the header")


def _fei(header: MrcHeader, path: Path) -> Header | None:
    kind = bytes(header.fields["exttyp"])
    dtype = mrcfile.dtypes.get_ext_header_dtype(kind, header.order)
    if dtype is None or int(header.fields["nsymbt"]) < dtype.itemsize:
        return None
    with path.open("rb") as file:
        file.seek(mrcfile.dtypes.HEADER_DTYPE.itemsize)
        raw = file.read(dtype.itemsize)
    if len(raw) < dtype.itemsize:
        return None
    first = np.frombuffer(raw, dtype)[0]
    x, y, volts = (float(first[name]) for name in ("Pixel size X", "Pixel size Y", "HT"))
    if x > 1:
        # In m of an image, in 1/m of a diffraction pattern: no pixel is a metre wide.
        raise UnreadableFile(f"a diffraction pattern ({x * 1e-9:g} 1/nm a pixel), not frames of a specimen")
    x_A, y_A = length_A(x, "m"), length_A(y, "m")
    source = f"pixel size of the {kind.decode()} extended header"
    found = square(x_A, y_A, source) if x_A and y_A else Header()
    return replace(found, beam_energy_kev=volts / 1e3 if math.isfinite(volts) and volts > 0 else None)


def _notes(header: MrcHeader) -> tuple[str, ...]:
    fields, notes = header.fields, list[str]()
    assert header.dtype is not None
    if int(fields["mode"]) == 0 and header.imod_flags is None:
        notes.append("mode 0 is read as signed bytes, as the standard says")
    sections, rows, columns = header.size
    more = (header.file_bytes - header.data_offset) // (rows * columns * header.dtype.itemsize) - sections
    if more > 0:
        notes.append(f"{more} frames stand behind the {sections} that the header announces, and are not read")
    if int(fields["mx"]) == 1 and int(fields["nx"]) > 1:
        notes.append("the header's grid is 1: its cell is taken for that of one pixel")
    return tuple(notes)
