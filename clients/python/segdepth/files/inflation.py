"""How large compressed bytes become, before anything is done with them."""

import struct
import zlib

from segdepth.errors import UnreadableFile

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def check_inflated(codec: str, raw: bytes, most: int) -> None:
    """Raises UnreadableFile if `raw` becomes more than `most` bytes. Libraries inflate whatever they find.

    Of zstd and other codecs what the bytes declare is believed: libraries hold them to that.
    """
    match codec:
        case "gzip" | "zlib":
            try:
                # One more than the largest window: zlib or gzip, as the bytes say.
                stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
                size = len(stream.decompress(raw, most + 1))
            except zlib.error as error:
                raise UnreadableFile(f"damaged: {error}") from error
            if codec == "gzip" and stream.unused_data:
                raise UnreadableFile("damaged: a chunk of several gzip files")
        case "blosc":
            size = struct.unpack_from("<I", raw, 4)[0] if len(raw) >= 16 else 0
        case "lz4":
            size = struct.unpack_from("<I", raw)[0] if len(raw) >= 4 else 0
        case "zstd":
            size = _zstd_size(raw)
        case _:
            size = 0
    if size > most:
        raise UnreadableFile("damaged: a chunk inflates beyond its size")


def _zstd_size(raw: bytes) -> int:
    """The content size of a zstd frame, RFC 8878 section 3.1.1.1; 0 where none is declared."""
    if raw[:4] != _ZSTD_MAGIC or len(raw) < 18:
        return 0
    descriptor = raw[4]
    single, width = descriptor >> 5 & 1, (0, 2, 4, 8)[descriptor >> 6]
    start = 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3]
    if width == 0:
        return raw[start] if single else 0
    return int.from_bytes(raw[start : start + width], "little") + (256 if width == 2 else 0)
