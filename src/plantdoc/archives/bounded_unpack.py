"""Files of an archive from a stranger, written with bounds: on their number, their bytes, and where they land."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from plantdoc.core import file_names
from plantdoc.core.errors import UserError

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Bounds:
    """Bounds on what comes out of an archive, whatever it says of itself.

    `size` and `ratio` are bytes, and bytes for each byte of the archive; the ratio counts from `small` bytes on.
    `remedy` ends the error for somebody who trusts the archive.
    """

    size: int
    files: int
    ratio: int
    small: int
    remedy: str

    def most(self, archive: Path, folder: Path) -> tuple[int, str]:
        """Bytes that may come out of `archive` into `folder`, and which bound that is."""
        bounds = {
            "the most that is taken": self.size,
            f"{self.ratio} times its size": max(self.small, self.ratio * archive.stat().st_size),
            "the free disk space": shutil.disk_usage(folder).free,
        }
        why, limit = min(bounds.items(), key=lambda item: item[1])
        return limit, why

    def too_large(self, archive: Path, limit: int, why: str) -> UserError:
        """The error for an archive that unpacks to more than `limit` bytes."""
        return UserError(f"{archive} unpacks to more than {limit / 1e9:.3g} GB ({why}): {self.remedy}")


def write(
    members: Iterable[tuple[str, IO[bytes]]],
    archive: Path,
    folder: Path,
    bounds: Bounds,
    told: Callable[[int], object] = lambda count: None,
) -> None:
    """Write the files of `archive` into `folder`.

    Args:
        members: name and content of each file, one after the other.
        archive: the file that they come from.
        folder: which exists.
        bounds: on all files together.
        told: called with the bytes that were written, after each megabyte.

    Raises:
        UserError: a name leads out of `folder`, two names exclude each other, or a bound is exceeded.
    """
    limit, why = bounds.most(archive, folder)
    done = 0
    try:
        for count, (name, source) in enumerate(members):
            if count >= bounds.files:
                raise UserError(f"{archive} holds more than {bounds.files} files: {bounds.remedy}")
            target = folder / safe(archive, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # a name that comes twice is no way into another file
            with open(target, "wb") as file:
                while block := source.read(_BLOCK):
                    done += len(block)
                    if done > limit:
                        raise bounds.too_large(archive, limit, why)
                    file.write(block)
                    told(len(block))
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise UserError(
            f"{archive} holds a file and a folder of the same name, {error.filename}: pack it again"
        ) from None


def safe(archive: Path, name: str) -> PurePosixPath:
    """The name of a member as a path inside the folder.

    Raises:
        UserError: it is absolute, or leads out of it.
    """
    parts = PurePosixPath(name).parts
    windows = PureWindowsPath(name)
    if not parts or ".." in parts or ".." in windows.parts or name.startswith("/") or windows.anchor or "\0" in name:
        raise UserError(f"{archive} holds {name!r}, a name that leads out of it: do not use it, or pack it again")
    return PurePosixPath(*map(file_names.shortened, parts))


def link(archive: Path, name: str) -> UserError:
    """The error for a member that is neither a file nor a folder."""
    return UserError(f"{archive} holds a link or device, {name!r}, which is not unpacked: pack the files themselves")
