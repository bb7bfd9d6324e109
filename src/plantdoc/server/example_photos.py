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
        """Each with its name and where it is to be had."""
        return [{"name": name, "url": f"/examples/{name}"} for name in sorted(self._files, key=_order)]

    def find(self, name: str) -> tuple[Path, str] | None:
        """The file of that name and its content type."""
        file = self._files.get(name)
        return (file, _TYPES[file.suffix.lower()]) if file else None


def _order(name: str) -> list:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
