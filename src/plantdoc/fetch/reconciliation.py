"""Comparison of what a source holds with what arrived, so that every picture and box is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from plantdoc.coco.dataset import Split
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


def lines(
    collected: Collected, checked: Checked, counts: Counts, splits: dict[str, Split], allowed: float
) -> list[str]:
    """Six lines for the screen: format, source, losses, what is left out, where the splits come from, what is kept."""
    reading = collected.reading
    declared = Counter((p.split, p.split_from) for p in reading.data.pictures)
    origins = [f"{split} {n:,} ({by})" for (split, by), n in sorted(declared.items(), key=lambda i: (i[0][0], -i[1]))]
    shown = ", ".join(origins[:4]) + (f" and {len(origins) - 4} more (report.md)" if len(origins) > 4 else "")
    limited = f"; by fetch.limit: {_both(counts.not_chosen)}" if any(counts.not_chosen) else ""
    lost_pictures, lost_boxes = _number(counts.lost[0], "picture"), _number(counts.lost[1], "box")
    pictures = [picture for one in splits.values() for picture in one.pictures]
    kept = [f"{len(splits[name].pictures):,} {name}" for name in SPLITS]
    boxes, crowds = sum(len(p.boxes) for p in pictures), sum(len(p.crowds) for p in pictures)
    classes = _number(len(splits["train"].classes), "class")
    regions = f", {_number(crowds, 'region')} of many leaves" if crowds else ""
    return [
        f"{reading.format}: {_number(len(reading.data.annotations), 'annotation file')}; not read: "
        f"{_number(len(reading.unread), 'other file')}",
        f"in the source: {_both(counts.in_source)}",
        f"cannot be used: {lost_pictures} ({checked.lost_pictures:.1%}), {lost_boxes} ({checked.lost_boxes:.1%}); "
        f"up to {allowed:.1%} of each may be lost",
        f"left out, as copies or without a box: {_both(counts.left_out)}{limited}",
        f"splits: {shown}",
        f"kept: {', '.join(kept)}; {_number(boxes, 'box')} of {classes}{regions}",
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
        what, share, few = _number(len(checked.lost), "picture"), checked.lost_pictures, checked.lost
    else:
        boxes = len(dropped) + sum(one.boxes for one in checked.lost)
        what, share, few = _number(boxes, "box"), checked.lost_boxes, [*dropped, *checked.lost]
    raise UserError(
        f"{what} ({share:.1%}) cannot be used, fetch.max_dropped_fraction allows {allowed:.1%}. "
        f"The first: {_few(few)}. All are listed in {path}. "
        "Mend the source (docs/own_pictures.md has the remedies), or raise fetch.max_dropped_fraction"
    )


def _both(counts: tuple[int, int]) -> str:
    return f"{_number(counts[0], 'picture')}, {_number(counts[1], 'box')}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 'es' if noun.endswith(('x', 's')) else 's'}"


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
