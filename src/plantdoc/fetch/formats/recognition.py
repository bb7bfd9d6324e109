"""Files in which a reader recognises its format."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Recognition:
    """The annotation files of a format in a source.

    Attributes:
        files: those that it reads.
        faults: files that seem to be of this format and are damaged, and how.
        skipped: files of this format that hold nothing to read here, and why.
    """

    files: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
