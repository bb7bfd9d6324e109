"""GitHub's Markdown: text that cannot break out of where it stands, tables, folds, pictures, and numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MARKER = "<!-- plant-disease-report -->"  # a report's first line: by it its comment is found and written anew
_PLAIN = re.compile(r"[\w.,:;/=+()–…%'-]+( [\w.,:;/=+()–…%'-]+)*")


def code(text: object, longest: int = 80) -> str:
    """Any text as code, on one line, cut after `longest` characters.

    As code nobody is notified by an @name and nothing becomes a link. What could end a code span or a table's cell is
    written as HTML with each special character as its number.
    """
    line = " ".join(str(text).split())
    line = line if len(line) <= longest else line[: longest - 1] + "…"
    if not line:
        return "(empty)"
    if _PLAIN.fullmatch(line):
        return f"`{line}`"
    return "<code>" + "".join(c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in line) + "</code>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> list[str]:
    """The lines of a table; the columns in `numbers`, counted from 0, stand to the right."""
    numbers = set(numbers)
    rule = ("---:" if i in numbers else "---" for i in range(len(head)))
    return ["", *(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)), ""]


def fold(summary: str, lines: Iterable[str]) -> list[str]:
    """Lines that show when a reader opens them; `summary` is HTML."""
    return ["", f"<details><summary>{summary}</summary>", "", *lines, "", "</details>", ""]


def picture(url: str, alt: str, dark: str = "", width: int = 0) -> str:
    """A picture, `width` pixels wide if that is given; `dark` takes its place on a dark page."""
    shown = f'<img alt="{alt}" src="{url}"' + (f' width="{width}">' if width else ">")
    if dark:
        shown = f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">{shown}</picture>'
    return shown


def score(value: object) -> str:
    """A figure from 0 to 1 with three places, a dash where there is none."""
    return f"{value:.3f}" if isinstance(value, (int, float)) else "–"


def change(before: object, after: object) -> str:
    """Change of a score as arrow, number and word: the higher the better."""
    if not isinstance(before, (int, float)) or not isinstance(after, (int, float)):
        return "–"
    moved = round(after, 3) - round(before, 3)  # of what is shown
    if abs(moved) < 0.0005:
        return "= same"
    return f"▲ +{moved:.3f} better" if moved > 0 else f"▼ −{-moved:.3f} worse"
