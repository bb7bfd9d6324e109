"""A folder as a .tar.gz of regular files: packed to equal bytes, unpacked as what a stranger may have made."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from plantdoc.archives import bounded_unpack
from plantdoc.archives.bounded_unpack import Bounds
from plantdoc.core.errors import UserError

_DAMAGED = (tarfile.TarError, EOFError, zlib.error, ValueError)


def pack(folder: Path | str, archive: Path | str) -> None:
    """Make a .tar.gz of all files below `folder`; names and contents alone determine its bytes."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with (
        open(archive, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in files:
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size, member.mode = path.stat().st_size, 0o644
            with open(path, "rb") as file:
                tar.addfile(member, file)


def unpack(archive: Path, folder: Path, bounds: Bounds, remedy: str) -> None:
    """Unpack what `pack` makes into `folder`; nothing else is taken.

    tarfile's filter "data" is not relied on: it lets links in, and had ways out until Python 3.11.13, 3.12.11 and
    3.13.4 (CVE-2024-12718, CVE-2025-4138, CVE-2025-4330, CVE-2025-4517).

    Args:
        archive: a .tar.gz.
        folder: made where it is missing.
        bounds: on what comes out of it.
        remedy: what to do about one that is damaged.

    Raises:
        UserError: it is damaged, holds a link, a device or a name that leads out of `folder`, or exceeds a bound.
    """
    folder.mkdir(parents=True, exist_ok=True)
    limit, why = bounds.most(archive, folder)
    try:
        with gzip.GzipFile(archive) as packed:
            counted = cast(IO[bytes], _Counted(packed, limit))  # a stream is only read from
            with tarfile.open(fileobj=counted, mode="r|") as tar:
                bounded_unpack.write(_files(archive, tar, bounds), archive, folder, bounds)
    except _TooMuchError:
        raise bounds.too_large(archive, limit, why) from None
    except (OSError, *_DAMAGED) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's trouble; a damaged gzip is an OSError without a number
        raise UserError(f"{archive} cannot be unpacked ({error}): {remedy}") from None


def _files(archive: Path, tar: tarfile.TarFile, bounds: Bounds) -> Iterator[tuple[str, IO[bytes]]]:
    for count, member in enumerate(tar):
        if count >= bounds.files:
            raise UserError(f"{archive} holds more than {bounds.files} files and folders: {bounds.remedy}")
        if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.sparse:
            source = tar.extractfile(member)
            assert source
            yield member.name, source
        elif member.isdir():
            if member.name != ".":
                bounded_unpack.safe(archive, member.name)
        else:
            raise bounded_unpack.link(archive, member.name)


class _TooMuchError(Exception):
    """More bytes came out than are taken."""


class _Counted:
    """A stream that ends in an error after `limit` bytes: headers and padding count as well as files."""

    def __init__(self, stream: gzip.GzipFile, limit: int):
        self._stream, self._left = stream, limit

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _TooMuchError
        return data
