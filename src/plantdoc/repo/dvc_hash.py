"""Hashes as dvc.lock has them: MD5 of a file; for a folder, MD5 of the list of its files, and `.dir`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from plantdoc.core import hashing


def of_file(path: Path | str) -> str:
    """MD5 of the file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def listing(folder: Path | str) -> dict[str, str]:
    """Path inside `folder` → MD5, of all files in it but those that .dvcignore leaves out."""
    return {path.relative_to(folder).as_posix(): of_file(path) for path in hashing.files(folder)}


def of_listing(files: dict[str, str]) -> str:
    """The hash of a folder with these files."""
    # DVC sorts by path and writes the list with json's default separators; both are part of the hash.
    rows = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode()).hexdigest() + ".dir"


def of(path: Path | str) -> str:
    """The hash of a file or a folder."""
    return of_listing(listing(path)) if Path(path).is_dir() else of_file(path)
