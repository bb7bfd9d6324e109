"""Scores of two revisions beside each other: the verdict, the metrics, and AP per class."""

from __future__ import annotations

from collections.abc import Callable

from plantdoc.repo.revisions import Revision
from plantdoc.report import git_files, markdown
from plantdoc.report.markdown import score

MAIN = "evaluate:map50"
# Name, key; those with an interval have its ends under key_low and key_high.
_SCORES = (
    ("test mAP@50", "evaluate:map50"),
    ("test mAP@50:95", "evaluate:map"),
    ("test mAP@75", "evaluate:map75"),
    ("test precision at the threshold", "evaluate:precision"),
    ("test recall at the threshold", "evaluate:recall"),
    ("val mAP@50", "train:val_map50"),
    ("val mAP@50:95", "train:val_map"),
)
_FACTS = (
    ("operating threshold, chosen on val", "evaluate:threshold", score),
    ("best epoch, by val", "train:best_epoch", str),
    ("epochs", "train:epochs", str),
    ("test pictures", "evaluate:pictures", str),
    ("boxes on them", "evaluate:boxes", str),
)
_OPEN = 12  # classes shown before the fold


def verdict(before: Revision, after: Revision, difference: str) -> str:
    """The one line that a reviewer must read; `difference` says why test scores are not comparable, if they are not."""
    old, new = before.metrics.get(MAIN), after.metrics.get(MAIN)
    if new is None:
        return f"**{markdown.code(after.name)} has no test scores yet**: run `dvc repro` there."
    if old is None:
        where = f", 95 % interval {_interval(after, MAIN)}" if _interval(after, MAIN) else ""
        return f"**test mAP@50 {score(new)}**{where}; {markdown.code(before.name)} has no results to compare with."
    line = f"**test mAP@50 {score(old)} → {score(new)}**"
    if difference:
        return f"{line}; **not comparable: {difference}.**"
    moved = markdown.change(old, new)
    return f"{line} ({moved}{_chance(before, old, new)})"


def _chance(before: Revision, old: float, new: float) -> str:
    interval = _interval(before, MAIN)
    if not interval or score(old) == score(new):
        return ""
    inside = before.metrics[f"{MAIN}_low"] <= new <= before.metrics[f"{MAIN}_high"]
    side = "inside" if inside else "outside"
    chance = ": may be chance" if inside else ""
    return f", {side} the 95 % interval {interval} of {markdown.code(before.name)}{chance}"


def _interval(revision: Revision, key: str) -> str:
    ends = [revision.metrics.get(f"{key}_{end}") for end in ("low", "high")]
    return "" if None in ends else "–".join(map(score, ends))


def metrics(before: Revision, after: Revision, difference: str) -> list[str]:
    """A table of scores and of the facts around them; without a word on better or worse where that has no meaning."""

    def cell(revision: Revision, key: str, form: Callable[[object], str]) -> str:
        value = revision.metrics.get(key)
        interval = f" ({_interval(revision, key)})" if _interval(revision, key) else ""
        return "–" if value is None else f"{form(value)}{interval}"

    rows = []
    for name, key in _SCORES:
        old, new = before.metrics.get(key), after.metrics.get(key)
        moved = (
            "not comparable"
            if difference and name.startswith("test") and None not in (old, new)
            else markdown.change(old, new)
        )
        rows.append((name, cell(before, key, score), cell(after, key, score), moved))
    for name, key, form in _FACTS:
        rows.append((name, cell(before, key, form), cell(after, key, form), ""))
    rows = [row for row in rows if row[1:3] != ("–", "–")]
    head = ("metric (95 % interval)", "before", "after", "change")
    return markdown.table(head, rows, numbers=(1, 2))


def classes(before: Revision, after: Revision, difference: str, most: int) -> list[str]:
    """AP per class, the largest gains and losses first; at most `most` rows, those after the first folded."""
    old, new = _per_class(before), _per_class(after)
    names = sorted(old.keys() | new.keys(), key=lambda name: (-_moved(old.get(name), new.get(name)), name))
    if not names:
        return []
    rows = [_class_row(name, old.get(name), new.get(name), bool(old), difference) for name in names[:most]]
    head = ("class", "boxes", "AP@50 before", "AP@50 after", "change", "AP@50:95")
    right = (1, 2, 3, 5)
    lines = markdown.table(head, rows[:_OPEN], right)
    if rows[_OPEN:]:
        lines += markdown.fold(f"{len(rows) - _OPEN} more classes", markdown.table(head, rows[_OPEN:], right))
    if len(names) > most:
        lines += [f"{len(names) - most} classes with smaller changes are left out; the table was cut to fit.", ""]
    return lines


def _per_class(revision: Revision) -> dict[str, dict[str, str]]:
    return {row["class"]: row for row in git_files.read_rows(revision, "results/evaluate/plots/per_class.csv")}


def _ap(row: dict | None, key: str = "ap50") -> float | None:
    return float(row[key]) if row and row.get(key) else None


def _moved(old: dict | None, new: dict | None) -> float:
    """Absolute change of a class's AP; a class that came or went changed most."""
    before, after = _ap(old), _ap(new)
    if before is None or after is None:
        return 2.0 if bool(old) != bool(new) else -1.0
    return abs(after - before)


def _class_row(name: str, old: dict | None, new: dict | None, compared: bool, difference: str) -> tuple[str, ...]:
    if not new:
        moved = "class is gone"
    elif compared and not old:
        moved = "new class"
    elif compared and difference:
        moved = "not comparable"
    elif _ap(new) is None:
        moved = "no box in test"
    else:
        moved = markdown.change(_ap(old), _ap(new))
    scores = (score(_ap(old)), score(_ap(new)), moved, f"{score(_ap(old, 'ap'))} → {score(_ap(new, 'ap'))}")
    return (markdown.code(name), (new or old or {})["boxes"], *scores)
