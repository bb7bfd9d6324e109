"""What the benchmarks share: sides measured in turns, medians, the machine's name, a table, and one form of JSON.

Clocks differ between machines and between minutes of a shared one. So sides are measured in turns (A B A B …) in one
run, what counts is the ratio of their medians, and no test asserts a time.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import stage
from plantdoc.core.errors import UserError
from plantdoc.repo import text_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results/benchmarks"
PEERS = ROOT / ".venv-peers"  # environments of what we compare with, one folder each: see `peer`
Row = dict[str, float | int | str | None]


def in_turns(sides: dict[str, Callable[[], Row]], rounds: int, show: bool = True) -> dict[str, list[Row]]:
    """Measure each side once a round, in the same order each time; the rows of each, as they came."""
    found: dict[str, list[Row]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, measure in sides.items():
            found[name].append(measure())
            if show:
                shown = ", ".join(f"{key} {text(value)}" for key, value in found[name][-1].items())
                print(f"{number + 1}/{rounds} {name}: {shown}", file=sys.stderr, flush=True)
    return found


def medians(rows: Iterable[Row]) -> Row:
    """The median of each number over the rows; of anything else, the first."""
    rows = list(rows)
    return {
        key: statistics.median(row[key] for row in rows) if isinstance(value, int | float) else value
        for key, value in rows[0].items()
    }


def target(what: str, measured: float, at_least: float | None = None, at_most: float | None = None) -> dict:
    """A line of the table of targets: what was to hold, what was found."""
    met = (at_least is None or measured >= at_least) and (at_most is None or measured <= at_most)
    return {"what": what, "measured": measured, "at_least": at_least, "at_most": at_most, "met": met}


def write(name: str, rows: list[Row], targets: list[dict] = (), peers: Iterable[str] = (), **more: object) -> None:
    """Print the table and the targets, and write results/benchmarks/<name>.json.

    Args:
        rows: a line per side, under the same names.
        targets: see `target`.
        peers: environments whose versions belong to the figures.
        more: what else the file shall hold, such as `rounds`, the single measurements; an `about` takes the place of
            this machine's.
    """
    text_table.show([{key: text(value) for key, value in row.items()} for row in rows])
    for each in targets:
        wanted = f"≥ {each['at_least']}" if each["at_least"] is not None else f"≤ {each['at_most']}"
        print(f"{'met' if each['met'] else 'MISSED'}: {each['what']}: {text(each['measured'])} ({wanted})")
    figures = {
        "command": " ".join(["python", os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
        "about": about(peers),
        "rows": rows,
        "targets": list(targets),
    }
    with stage.replacing(RESULTS / f"{name}.json", folder=False) as path:
        path.write_text(json.dumps(figures | more, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written to results/benchmarks/{name}.json; `python benchmarks/page.py` brings it into docs/benchmarks.md")


def text(value: float | int | str | None) -> str:
    """A figure as people read it: three digits that count."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def about(peers: Iterable[str] = ()) -> dict[str, str]:
    """When, on what, and with which versions, ours and those of peers' environments."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{_processor()}, {cores} cores, {_memory()}",
        "python": platform.python_version(),
        "tensorflow": _version("tensorflow", "tensorflow-cpu"),
        "keras-cv": _version("keras-cv"),
        "pillow": _version("pillow"),
    }
    for name in peers:
        code = "import importlib.metadata as m; print(*(f'{d.name} {d.version}' for d in m.distributions()), sep='\\n')"
        listed = subprocess.run([peer(name), "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
        wanted = set(re.findall(r"^[\w.-]+", (ROOT / f"benchmarks/peers/{name}.in").read_text(), re.MULTILINE))
        for kind, version in (line.split() for line in listed if line):
            kind = kind.lower().replace("_", "-")
            if kind in wanted:
                found[f"{kind} of {name}" if kind in found else kind] = version
    return found


def peer(name: str) -> str:
    """The Python of a peer's environment.

    Raises:
        UserError: it is not installed.
    """
    python = PEERS / name / "bin/python"
    if not python.exists():
        raise UserError(f"{name} is not installed: `make bench-peers` makes an environment of its own for it")
    return str(python)


def _version(*names: str) -> str:
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "–"


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
