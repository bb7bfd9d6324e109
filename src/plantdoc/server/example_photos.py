"""The bundle's example pictures."""

from __future__ import annotations

import re
from pathlib import Path

_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


class Examples:
    """The pictures of a folder, 1.jpg before 10.jpg; none where there is no folder."""

    def __init__(self, folder: Path | None):
        files = folder.iterdir() if folder and folder.is_dir() else ()
        self._files = {file.name: file for file in files if file.suffix.lower() in _TYPES and file.is_file()}

    def listed(self) -> list[dict[str, str]]:
        """Each with its name and where it is to be had; one whose file has gone since is left out."""
        names = sorted((name for name, file in self._files.items() if file.is_file()), key=_order)
        return [{"name": name, "url": f"/examples/{name}"} for name in names]

    def find(self, name: str) -> tuple[bytes, str] | None:
        """Content of the file of that name and its type; None where there is none, or it has gone since."""
        file = self._files.get(name)
        try:
            return (file.read_bytes(), _TYPES[file.suffix.lower()]) if file else None
        except OSError:
            return None


def _order(name: str) -> list:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
