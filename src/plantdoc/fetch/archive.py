"""Archives from strangers (.zip, .tar, .tar.gz, …), unpacked with bounds."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tqdm import tqdm

from plantdoc.archives import bounded_unpack
from plantdoc.core.errors import UserError

MAX_BYTES = 20 * 10**9
MAX_FILES = 500_000
MAX_RATIO = 200  # unpacked to packed; pictures hardly shrink, annotation files by a factor of about 20
_SMALL = 10**9  # bytes; below this no ratio is suspicious
# What the libraries raise on damaged archives; a RuntimeError of zipfile is an encrypted one.
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)


def unpack(path: Path, folder: Path) -> None:
    """Unpack the archive `path`, whatever its name, into `folder`.

    What is bounded is the bytes that come out, not what the archive says of itself.

    Raises:
        UserError: it is no archive, damaged, encrypted, holds links or names that lead out of `folder`, or unpacks
            to more than `MAX_BYTES`, `MAX_FILES`, `MAX_RATIO` times its size, or the free disk space.
    """
    remedy = "if you trust it, unpack it yourself and set fetch.source to the folder"
    bounds = bounded_unpack.Bounds(MAX_BYTES, MAX_FILES, MAX_RATIO, _SMALL, remedy)
    try:
        with tqdm(desc=f"unpack {path.name}", unit="B", unit_scale=True, dynamic_ncols=True) as bar:
            bounded_unpack.write(_members(path, folder), path, folder, bounds, bar.update)
    except (OSError, *_DAMAGED) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's trouble; the decompressors' own OSErrors carry no number
        raise UserError(f"{path} is damaged or encrypted ({error}): download or pack it again") from None


def _members(path: Path, folder: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The name and content of each file in the archive, one after the other; folders are left out.

    A hard link in a tar comes as the content of the file in `folder` that it names, which is unpacked already.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if (member.external_attr >> 16) & 0o170000 == 0o120000:
                    raise bounded_unpack.link(path, member.filename)
                if not member.is_dir():
                    with archive.open(member) as source:
                        yield _zip_name(member), source
        return
    if not tarfile.is_tarfile(path):
        raise UserError(f"{path} is neither a folder nor a .zip, .tar or .tar.gz archive: check fetch.source")
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if member.islnk() and (first := folder / bounded_unpack.safe(path, member.linkname)).is_file():
                with open(first, "rb") as source:
                    yield member.name, source
            elif member.isfile() and not member.islnk() and (source := archive.extractfile(member)):
                yield member.name, source
            elif not member.isdir():
                raise bounded_unpack.link(path, member.name)


def _zip_name(member: zipfile.ZipInfo) -> str:
    """A member's name; one in UTF-8 whose flag is not set, as macOS writes it, is read as such.

    Names in other encodings stay in code page 437: plantdoc.fetch.picture_index finds them.
    """
    if member.flag_bits & 0x800:
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except ValueError:
        return member.filename
