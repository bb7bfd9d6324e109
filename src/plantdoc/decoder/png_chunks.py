"""The chunks of a PNG (ISO/IEC 15948): what its pixels need, and whether a strict decoder takes it as it is."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from plantdoc.decoder.picture_error import damaged

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_MOST = 200_000  # chunks; encoders write one for every 8 to 64 KB
_PIECE = 1 << 18  # bytes that are inflated at a time
_SURPLUS = 1 << 20  # bytes of pixels too many that are inflated
# Where and how the rows of an interlaced picture lie: x, y of the first pixel, steps in x and y.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass(frozen=True)
class Png:
    """Facts about a PNG file.

    `depth` is in bits a sample, `colour` PNG's colour type; `transparent`: pixels may be transparent; `parts` are the
    names and bodies of the chunks that the pixels need; `sound` says that libpng decodes all pixels of this very file.
    """

    width: int
    height: int
    depth: int
    colour: int
    transparent: bool
    parts: tuple[tuple[bytes, bytes | memoryview], ...]
    sound: bool

    def essential(self) -> bytes:
        """The picture as a file of these chunks, with right checksums."""
        return SIGNATURE + b"".join(_chunk(name, body) for name, body in self.parts)


def size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, by the header.

    Raises:
        PictureError: the header is wrong.
    """
    width, height, *_ = _header(data)
    return width, height


def read(data: bytes) -> Png:
    """Look through a PNG file, and inflate its pixels, which are thrown away.

    Raises:
        PictureError: its header is wrong, or pixels are missing.
    """
    width, height, depth, colour, compression, filters, interlaced = _header(data)
    chunks = _chunks(data)
    name, header, _ = next(chunks)
    pixels: list[memoryview] = []
    kept: dict[bytes, memoryview] = {}
    sound, last = not (compression or filters or interlaced > 1), name
    for name, body, whole in chunks:
        if name == b"IDAT":
            sound &= whole and (not pixels or last == b"IDAT")
            pixels.append(body)
        elif name in (b"PLTE", b"tRNS"):
            sound &= whole and not pixels
            kept.setdefault(name, body)
        elif not name[0] & 32:  # critical: whoever does not know it cannot decode the picture
            sound &= whole and name == b"IEND"
        last = name
    sound &= last == b"IEND"
    sizes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    expected = sum(_bytes(width, height, depth * _CHANNELS[colour], *each) for each in sizes)
    inflated, ended = _inflated(pixels, expected + _SURPLUS)
    if ended and inflated < expected:
        raise damaged("PNG")
    parts = ((b"IHDR", header), *kept.items(), *((b"IDAT", piece) for piece in pixels), (b"IEND", b""))
    return Png(width, height, depth, colour, b"tRNS" in kept or colour in (4, 6), parts, sound and ended)


def _header(data: bytes) -> tuple[int, ...]:
    name, body, whole = next(_chunks(data), (b"", memoryview(b""), False))
    if not data.startswith(SIGNATURE) or name != b"IHDR" or len(body) != 13 or not whole:
        raise damaged("PNG")
    width, height, depth, colour, *_ = found = struct.unpack(">IIBBBBB", body)
    if not width or not height or colour not in _CHANNELS or depth not in (1, 2, 4, 8, 16):
        raise damaged("PNG")
    return found


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, bool]]:
    """Name and body of each chunk up to the end, and whether its checksum is right; the last may be cut short.

    Raises:
        PictureError: they are more than _MOST, or one with pixels is cut short.
    """
    view, at, name, count = memoryview(data), len(SIGNATURE), b"", 0
    while at + 8 <= len(view) and name != b"IEND":
        if (count := count + 1) > _MOST:
            raise damaged("PNG")
        length, name = int.from_bytes(view[at : at + 4], "big"), bytes(view[at + 4 : at + 8])
        body, check = view[at + 8 : at + 8 + length], bytes(view[at + 8 + length : at + 12 + length])
        if name == b"IDAT" and len(check) < 4:
            raise damaged("PNG")
        yield name, body, check == zlib.crc32(body, zlib.crc32(name)).to_bytes(4, "big")
        at += 12 + length


def _chunk(name: bytes, body: bytes | memoryview) -> bytes:
    return b"".join((len(body).to_bytes(4, "big"), name, body, zlib.crc32(body, zlib.crc32(name)).to_bytes(4, "big")))


def _bytes(width: int, height: int, bits: int, x: int, y: int, step_x: int, step_y: int) -> int:
    """Bytes that a pass over the picture takes, with a filter's number before each row."""
    columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
    return rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0


def _inflated(pieces: list[memoryview], most: int) -> tuple[int, bool]:
    """Bytes in a zlib stream, counted up to `most`, and whether it came to its end with the right checksum."""
    stream, count = zlib.decompressobj(), 0
    try:
        for piece in pieces:
            rest: bytes | memoryview = piece
            while count < most and not stream.eof:
                count += (more := len(stream.decompress(rest, _PIECE)))
                rest = stream.unconsumed_tail
                if not rest and more < _PIECE:
                    break
    except zlib.error:
        return count, False
    return count, stream.eof
