"""Archives from strangers (.zip, .tar, .tar.gz, …), unpacked with bounds."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from tqdm import tqdm

from plantdoc.core import file_names
from plantdoc.core.errors import UserError

MAX_BYTES = 20 * 10**9
MAX_FILES = 500_000
MAX_RATIO = 200  # unpacked to packed; pictures hardly shrink, annotation files by a factor of about 20
_SMALL = 10**9  # bytes; below this no ratio is suspicious
_BLOCK = 1 << 20
# What the libraries raise on damaged archives; a RuntimeError of zipfile is an encrypted one.
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)


def unpack(path: Path, folder: Path) -> None:
    """Unpack the archive `path`, whatever its name, into `folder`.

    What is bounded is the bytes that come out, not what the archive says of itself.

    Raises:
        UserError: it is no archive, damaged, encrypted, holds links or names that lead out of `folder`, or unpacks
            to more than `MAX_BYTES`, `MAX_FILES`, `MAX_RATIO` times its size, or the free disk space.
    """
    packed = path.stat().st_size
    bounds = {
        "the most that is taken": MAX_BYTES,
        f"{MAX_RATIO} times its size": max(_SMALL, MAX_RATIO * packed),
        "the free disk space": shutil.disk_usage(folder).free,
    }
    why, limit = min(bounds.items(), key=lambda item: item[1])
    done = 0
    try:
        with tqdm(desc=f"unpack {path.name}", unit="B", unit_scale=True, dynamic_ncols=True) as bar:
            for count, (name, source) in enumerate(_members(path, folder)):
                if count >= MAX_FILES:
                    raise UserError(f"{path} holds more than {MAX_FILES} files: unpack it yourself and name the folder")
                target = folder / _safe(path, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)  # a name that comes twice is no way into another file
                with open(target, "wb") as file:
                    while block := source.read(_BLOCK):
                        done += len(block)
                        if done > limit:
                            raise UserError(
                                f"{path} unpacks to more than {limit / 1e9:.3g} GB ({why}): "
                                "if you trust it, unpack it yourself and set fetch.source to the folder"
                            )
                        file.write(block)
                        bar.update(len(block))
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise UserError(f"{path} holds a file and a folder of the same name, {error.filename}: pack it again") from None
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
                    raise UserError(_link(path, member.filename))
                if not member.is_dir():
                    with archive.open(member) as source:
                        yield _zip_name(member), source
        return
    if not tarfile.is_tarfile(path):
        raise UserError(f"{path} is neither a folder nor a .zip, .tar or .tar.gz archive: check fetch.source")
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if member.islnk() and (first := folder / _safe(path, member.linkname)).is_file():
                with open(first, "rb") as source:
                    yield member.name, source
            elif member.isfile() and not member.islnk() and (source := archive.extractfile(member)):
                yield member.name, source
            elif not member.isdir():
                raise UserError(_link(path, member.name))


def _link(path: Path, name: str) -> str:
    return f"{path} holds a link or device, {name!r}, which is not unpacked: pack the files themselves"


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


def _safe(path: Path, name: str) -> PurePosixPath:
    parts = PurePosixPath(name).parts
    windows = PureWindowsPath(name)
    if not parts or ".." in parts or ".." in windows.parts or name.startswith("/") or windows.anchor or "\0" in name:
        raise UserError(f"{path} holds {name!r}, a name that leads out of it: do not use it, or pack it again")
    return PurePosixPath(*map(file_names.shortened, parts))
