"""The format of a picture file by its first bytes. Standard library alone: AWS Lambda uses it as well."""

from __future__ import annotations

_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes of the second header; the file begins with two letters alone
# Brands of ISO/IEC 23008-12 (HEIF) for pictures coded as HEVC, and of any coding.
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2")
_AVIF = (b"avif", b"avis")
PHONES = ("HEIC", "AVIF")
MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
REMEDY = (
    "{kind} pictures are not read here: send a JPEG. On an iPhone, choose Settings > Camera > Formats > Most "
    "Compatible; on other phones, switch HEIC or AVIF off in the camera's settings; export pictures that are there "
    "as JPEG"
)


def of(data: bytes) -> str | None:
    """JPEG, PNG, WEBP, GIF, BMP, TIFF, HEIC or AVIF; None for what is none of them."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _of_brands(data)
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return next((kind for start, kind in _STARTS.items() if data.startswith(start)), None)


def _of_brands(data: bytes) -> str | None:
    """The kind by the brands in a file's `ftyp` box: the main one, then, where that is of any coding, the others."""
    end = min(int.from_bytes(data[:4], "big"), 512)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
    if brands[0] not in (*_HEIC, *_AVIF):
        return None
    of_any_coding = not brands[0].startswith(b"he")
    return "AVIF" if brands[0] in _AVIF or (of_any_coding and set(brands) & set(_AVIF)) else "HEIC"
