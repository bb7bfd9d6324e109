"""tf.train.Example, serialised and parsed without TensorFlow.

As far as it goes, protobuf's wire format is simple (https://protobuf.dev/programming-guides/encoding): all fields are
length-delimited, integers are packed varints, floats are packed 32-bit little-endian numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Value = bytes | int | float
BYTES, FLOATS, INTEGERS = 1, 2, 3  # the kinds of a feature, by the number of their field in tf.train.Feature


def serialise(features: Mapping[str, tuple[int, Sequence[Value]]]) -> bytes:
    """The bytes of an example: what protobuf calls deterministic serialisation, with keys sorted.

    Args:
        features: kind and values by key; integers are not negative.
    """
    entries = (_field(1, key.encode()) + _field(2, _feature(*features[key])) for key in sorted(features))
    return _field(1, b"".join(_field(1, entry) for entry in entries))


def parse(serialised: bytes) -> dict[str, list]:
    """The values of an example's features by key."""
    features = {}
    for _, entry in _fields(next(_fields(serialised))[1]):
        (_, key), (_, feature) = _fields(entry)
        features[bytes(key).decode()] = _values(feature)
    return features


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _feature(kind: int, values: Sequence[Any]) -> bytes:
    if kind == BYTES:
        return _field(kind, b"".join(_field(1, value) for value in values))
    packed = struct.pack(f"<{len(values)}f", *values) if kind == FLOATS else b"".join(map(_varint, values))
    return _field(kind, _field(1, packed) if values else b"")


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return number, at


def _fields(data: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    data, at = memoryview(data), 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        length, at = _read_varint(data, at)
        yield tag >> 3, data[at : at + length]
        at += length


def _values(feature: memoryview) -> list:
    ((kind, payload),) = _fields(feature)
    items = [item for _, item in _fields(payload)]
    if kind == BYTES:
        return [bytes(item) for item in items]
    packed = b"".join(items)
    if kind == FLOATS:
        return list(struct.unpack(f"<{len(packed) // 4}f", packed))
    numbers, at = [], 0
    while at < len(packed):
        number, at = _read_varint(memoryview(packed), at)
        numbers.append(number)
    return numbers
