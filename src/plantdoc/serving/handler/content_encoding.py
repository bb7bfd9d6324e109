"""Bodies that were compressed on their way (RFC 9110, 8.4.1). Standard library alone."""

from __future__ import annotations

import zlib

from plantdoc.serving.handler.refusal import Refused, too_long

_GZIP, _RAW = 16 + zlib.MAX_WBITS, -zlib.MAX_WBITS
_KNOWN = ("gzip", "x-gzip", "deflate")


def decoded(encoding: str, body: bytes, most: int) -> bytes:
    """The body as it was before its Content-Encoding.

    Args:
        encoding: the header's value; `identity` and nothing change nothing.
        body: as it came.
        most: bytes that it may have then.

    Raises:
        Refused: 415 for an encoding that is not read, 400 for a body that is not in it, 413 for more than `most`.
    """
    named = [each.strip().lower() for each in encoding.split(",")]
    wanted = [each for each in named if each not in ("", "identity")]
    if len(wanted) > 1 or not set(wanted) <= set(_KNOWN):
        raise Refused(
            415, "content_encoding", f"the encoding {', '.join(wanted)[:40]} is not read: send gzip, deflate or none"
        )
    if not wanted or not body:
        return body
    try:
        if wanted[0] != "deflate":
            return _inflated(body, _GZIP, most)
        # HTTP means zlib's form by it; some send the bare stream.
        of_zlib = body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
        return _inflated(body, zlib.MAX_WBITS if of_zlib else _RAW, most)
    except zlib.error:
        raise Refused(400, "wrong_encoding", f"the body is no whole {wanted[0]}, though it says so") from None


def _inflated(body: bytes, window: int, most: int) -> bytes:
    parts, left, rest = [], most, body
    while rest:  # gzip files may stand one behind another
        stream = zlib.decompressobj(window)
        parts.append(stream.decompress(rest, left + 1))
        left -= len(parts[-1])
        if left < 0:
            raise too_long(most)
        if not stream.eof:
            raise zlib.error("cut short")
        rest = stream.unused_data if window == _GZIP else b""
    return b"".join(parts)
