"""Results of a sweep: a table, best on val first, and a plot of scores over a param."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plantdoc.repo.revisions import Revision
from plantdoc.sweep import grid

_MOST_LINES = 10  # more combinations than colours cannot be told apart
_X_LOG = "lr"


@dataclass(frozen=True)
class TrialResult:
    """A trial after the sweep: `experiment` is None where it failed; `state` is `done` or why not.

    `timed` says whether results/cost.json tells of this trial's training.
    """

    name: str
    trial: grid.Trial
    experiment: Revision | None
    state: str
    timed: bool = True

    def metric(self, name: str) -> Any:
        """A metric of the experiment, None where there is none."""
        return self.experiment.metrics.get(name) if self.experiment else None

    @property
    def val(self) -> float | None:
        return self.metric("train:val_map50")

    @property
    def test(self) -> float | None:
        return self.metric("evaluate:map50")

    @property
    def dollars(self) -> float | None:
        """Cost of the training, of all its instances on EC2 together; None where it ran here."""
        return self.metric("cost:train.dollars") if self.timed else None

    def line(self) -> str:
        """The scores in a few words."""
        return f"val mAP@50 {_cell('val ', self.val)}, test mAP@50 {_cell('test ', self.test)}"


def rows(trial_results: Sequence[TrialResult]) -> list[dict[str, object]]:
    """The table's rows by column name, best on val first, failed ones last; None where there is nothing to tell."""
    ranked = sorted(trial_results, key=lambda result: -1.0 if result.val is None else result.val, reverse=True)
    paid = any(result.dollars is not None for result in trial_results)
    return [
        {
            **result.trial,
            "val mAP@50": result.val,
            "test mAP@50": result.test,
            "test from": result.metric("evaluate:map50_low"),
            "test to": result.metric("evaluate:map50_high"),
            "minutes": result.metric("cost:train.minutes") if result.timed else None,
            **({"dollars": result.dollars} if paid else {}),
            "where": result.metric("cost:train.machine") if result.timed else None,
            "experiment": result.name,
            "state": result.state,
        }
        for result in ranked
    ]


def write(folder: Path, trial_results: Sequence[TrialResult]) -> str:
    """Write table.md, table.csv and plot.png into `folder`; returns the text of table.md."""
    table = rows(trial_results)
    with open(folder / "table.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    summary = list(map(_readable, table))
    cells = [list(summary[0]), *(list(row.values()) for row in summary)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |\n" for line in cells]
    (folder / "table.md").write_text("".join(lines), encoding="utf-8")
    plot(folder / "plot.png", trial_results)
    return "".join(lines)


def _readable(row: dict[str, object]) -> dict[str, str]:
    """A row for reading, with the test score's interval in brackets after it."""
    cells = {name: _cell(name, value) for name, value in row.items()}
    low, high = cells.pop("test from"), cells.pop("test to")
    if row["test from"] is not None:
        cells["test mAP@50"] += f" ({low}–{high})"
    return cells


def _cell(name: str, value: object) -> str:
    if value is None:
        return "–"
    if name.startswith(("val ", "test ")):
        return f"{value:.4f}"
    if name == "minutes":
        return f"{value:.1f}"
    if name == "dollars":
        return f"{value:.2f}"
    return grid.text(value).replace("|", "\\|")


def plot(path: Path, trial_results: Sequence[TrialResult]) -> None:
    """Val and test mAP@50 over `lr`, or else over the first param with numbers that is not the same in all trials.

    Trials that differ in that param alone are joined by a line; where no two are, as with random draws, none is drawn.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, LogLocator

    done = [result for result in trial_results if result.val is not None and result.test is not None]
    x = _axis([result.trial for result in trial_results])
    lines: dict[str, list[TrialResult]] = {}
    for result in sorted(done, key=lambda result: _sort_key(result.trial[x])):
        others = ", ".join(f"{key} {grid.text(value)}" for key, value in result.trial.items() if key != x)
        lines.setdefault(others, []).append(result)
    joined = len(lines) < len(done) or len(done) == 1
    shown = list(lines.items())[:_MOST_LINES] if joined else [("", done)]

    figure = Figure(figsize=(8, 5), dpi=150, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    for i, (others, line) in enumerate(shown):
        _draw(axes, x, line, f"C{i}", f": {others}" if others else "", joined)
    left_out = [f"{len(trial_results) - len(done)} without a score"] if len(done) < len(trial_results) else []
    left_out += [f"{len(lines) - _MOST_LINES} more combinations"] if joined and len(lines) > _MOST_LINES else []
    axes.set_title("mAP@50 of the sweep's trials" + (f" (not shown: {', '.join(left_out)})" if left_out else ""))
    axes.set_ylabel("mAP@50")
    axes.set_xlabel(x)
    axes.grid(color="0.9")
    if x == _X_LOG and done:
        axes.set_xscale("log")
        ticks = {result.trial[x] for result in done}
        axes.xaxis.set_major_locator(
            FixedLocator(sorted(ticks)) if joined and len(ticks) <= 8 else LogLocator(subs=(1, 2, 5))
        )
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    if done:
        beside, below = {"loc": "outside right upper"}, {"loc": "outside lower center", "ncols": 4}
        figure.legend(**(beside if len(shown) > 2 else below))
    figure.savefig(path)


def _draw(axes, x: str, line: Sequence[TrialResult], colour: str, of: str, joined: bool) -> None:
    """One combination's scores: val filled, test hollow with its interval."""
    at = [_sort_key(result.trial[x])[1] for result in line]
    test = [result.metric("evaluate:map50") for result in line]
    low = [result.metric("evaluate:map50_low") for result in line]
    high = [result.metric("evaluate:map50_high") for result in line]
    below = [score - end if end is not None else 0 for score, end in zip(test, low, strict=True)]
    above = [end - score if end is not None else 0 for score, end in zip(test, high, strict=True)]
    axes.plot(at, [result.val for result in line], "o-" if joined else "o", color=colour, label=f"val{of}")
    style = {"fmt": "s--" if joined else "s", "color": colour, "mfc": "white", "capsize": 4}
    axes.errorbar(at, test, [below, above], label=f"test (95 % interval){of}", **style)


def _axis(trials: Sequence[grid.Trial]) -> str:
    varied = [key for key in trials[0] if len({grid.text(trial[key]) for trial in trials}) > 1] or list(trials[0])
    numeric = [key for key in varied if all(grid.is_number(trial[key]) for trial in trials)]
    return _X_LOG if _X_LOG in varied else (numeric or varied)[0]


def _sort_key(value: object) -> tuple[bool, object]:
    """Sort key of a value on an axis: numbers by size, text after them."""
    return (False, value) if grid.is_number(value) else (True, grid.text(value))
