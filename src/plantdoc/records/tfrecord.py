"""TFRecord files: rows of records, each with its length and checksums, written and read without TensorFlow.

The format: https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from plantdoc.core.errors import UserError

_BLOCK = 1024


class ShardWriter:
    """Writes framed records to `<name>-00000.tfrecord`, `<name>-00001.tfrecord`, … in `folder`.

    A shard is closed when it has reached `limit` bytes. `files` lists the names written so far.
    """

    def __init__(self, folder: Path, name: str, limit: int):
        self.folder, self.name, self.limit = folder, name, limit
        self.files: list[str] = []
        self._file = None

    def write(self, framed: bytes) -> None:
        """Append a record made by `frame`."""
        if self._file is None:
            self.files.append(f"{self.name}-{len(self.files):05d}.tfrecord")
            self._file = open(self.folder / self.files[-1], "wb")  # noqa: SIM115
        self._file.write(framed)
        if self._file.tell() >= self.limit:
            self._close()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def is_header(head: bytes) -> bool:
    """Whether `head` is how a record begins: 8 bytes of length and 4 of the length's checksum."""
    return len(head) == 12 and _masked(head[:8]) == head[8:]


def frame(record: bytes) -> bytes:
    """A record as it stands in a TFRecord file: length, its checksum, the bytes, their checksum."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _masked(length), record, _masked(record)))


def read(path: Path) -> Iterator[bytes]:
    """The records of a file, one at a time.

    Raises:
        UserError: the file is missing, cut short or damaged, or holds something else.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise UserError(f"{path} is not there: make the TFRecords with `dvc repro augment`") from None
    with file:
        size = path.stat().st_size
        while head := file.read(12):
            length = struct.unpack("<Q", head[:8])[0] if is_header(head) else size
            record = file.read(min(length, size))
            if file.read(4) != _masked(record):
                raise UserError(f"{path} is damaged or no TFRecord file: make it again with `dvc repro -f augment`")
            yield record


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli, RFC 3720), by table over blocks: _TABLE[i, b] is what byte b at place i of a block adds."""
    # Zeros in front change nothing where the checksum starts from 0, and _START brings it to where it has to start.
    count = -(-(len(_START) + len(data)) // _BLOCK)
    blocks = np.frombuffer((_START + data).rjust(count * _BLOCK, b"\0"), np.uint8).reshape(count, _BLOCK)
    crc = 0
    for added in np.bitwise_xor.reduce(_TABLE[_POSITIONS, blocks], axis=1).tolist():
        # The checksum so far goes the way of four more bytes at the beginning of the block.
        first, second, third, fourth = crc.to_bytes(4, "little")
        crc = added ^ _FIRST[0][first] ^ _FIRST[1][second] ^ _FIRST[2][third] ^ _FIRST[3][fourth]
    return crc ^ 0xFFFFFFFF


def _tables() -> np.ndarray:
    table = np.empty((_BLOCK, 256), np.uint32)
    last = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        last = np.where(last & 1, last >> 1 ^ np.uint32(0x82F63B78), last >> 1)
    table[-1] = last
    for i in range(_BLOCK - 2, -1, -1):
        table[i] = table[i + 1] >> 8 ^ last[table[i + 1] & 0xFF]
    return table


_START = bytes.fromhex("54641f64")  # bytes after which a checksum that started from 0 is 0xFFFFFFFF
_TABLE, _POSITIONS = _tables(), np.arange(_BLOCK)
_FIRST = _TABLE[:4].tolist()


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
