"""Hashes of files, folders and values, equal on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

# Files and folders that are no part of a folder's content: caches of Python, and what editors and file managers leave.
# .dvcignore has the same patterns, so that DVC hashes the same files.
# fmt: off
IGNORED = (
    "__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".ipynb_checkpoints",
    ".idea", ".vscode", "*~", ".*.sw[a-p]", ".#*", "#*#", ".DS_Store", "Thumbs.db", "desktop.ini",
)
# fmt: on


def of_file(path: Path | str) -> str:
    """SHA-256 of the file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_files(paths: Iterable[Path | str], root: Path | str) -> str:
    """SHA-256 over names (relative to `root`) and contents of the files in `paths`, folders walked, in any order."""
    root = Path(root)
    found: set[Path] = set()
    for path in map(Path, paths):
        found.update(files(path) if path.is_dir() else [path])
    return of_value(sorted((file.relative_to(root).as_posix(), of_file(file)) for file in found))


def files(folder: Path | str) -> list[Path]:
    """All files below `folder`, sorted, without those of IGNORED."""
    folder = Path(folder)
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not is_ignored(path.relative_to(folder))]


def is_ignored(path: PurePath | str) -> bool:
    """Whether a part of a path inside a folder is one of IGNORED."""
    return any(fnmatchcase(part, pattern) for part in PurePath(path).parts for pattern in IGNORED)


def of_value(value: object) -> str:
    """SHA-256 of a value as canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
