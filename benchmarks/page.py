"""Brings the figures of results/benchmarks/*.json into docs/benchmarks.md and docs/scaling.md.

    python benchmarks/page.py

What stands between `<!-- name -->` and `<!-- /name -->` there is made from results/benchmarks/name.json; the words
around it are written by hand. A test says when a page and its files differ.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import measure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import stage

PAGES = ("docs/benchmarks.md", "docs/scaling.md")


def main() -> None:
    for page in PAGES:
        path = measure.ROOT / page
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            with stage.replacing(path, folder=False) as target:
                target.write_text(after, encoding="utf-8")
        print(f"{page}: {'written' if after != before else 'up to date'}")


def filled(page: str) -> str:
    """The page with the tables as the files have them now; one without a file says so."""
    return re.sub(
        r"<!-- (\w+) -->\n.*?<!-- /\1 -->",
        lambda found: f"<!-- {found[1]} -->\n{section(found[1])}<!-- /{found[1]} -->",
        page,
        flags=re.DOTALL,
    )


def section(name: str) -> str:
    """The Markdown of one file of figures."""
    path = measure.RESULTS / f"{name}.json"
    if not path.exists():
        return "*Not measured yet.*\n"
    figures = json.loads(path.read_text(encoding="utf-8"))
    about = figures["about"]
    versions = ", ".join(f"{key} {value}" for key, value in about.items() if key not in ("date", "machine"))
    lines = [f"`{figures['command']}`, {about['date']}, on {about['machine']}; {versions}.", ""]
    lines += table([{key: measure.text(value) for key, value in row.items()} for row in figures["rows"]])
    if figures["targets"]:
        lines += ["", *table([_target(each) for each in figures["targets"]])]
    return "\n".join(lines) + "\n"


def table(rows: list[dict[str, str]]) -> list[str]:
    """Lines of a Markdown table; all rows have the same names, in order."""
    names = list(rows[0])
    cells = [names, ["---"] * len(names), *([row[name].replace("|", "\\|") for name in names] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in cells]


def _target(each: dict) -> dict[str, str]:
    wanted = f"≥ {each['at_least']}" if each["at_least"] is not None else f"≤ {each['at_most']}"
    return {
        "target": each["what"],
        "wanted": wanted,
        "measured": measure.text(each["measured"]),
        "": "met" if each["met"] else "**missed**",
    }


if __name__ == "__main__":
    stage.run(main)
