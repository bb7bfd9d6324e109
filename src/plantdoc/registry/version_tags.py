"""The versions of the detector: git tags in GTO's form (`detector@v1.2.0`), made by scripts/promote.py."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from plantdoc.core import git
from plantdoc.repo import revisions

# The key under `artifacts:` in dvc.yaml, and what it stands for.
ARTIFACT, MODEL = "detector", "models/detector"
BUMPS = ("major", "minor", "patch")
_TAG = re.compile(rf"{ARTIFACT}@v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


@dataclass(frozen=True)
class Version:
    """A registered model: its tag, its number (major, minor, patch), and the commit that the tag names."""

    name: str
    number: tuple[int, int, int]
    revision: revisions.Revision


def versions(root: Path | str = ".") -> list[Version]:
    """All registered versions, oldest first. Other tags, those of GTO's stages among them, are none."""
    names = git.text("tag", "--list", f"{ARTIFACT}@v*", root=root).split()
    numbered = sorted((found, name) for name in names if (found := number(name)))
    return [Version(name, found, revisions.find(name, root)) for found, name in numbered]


def number(tag: str) -> tuple[int, int, int] | None:
    """(1, 2, 0) of `detector@v1.2.0`; None for any other name."""
    if not (match := _TAG.fullmatch(tag)):
        return None
    major, minor, patch = map(int, match.groups())
    return major, minor, patch


def latest(root: Path | str = ".") -> Version | None:
    """The version with the highest number; None where nothing is registered."""
    return max(versions(root), key=lambda version: version.number, default=None)


def next_name(last: Version | None, bump: str = "minor") -> str:
    """The tag of the version after `last`: `bump`, one of BUMPS, says which part goes up; the first is v1.0.0."""
    if not last:
        return f"{ARTIFACT}@v1.0.0"
    at = BUMPS.index(bump)
    parts = [*last.number[:at], last.number[at] + 1, *[0] * (2 - at)]
    return f"{ARTIFACT}@v{'.'.join(map(str, parts))}"
