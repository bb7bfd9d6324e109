"""Picture files that decoders read differently, or not at all, made in code: name → bytes."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

SIZE = (96, 64)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP = (
    b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-"
    b"rdf-syntax-ns#'><rdf:Description xmlns:tiff='http://ns.adobe.com/tiff/1.0/' tiff:Orientation=\"6\"/></rdf:RDF>"
    b"</x:xmpmeta>"
)


def image(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Coloured patches; those of modes with alpha are transparent on one half, with colours beneath."""
    draw = np.random.default_rng(list(size))
    patches = Image.fromarray(draw.integers(0, 256, (8, 12, 3), np.uint8)).resize(size)
    if "A" not in mode:
        return patches.convert(mode)
    alpha = Image.new("L", size, 255)
    alpha.paste(0, (0, 0, size[0] // 2, size[1]))
    alpha.paste(100, (0, 0, size[0] // 4, size[1] // 2))
    patches.putalpha(alpha)
    return patches.convert(mode)


def encoded(picture: Image.Image, kind: str = "JPEG", orientation: int | None = None, **options: object) -> bytes:
    """The picture as a file."""
    if orientation:
        tags = Image.Exif()
        tags[0x0112] = orientation
        options["exif"] = tags
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def heic(picture: Image.Image) -> bytes:
    """The picture as HEIC."""
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_pillow(picture).save(file, quality=90)
    return file.getvalue()


def with_app1(jpeg: bytes, payload: bytes) -> bytes:
    """A JPEG with these notes."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


def tags(order: str, *entries: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block of entries (tag, type, count, four bytes of value), in this order."""
    rows = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HIH", 42, 8, len(entries))
    return b"Exif\0\0" + head + rows + bytes(4) + struct.pack(f"{order}II", 72, 1)


def turned_by(order: str = ">", value: int = 6, kind: str = "H") -> tuple[int, int, int, bytes]:
    """The entry of the orientation, of one of struct's types."""
    number = {"B": 1, "H": 3, "I": 4}[kind]
    return 0x0112, number, 1, struct.pack(order + kind, value).ljust(4, b"\0")


def chunk(name: bytes, body: bytes, check: int | None = None) -> bytes:
    """A chunk of a PNG; its checksum is `check` where that is given."""
    right = zlib.crc32(name + body) if check is None else check
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", right)


def png(depth: int, colour: int, rows: bytes, size: tuple[int, int], *before: bytes, end: bool = True) -> bytes:
    """A PNG by hand, for what Pillow does not write; `rows` with the filters' numbers, `before` are chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    return SIGNATURE + header + b"".join(before) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"") * end


def with_chunk(data: bytes, name: bytes, body: bytes, check: int | None = None) -> bytes:
    """A PNG with one chunk more behind its header."""
    return data[:33] + chunk(name, body, check) + data[33:]


def flipped(data: bytes, at: int) -> bytes:
    """The file with one bit turned over."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def progressive(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until it has about so many."""
    data = encoded(Image.new("L", SIZE, 90), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def without_last_scan() -> bytes:
    """A progressive JPEG that ends a scan too early."""
    data = encoded(image(), "JPEG", progressive=True)
    return data[: data.rindex(b"\xff\xda")] + b"\xff\xd9"


def _without_adobe(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


def deep(levels: int, *before: bytes) -> bytes:
    """A 16-bit grey PNG of so many levels."""
    row = b"\0" + struct.pack(">20H", *(i * levels // 20 for i in range(20)))
    return png(16, 0, row * 20, (20, 20), *before)


def readable() -> dict[str, bytes]:
    """Files that have pixels."""
    rgb, jpeg, plain = image(), encoded(image()), encoded(image(), "PNG")
    wide = b"\0" + struct.pack(">60H", *range(0, 60000, 1000))
    data = plain.index(b"IDAT")
    check = data + 4 + int.from_bytes(plain[data - 4 : data], "big")
    long = zlib.compress(bytes(2_000_000))
    files = {
        "JPEG": jpeg,
        "progressive JPEG": encoded(rgb, progressive=True),
        "progressive JPEG without its last scan": without_last_scan(),
        "JPEG of fifty scans": progressive(50),
        "grey JPEG": encoded(image("L")),
        "CMYK JPEG": encoded(image("CMYK")),
        "CMYK JPEG without Adobe's marker": _without_adobe(encoded(image("CMYK"))),
        "JPEG with junk behind its end": jpeg + b"\xff\xda\x00\x02" * 500,
        "MPO": encoded(rgb, "MPO", save_all=True, append_images=[image(size=(48, 32))]),
        "orientation in XMP alone": with_app1(jpeg, XMP),
        "Make of the wrong type": with_app1(jpeg, tags(">", (0x010F, 5, 1, struct.pack(">I", 38)), turned_by())),
        "resolution as text": with_app1(jpeg, tags("<", turned_by("<"), (0x011A, 2, 4, b"72dp"))),
        "EXIF that is rubbish": with_app1(jpeg, b"Exif\0\0II*\0\xff\xff\xff\xff rubbish"),
        "EXIF cut short": with_app1(jpeg, tags(">", turned_by(), (0x010F, 2, 9, bytes(4)))[:30]),
        "PNG": plain,
        "grey PNG": encoded(image("L"), "PNG"),
        "PNG turned by EXIF": encoded(rgb, "PNG", 3),
        "RGBA PNG": encoded(image("RGBA"), "PNG"),
        "grey PNG with alpha": encoded(image("LA"), "PNG"),
        "palette PNG": encoded(rgb.quantize(64), "PNG"),
        "palette PNG with transparency": encoded(rgb.quantize(64), "PNG", transparency=bytes(range(64))),
        "palette PNG of a few colours": png(8, 3, (b"\0" + bytes(range(20))) * 20, (20, 20), chunk(b"PLTE", bytes(30))),
        "PNG with a transparent colour": encoded(rgb, "PNG", transparency=rgb.getpixel((3, 3))),
        "grey PNG with a transparent colour": encoded(image("L"), "PNG", transparency=image("L").getpixel((3, 3))),
        "black and white PNG": encoded(image("1"), "PNG"),
        "16-bit grey PNG": deep(65536),
        "16-bit grey PNG of low levels": deep(200),
        "16-bit grey PNG with a transparent level": deep(65536, chunk(b"tRNS", struct.pack(">H", 65536 // 20))),
        "16-bit PNG": png(16, 2, wide * 20, (20, 20)),
        "PNG with a wrong checksum in its pixels": flipped(plain, check),
        "PNG with a wrong checksum in its text": with_chunk(plain, b"tEXt", b"a\0b", check=1),
        "PNG without its end": plain[:-12],
        "PNG with a wrong checksum at its end": flipped(plain, len(plain) - 1),
        "PNG with junk behind its end": plain + b"junk" * 50,
        "PNG with an unknown critical chunk": with_chunk(plain, b"ABCD", b"1234"),
        "PNG with a long text": with_chunk(plain, b"zTXt", b"c\0\0" + long),
        "PNG with a long colour profile": with_chunk(plain, b"iCCP", b"c\0\0" + long),
        "PNG with a long international text": with_chunk(plain, b"iTXt", b"c\0\1\0\0\0" + long),
        "WebP": encoded(rgb, "WEBP", 8),
        "WebP with alpha": encoded(image("RGBA"), "WEBP", lossless=True, exact=True),
        "animated WebP": encoded(rgb, "WEBP", save_all=True, append_images=[image("L").convert("RGB")]),
        "APNG": encoded(rgb, "PNG", save_all=True, append_images=[image("L").convert("RGB")]),
        "AVIF": encoded(rgb, "AVIF"),
        "AVIF turned": encoded(rgb, "AVIF", 6),
        "AVIF with alpha": encoded(image("RGBA"), "AVIF"),
        "HEIC": heic(rgb),
        "HEIC with alpha": heic(image("RGBA")),
    }
    return files | {f"JPEG of orientation {i}": encoded(rgb, "JPEG", i) for i in range(2, 9)}


def unreadable() -> dict[str, tuple[bytes, str]]:
    """Files that have no pixels to be trusted, each with the reason's code."""
    jpeg, plain = encoded(image()), encoded(image(), "PNG")
    rows = (b"\0" + bytes(60)) * 20
    return {
        "nothing": (b"", "not_a_picture"),
        "text": (b"BMW and other words", "not_a_picture"),
        "JPEG without its end": (jpeg[:-2], "damaged"),
        "JPEG cut short": (jpeg[:-400], "damaged"),
        "JPEG header": (jpeg[:20], "damaged"),
        "progressive JPEG cut short": (encoded(image(), progressive=True)[:-50], "damaged"),
        "JPEG of 200 scans": (progressive(200), "too_many_scans"),
        "PNG cut short": (plain[:-400], "damaged"),
        "PNG cut at the end of its pixels": (plain[:-18], "damaged"),
        "PNG with too few rows": (png(8, 2, rows[:-61], (20, 20)), "damaged"),
        "PNG with a wrong filter": (png(8, 2, b"\7" + rows[1:], (20, 20)), "damaged"),
        "PNG with a wrong checksum in its header": (flipped(plain, 29), "damaged"),
        "PNG without pixels": (plain[:33] + chunk(b"IEND", b""), "damaged"),
        "WebP cut short": (encoded(image(), "WEBP")[:-40], "damaged"),
        "AVIF cut short": (encoded(image(), "AVIF")[:-40], "damaged"),
        "HEIC cut short": (heic(image())[:-40], "damaged"),
        "HEIC in name alone": (b"\0\0\0\x18ftypheic" + bytes(100), "damaged"),
        "video": (b"\0\0\0\x18ftypisom" + bytes(100), "not_a_picture"),
        "too many pixels": (encoded(Image.new("1", (1200, 1000)), "PNG"), "too_many_pixels"),
    }


def mutations(count: int, seed: int = 0) -> Iterator[bytes]:
    """Files with turned bits, cut tails, lost and repeated pieces; half of the PNGs with right checksums."""
    names = ("JPEG", "progressive JPEG", "grey JPEG", "CMYK JPEG", "JPEG of orientation 6", "PNG", "RGBA PNG", "WebP")
    names += ("palette PNG", "grey PNG", "PNG turned by EXIF", "black and white PNG", "WebP with alpha", "AVIF", "HEIC")
    files = readable()
    for number in range(count):
        draw = random.Random(seed + number)
        data = bytearray(files[draw.choice(names)])
        what = draw.randrange(5)
        for _ in range(draw.randint(1, 4)):
            at = int(len(data) * draw.random() ** draw.choice((1, 1, 3)))
            if what == 0 and data:
                data[min(at, len(data) - 1)] ^= 1 << draw.randrange(8)
            elif what == 1:
                del data[len(data) - draw.randint(1, 1 + len(data) // draw.choice((2, 8, 100))) :]
            elif what == 2:
                data[at : at + 4] = draw.randbytes(4)
            elif what == 3:
                del data[at : at + draw.randint(1, 40)]
            else:
                data[at:at] = data[at : at + draw.randint(1, 60)]
        yield _with_right_checksums(bytes(data)) if number % 2 else bytes(data)


def _with_right_checksums(data: bytes) -> bytes:
    if not data.startswith(SIGNATURE):
        return data
    parts, at = [SIGNATURE], 8
    while at + 12 <= len(data) and at + 12 + (length := int.from_bytes(data[at : at + 4], "big")) <= len(data):
        parts.append(chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join((*parts, data[at:]))
