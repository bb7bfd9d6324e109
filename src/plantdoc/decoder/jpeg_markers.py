"""The structure of a JPEG (ITU-T T.81, annexes B and G): how many scans it has, and whether they are all there."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Programs write about ten scans; each is a pass over the whole picture that may take only 14 bytes, and thousands of
# them stop a decoder for hours.
MAX_SCANS = 100
# A marker: FF, perhaps repeated, and what it is; FF00 is data, D0 to D7 are restarts in the middle of a scan.
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_SCAN, _END, _BARE = 0xDA, 0xD9, (0x01, 0xD8)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_COEFFICIENTS = 64


@dataclass(frozen=True)
class Jpeg:
    """`scans` are counted up to one above MAX_SCANS; `whole`: the end is there, and all bits of all coefficients.

    Of what is missing, each version of libjpeg makes something else.
    """

    scans: int
    whole: bool


def read(data: bytes) -> Jpeg:
    """Look through the markers of a JPEG, up to its end: what phones put behind it is not decoded."""
    scans, at, kind = 0, 0, 0
    missing: dict[int, list[int]] = {}  # by component: lowest bit of each coefficient that is there; -1: none is
    sequential = True
    while scans <= MAX_SCANS and (marker := _MARKER.search(data, at)):
        kind, at = marker[1][0], marker.end()
        if kind == _END:
            break
        if kind in _BARE:  # the others say how long they are
            continue
        segment = data[at + 2 : at + int.from_bytes(data[at : at + 2], "big")] if kind in (*_FRAMES, _SCAN) else b""
        if kind in _FRAMES:
            sequential = kind not in _PROGRESSIVE
            missing = {component: [-1] * _COEFFICIENTS for component in segment[6::3]}
        elif kind == _SCAN:
            scans += 1
            _take(segment, missing, sequential)
        at += int.from_bytes(data[at : at + 2], "big")
    complete = all(low == 0 for component in missing.values() for low in component)
    return Jpeg(scans, kind == _END and bool(missing) and complete)


def _take(scan: bytes, missing: dict[int, list[int]], sequential: bool) -> None:
    """Enter what a scan brings, by its header."""
    count = scan[0] if scan else 0
    if len(scan) < 4 + 2 * count:
        return
    first, last, bits = (0, _COEFFICIENTS - 1, 0) if sequential else scan[1 + 2 * count : 4 + 2 * count]
    for component in scan[1 : 1 + 2 * count : 2]:
        if component in missing:
            missing[component][first : last + 1] = [bits & 15] * len(missing[component][first : last + 1])
