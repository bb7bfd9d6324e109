"""Counts of what a source holds held against what arrived, so that nothing goes without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from plantdoc.core.errors import UserError
from plantdoc.core.workspace import main_root
from plantdoc.fetch.preparation import SPLITS, Checked, Collected, Divided
from plantdoc.fetch.raw_data import Lost


@dataclass(frozen=True)
class Counts:
    """Pictures and boxes by what became of them.

    `in_source` counts picture files, entries of annotations without a file, and all boxes; the others add up to it.
    `not_chosen` is what fetch.limit leaves out; regions of many leaves (iscrowd) count as boxes.
    """

    in_source: tuple[int, int]
    kept: tuple[int, int]
    lost: tuple[int, int]
    left_out: tuple[int, int]
    not_chosen: tuple[int, int]


def count(collected: Collected, checked: Checked, divided: Divided) -> Counts:
    """Count pictures and boxes; boxes dropped from pictures that stay count as lost.

    Raises:
        RuntimeError: the counts do not add up, which is a fault of this program.
    """
    data = collected.reading.data
    in_source = (len(data.pictures) + len(data.lost), data.boxes)
    here = [p for p, side in zip(divided.pictures, divided.sides, strict=True) if side]
    gone = len(checked.pictures) - len(here)
    dropped = sum(len(p.dropped_boxes) for p in checked.pictures)
    counts = Counts(
        in_source,
        (len(here), sum(len(p.boxes) + len(p.crowds) for p in here)),
        (len(checked.lost), sum(one.boxes for one in checked.lost) + dropped),
        (
            gone,
            sum(len(p.boxes) + len(p.crowds) for p in checked.pictures)
            - sum(len(p.boxes) + len(p.crowds) for p in here),
        ),
        _not_chosen(collected),
    )
    for i, what in enumerate(("pictures", "boxes")):
        parts = (counts.kept[i], counts.lost[i], counts.left_out[i], counts.not_chosen[i])
        if sum(parts) != in_source[i]:
            raise RuntimeError(
                f"of {in_source[i]} {what} in the source {' + '.join(map(str, parts))} are accounted for"
            )
    return counts


def lines(collected: Collected, checked: Checked, counts: Counts, splits: dict, allowed: float) -> list[str]:
    """Six lines for the screen: format, source, losses, what is left out, where the splits come from, what is kept."""
    reading = collected.reading
    said = Counter((p.split, p.split_from) for p in reading.data.pictures)
    origins = [
        f"{split} by {origin} ({n:,})" for (split, origin), n in sorted(said.items(), key=lambda i: (i[0][0], -i[1]))
    ]
    shown = "; ".join(origins[:4]) + (f"; and {len(origins) - 4} more (report.md)" if len(origins) > 4 else "")
    kept = ", ".join(f"{len(splits[name].pictures):,} {name}" for name in SPLITS)
    classes = len(splits["train"].classes)
    left = f"{counts.left_out[0]:,} pictures with {counts.left_out[1]:,} boxes are left out, as copies or without a box"
    if counts.not_chosen[0]:
        left += f"; {counts.not_chosen[0]:,} by fetch.limit"
    return [
        f"{reading.format} in {len(reading.data.annotations):,} files; {len(reading.unread):,} files were not read",
        f"{counts.in_source[0]:,} pictures and {counts.in_source[1]:,} boxes in the source",
        f"{counts.lost[0]:,} pictures ({checked.lost_pictures:.1%}) and {counts.lost[1]:,} boxes "
        f"({checked.lost_boxes:.1%}) cannot be used; {allowed:.1%} of each may be lost",
        left,
        f"splits: {shown}",
        f"{kept}: {counts.kept[1]:,} boxes of {classes} classes",
    ]


def stop_if_too_much_is_lost(checked: Checked, allowed: float) -> None:
    """Raise UserError when more pictures or boxes are lost than is allowed; the whole list goes to a file first."""
    if checked.lost_pictures <= allowed and checked.lost_boxes <= allowed:
        return
    dropped = [Lost(p.split, p.name, why, 1) for p in checked.pictures for why in p.dropped_boxes]
    path = main_root() / ".dvc/tmp/plantdoc/fetch-dropped.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{one.split}\t{one.name}\t{one.reason}" for one in (*checked.lost, *dropped)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8", errors="replace")
    if checked.lost_pictures > allowed:
        what, share, few = f"{len(checked.lost)} pictures", checked.lost_pictures, checked.lost
    else:
        boxes = len(dropped) + sum(one.boxes for one in checked.lost)
        what, share, few = f"{boxes} boxes", checked.lost_boxes, [*dropped, *checked.lost]
    raise UserError(
        f"{what} ({share:.1%}) cannot be used, fetch.max_dropped_fraction allows {allowed:.1%}. "
        f"The first: {_few(few)}. All are listed in {path}. Mend the source, or raise fetch.max_dropped_fraction"
    )


def _few(lost: Sequence[Lost]) -> str:
    """One of each of the three most frequent reasons."""
    by_reason = Counter(one.reason for one in lost)
    first = {one.reason: one for one in reversed(lost)}
    return "; ".join(f"{first[r].split} {first[r].name}: {r}" for r, _ in by_reason.most_common(3))


def _not_chosen(collected: Collected) -> tuple[int, int]:
    data = collected.reading.data
    chosen = len(collected.chosen), sum(len(p.boxes) for p in collected.chosen)
    unreadable = collected.lost[len(data.lost) :]
    return (
        len(data.pictures) - chosen[0] - len(unreadable),
        sum(len(p.boxes) for p in data.pictures) - chosen[1] - sum(one.boxes for one in unreadable),
    )
