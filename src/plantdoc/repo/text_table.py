"""A table in the terminal."""

from __future__ import annotations


def show(rows: list[dict[str, str]]) -> None:
    """Print a line per row below the names of its cells, in columns; all rows have the same names, in order."""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    for row in ({name: name for name in widths}, *rows):
        print("  ".join(f"{row[name]:<{width}}" for name, width in widths.items()).rstrip())
