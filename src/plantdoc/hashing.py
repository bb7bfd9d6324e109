"""Hashes of files, folders and values, equal on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path


def of_file(path: Path | str) -> str:
    """SHA-256 of the file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_files(paths: Iterable[Path | str], root: Path | str) -> str:
    """SHA-256 over names (relative to `root`) and contents of the files in `paths`, folders walked, in any order."""
    root = Path(root)
    files: set[Path] = set()
    for path in map(Path, paths):
        files.update(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else files.add(path)
    return of_value(sorted((file.relative_to(root).as_posix(), of_file(file)) for file in files))


def of_value(value: object) -> str:
    """SHA-256 of a value as canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
