"""Learning curves and precision against recall of two revisions, each chart for light pages and for dark ones."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from PIL import Image

from plantdoc.repo.revisions import Revision
from plantdoc.report import git_files

_CURVES = (
    ("train/box", "training loss: place"),
    ("train/class", "training loss: class"),
    ("val/map50", "val mAP@50"),
    ("val/map", "val mAP@50:95"),
)
# GitHub's own grounds, so that a chart has no visible edge; lines differ in colour, brightness, dash and width.
_THEMES = {
    "light": {"ground": "#ffffff", "ink": "#1f2328", "grid": "#d1d9e0", "before": "#b35900", "after": "#0969da"},
    "dark": {"ground": "#0d1117", "ink": "#e6edf3", "grid": "#3d444d", "before": "#f0a35e", "after": "#58a6ff"},
}
_DPI = 160


def learning(before: Revision, after: Revision, folder: Path) -> bool:
    """Write learning-light.png and learning-dark.png; returns whether there was anything to draw."""
    lines = {
        title: [_points(git_files.read_rows(revision, f"results/train/live/plots/metrics/{name}.tsv", "\t"))
                for revision in (before, after)]
        for name, title in _CURVES
    }  # fmt: skip
    if not any(x for both in lines.values() for x, _ in both):
        return False
    for theme, colours in _THEMES.items():
        figure = Figure(figsize=(9, 5), facecolor=colours["ground"], layout="constrained")
        for axes, (title, both) in zip(figure.subplots(2, 2).flat, lines.items(), strict=True):
            _plot(axes, both, (before.name, after.name), colours)
            axes.set_title(title, color=colours["ink"], fontsize=11, loc="left")
            axes.set_xlabel("epoch", color=colours["ink"])
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylim(bottom=0)
        _legend(figure.axes[0], colours)
        _save(figure, folder / f"learning-{theme}.png")
    return True


def precision_recall(before: Revision, after: Revision, folder: Path) -> bool:
    """Write precision-recall-light.png and -dark.png; returns whether there was anything to draw."""
    both = []
    for revision in (before, after):
        rows = git_files.read_json(revision, "results/evaluate/plots/precision_recall.json") or []
        both.append(([row["recall"] for row in rows], [row["precision"] for row in rows]))
    if not any(x for x, _ in both):
        return False
    for theme, colours in _THEMES.items():
        figure = Figure(figsize=(5, 3.6), facecolor=colours["ground"], layout="constrained")
        axes = figure.subplots()
        _plot(axes, both, (before.name, after.name), colours)
        axes.set_title("test, IoU 0.5, mean over classes", color=colours["ink"], fontsize=11, loc="left")
        axes.set_xlabel("recall", color=colours["ink"])
        axes.set_ylabel("precision", color=colours["ink"])
        axes.set(xlim=(0, 1), ylim=(0, 1.03))
        _legend(axes, colours)
        _save(figure, folder / f"precision-recall-{theme}.png")
    return True


def _points(rows: list[dict[str, str]]) -> tuple[list[int], list[float]]:
    """Epochs, counted from 1, and values of a table with the columns step and one more."""
    return [int(row["step"]) + 1 for row in rows], [float(list(row.values())[1]) for row in rows]


def _plot(axes, both: list[tuple[list, list]], names: tuple[str, str], colours: dict[str, str]) -> None:
    styles = ({"color": colours["before"], "linestyle": "--"}, {"color": colours["after"], "linewidth": 2.2})
    for (x, y), word, name, style in zip(both, ("before", "after"), names, styles, strict=True):
        if x:
            marker = "o" if len(x) == 1 else ""
            # A leading underscore or a dollar sign would mean something to matplotlib.
            label = f"{word}: {name if len(name) <= 24 else name[:23] + '…'}".replace("$", r"\$")
            axes.plot(x, y, marker=marker, label=label, **style)
    axes.set_facecolor(colours["ground"])
    axes.grid(color=colours["grid"], linewidth=0.6)
    axes.tick_params(colors=colours["ink"], labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(colours["grid"])


def _legend(axes, colours: dict[str, str]) -> None:
    axes.legend(fontsize=8.5, labelcolor=colours["ink"], facecolor=colours["ground"], edgecolor=colours["grid"])


def _save(figure: Figure, path: Path) -> None:
    """Write a PNG of few colours, a third as large, with a margin; the same figure gives the same bytes."""
    layout = figure.get_layout_engine()
    assert isinstance(layout, ConstrainedLayoutEngine)  # so each figure is made
    layout.set(w_pad=0.12, h_pad=0.12)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=_DPI, facecolor=figure.get_facecolor())
    # Without dithering: that would put dots on the ground.
    Image.open(drawn).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(path, optimize=True)
