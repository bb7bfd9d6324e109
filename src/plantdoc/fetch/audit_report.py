"""Audit report: results/fetch/report.json for machines (numbers on top, lists below) and report.md for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from plantdoc.coco import dataset
from plantdoc.fetch import audit_notes
from plantdoc.fetch.audit import Audited
from plantdoc.fetch.duplicates import Pair
from plantdoc.fetch.preparation import SPLITS, Checked, Collected, Divided
from plantdoc.fetch.raw_data import Lost, RawPicture
from plantdoc.fetch.reconciliation import Counts


@dataclass(frozen=True)
class Findings:
    """All that fetch has to tell."""

    collected: Collected
    checked: Checked
    divided: Divided
    counts: Counts
    splits: dict[str, dataset.Split]


def to_json(found: Findings) -> dict:
    """The report as plain values; `dvc metrics show` shows the numbers and leaves the lists out."""
    pictures, reading = found.divided.pictures, found.collected.reading
    lost, left = found.checked.lost, found.divided.left
    repairs = [(p, what) for p in pictures for what in p.repairs]
    boxes = [(p, why) for p in pictures for why in p.dropped_boxes]
    report: dict = {f"pictures_{name}": len(found.splits[name].pictures) for name in SPLITS}
    report |= {f"boxes_{name}": sum(len(p.boxes) for p in found.splits[name].pictures) for name in SPLITS}
    report |= {
        "classes": len(found.splits["train"].classes),
        "pictures_dropped": len(lost),
        "pictures_left_out": len(left),
        "boxes_dropped": len(boxes),
        "repairs": len(repairs),
        "duplicate_pairs": len(found.divided.pairs),
        "label_conflicts": sum(pair.conflict for pair in found.divided.pairs),
        "source": {
            "pictures": found.counts.in_source[0],
            "boxes": found.counts.in_source[1],
            "boxes_lost": found.counts.lost[1],
            "annotation_files": len(reading.data.annotations),
            "unread_files": len(reading.unread),
            "crowd_regions": sum(len(p.crowds) for p in pictures),
        },
    }
    report["per_class"] = _per_class(found.splits)
    report["splits_from"] = _split_origins(reading.data.pictures)
    report["unread"] = [{"name": name, "what": why} for name, why in sorted(reading.unread.items())]
    report["dropped"] = [_line(one.split, one.name, one.reason) for one in _sorted(lost)]
    report["left_out"] = [_line(one.split, one.name, one.reason) for one in _sorted(left)]
    report["dropped_boxes"] = [_line(p.split, p.name, why) for p, why in boxes]
    report["repaired"] = [_line(p.split, p.name, what) for p, what in repairs]
    report["renamed_classes"] = [{"from": a, "to": b} for a, b in sorted(found.divided.renamed.items())]
    report["duplicates"] = [_pair(pictures, pair) for pair in found.divided.pairs]
    report["notes"] = [
        *found.collected.notes,
        *found.divided.notes,
        *audit_notes.on_rare_classes(found.splits),
        *audit_notes.on_crowded_pictures(found.splits),
    ]
    return report


def to_markdown(found: Findings, report: dict) -> str:
    """The report to read, made from what `to_json` gave."""
    origin = found.collected.origin
    lines = [f"# Pictures from {origin.name}", ""]
    if origin.note:
        lines += [f"**{origin.note.capitalize()}.**", ""]
    licence = origin.licence or "not stated (fetch.licence)"
    whom = origin.attribution or "not stated"
    lines += [
        f"Format {found.collected.reading.format}. Licence: {licence}. Attribution: {whom}.",
        "",
    ]
    lines += ["| split | pictures | boxes |", "|---|---:|---:|"]
    lines += [f"| {name} | {report[f'pictures_{name}']:,} | {report[f'boxes_{name}']:,} |" for name in SPLITS]
    lines += [
        "",
        *_source_lines(report),
        "",
        *(f"- {note}" for note in report["notes"]),
        "",
        "## Classes",
        "",
        "Pictures (boxes) of each class.",
        "",
    ]
    lines += ["| class | train | val | test |", "|---|---:|---:|---:|"]
    for row in report["per_class"]:
        cells = " | ".join(f"{row[name]['pictures']} ({row[name]['boxes']})" for name in SPLITS)
        lines.append(f"| {_cell(row['name'])} | {cells} |")
    lines += [""]
    for entry in report["renamed_classes"]:
        lines.append(f"- {_code(entry['from'])} is counted as {_code(entry['to'])}")
    lines += _section("Files that were not read", "Neither pictures nor annotations of this format.", report["unread"])
    lines += _section("Dropped pictures", "Could not be used.", report["dropped"])
    lines += _section("Pictures left out", "In good order, but left out.", report["left_out"])
    lines += _section("Dropped boxes", "The picture stays, the box goes.", report["dropped_boxes"])
    lines += _section("Repaired", "Used after a repair.", report["repaired"])
    lines += ["", f"## Duplicates ({report['duplicate_pairs']} pairs)", ""]
    lines += ["Pictures that show the same, by bytes, pixels or perceptual hash (fetch.near_duplicate_bits).", ""]
    conflicts = [entry for entry in report["duplicates"] if entry["conflict"]]
    for title, entries in (
        (f"With different labels: {len(conflicts)}", conflicts),
        ("With the same labels", [entry for entry in report["duplicates"] if not entry["conflict"]]),
    ):
        lines += [f"### {title}", "", *(_pair_line(entry) for entry in entries), ""]
    return "\n".join(lines).rstrip() + "\n"


def _source_lines(report: dict) -> list[str]:
    source = report["source"]
    lines = [
        f"The source has {source['pictures']:,} pictures and {source['boxes']:,} boxes in "
        f"{source['annotation_files']:,} annotation files. {report['pictures_dropped']:,} pictures and "
        f"{source['boxes_lost']:,} boxes cannot be used; files not read: {source['unread_files']:,}."
    ]
    if source["crowd_regions"]:
        lines.append(
            f"{source['crowd_regions']:,} regions of many leaves (iscrowd) are not learned, and ignored in scoring."
        )
    lines += ["", "| split | declared by | pictures |", "|---|---|---:|"]
    lines += [f"| {row['split']} | {_cell(row['by'])} | {row['pictures']:,} |" for row in report["splits_from"]]
    return lines


def _split_origins(pictures: Sequence[RawPicture]) -> list[dict]:
    counted = Counter((p.split, p.split_from) for p in pictures)
    return [{"split": split, "by": by, "pictures": n} for (split, by), n in sorted(counted.items())]


def _per_class(splits: dict[str, dataset.Split]) -> list[dict]:
    rows: list[dict] = [{"name": name} for name in splits["train"].classes]
    for name in SPLITS:
        boxes = Counter(box.category for p in splits[name].pictures for box in p.boxes)
        pictures = Counter(c for p in splits[name].pictures for c in {box.category for box in p.boxes})
        for i, row in enumerate(rows):
            row[name] = {"pictures": pictures[i], "boxes": boxes[i]}
    return rows


def _sorted(lost: Sequence[Lost]) -> list[Lost]:
    return sorted(lost, key=lambda one: (one.split, one.name, one.reason))


def _line(split: str, name: str, what: str) -> dict[str, str]:
    return {"split": split, "name": name, "what": what}


def _pair(pictures: Sequence[Audited], pair: Pair) -> dict:
    ends = []
    for picture in (pictures[pair.first], pictures[pair.second]):
        ends.append({"split": picture.split, "name": picture.name, "classes": sorted({n for _, n in picture.boxes})})
    return {"kind": pair.kind, "conflict": pair.conflict, "pictures": ends}


def _pair_line(entry: dict) -> str:
    ends = (f"{_code(end['name'])} ({', '.join(end['classes']) or 'no boxes'})" for end in entry["pictures"])
    return f"- {' and '.join(ends)}: {entry['kind']}"


def _section(title: str, what: str, entries: list[dict]) -> list[str]:
    lines = ["", f"## {title} ({len(entries)})", "", what, ""]
    for reason, count in Counter(entry["what"] for entry in entries).most_common():
        names = [entry["name"] for entry in entries if entry["what"] == reason]
        shown = ", ".join(map(_code, names[:20])) + (f" and {count - 20} more (report.json)" if count > 20 else "")
        lines.append(f"- {reason} ({count}): {shown}")
    return lines


def _code(name: str) -> str:
    # Backticks and line breaks in a name would break the line it stands on.
    return "`" + " ".join(name.replace("`", "'").split()) + "`"


def _cell(name: str) -> str:
    return name.replace("|", "\\|")
