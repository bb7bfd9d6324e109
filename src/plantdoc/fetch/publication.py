"""Outputs of fetch: pictures and annotations of each split, contact sheets, and the report."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from plantdoc.coco import dataset
from plantdoc.fetch import audit_report, naming, split_assignment
from plantdoc.fetch.boxes import Labelled
from plantdoc.fetch.preparation import SPLITS, Checked, Collected, Divided
from plantdoc.fetch.sources import Origin
from plantdoc.visualize import drawing

_SHEET = 24  # pictures on a contact sheet


def write_pictures(collected: Collected, checked: Checked, divided: Divided, folder: Path) -> dict[str, dataset.Split]:
    """Move the stored pictures into `folder`/{train,val,test}; write their annotations and source.json."""
    used = {
        n for p, side in zip(divided.pictures, divided.sides, strict=True) if side for _, n in (*p.boxes, *p.crowds)
    }
    classes = tuple(sorted(used, key=lambda name: (name.casefold(), name)))
    category = {name: i for i, name in enumerate(classes)}
    splits = {}
    for side in SPLITS:
        (folder / side).mkdir()
        members = [p for p, its_side in zip(divided.pictures, divided.sides, strict=True) if its_side == side]
        files = naming.flat([p.name for p in members], [p.kind for p in members])
        entries = []
        for i, (file, p) in enumerate(sorted(zip(files, members, strict=True), key=lambda pair: pair[0]), start=1):
            p.file.rename(folder / side / file)
            entries.append(
                dataset.Picture(i, file, p.width, p.height, _boxes(p.boxes, category), _boxes(p.crowds, category))
            )
        splits[side] = dataset.Split(classes, tuple(entries))
        dataset.save(splits[side], folder / side)
    about = {**asdict(collected.origin), "content": checked.content}
    (folder / "source.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return splits


def faults(splits: dict[str, dataset.Split], val_fraction: float) -> list[str]:
    """Why the later stages would have nothing to work on, if so."""
    advice = {
        "train": "nothing can be learned: check fetch.source",
        "val": "no model can be chosen: add pictures, or raise fetch.val_fraction",
        "test": "nothing can be scored: add boxes to the test pictures, or, where there are none, raise "
        "fetch.val_fraction, by which test is cut as well",
    }
    return [
        f"the {name} split has {len(one.pictures)} pictures and no box on any of them: {advice[name]}"
        for name, one in splits.items()
        if not any(p.boxes for p in one.pictures) and not (name == "val" and val_fraction == 0)
    ]


def draw_sheets(splits: dict[str, dataset.Split], raw: Path, origin: Origin, folder: Path) -> None:
    """Draw a contact sheet of a stratified part of each split: `folder`/{train,val,test}.jpg."""
    for name, one in splits.items():
        _sheet(one, raw / name, f"{name}: {origin.name} {origin.note}").save(folder / f"{name}.jpg", quality=85)


def write_report(found: audit_report.Findings, json_to: Path, md_to: Path) -> dict:
    """Write the report for machines and the one for people, and return the first."""
    report = audit_report.to_json(found)
    json_to.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    md_to.write_text(audit_report.to_markdown(found, report), encoding="utf-8", errors="replace")
    return report


def _boxes(labelled: tuple[Labelled, ...], category: dict[str, int]) -> tuple[dataset.Box, ...]:
    return tuple(dataset.Box(xywh, category[name]) for xywh, name in labelled)


def _sheet(one: dataset.Split, folder: Path, title: str) -> Image.Image:
    strata = split_assignment.strata([[one.classes[box.category] for box in p.boxes] for p in one.pictures])
    keys = [hashlib.sha256(p.file_name.encode()).hexdigest() for p in one.pictures]
    cells = []
    for i in split_assignment.part(keys, strata, _SHEET):
        p = one.pictures[i]
        with Image.open(folder / p.file_name) as image:
            boxes = [(b.xywh, one.classes[b.category], drawing.colour_of(b.category)) for b in p.boxes]
            drawn = drawing.draw_boxes(image, boxes)
        drawn.thumbnail((640, 480))
        cells.append((drawn, p.file_name))
    return drawing.contact_sheet(cells, columns=6, title=title.strip())
