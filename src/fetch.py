"""fetch: bring pictures with boxes to disk, audit them, and lay them out as data/raw/{train,val,test}.

    python src/fetch.py        (or `dvc repro fetch`; all settings are in params.yaml, section fetch)

Reads what fetch.source names: the drawn sample, PlantDoc's repository, a folder, an archive, or S3; as Pascal VOC,
COCO JSON, YOLO or TFRecords. Pictures are stored upright and in RGB, annotations as COCO JSON; near-duplicates of test
pictures leave train; val is cut from train by content. results/fetch/report.md tells what was dropped or repaired,
results/fetch/pictures/ shows some pictures of each split with their boxes.

Costs about ten seconds and 100 MB for PlantDoc's 2,300 pictures from a folder, on 2 cores, and twenty seconds for the
sample. Each process holds one picture at a time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from plantdoc.coco import dataset
from plantdoc.core import cost, hashing, params, stage
from plantdoc.core.errors import UserError
from plantdoc.core.workspace import main_root, scratch
from plantdoc.fetch import audit, duplicates, fetch_params, formats, naming, sources, split
from plantdoc.fetch.audit import Audited
from plantdoc.fetch.audit_report import SPLITS, Findings, notes_on_cut, notes_on_rare, to_json, to_markdown
from plantdoc.fetch.formats.raw_data import Lost, RawPicture
from plantdoc.visualize import drawing

log = logging.getLogger("plantdoc")
_SHEET = 24  # pictures on a contact sheet


def main() -> None:
    """Run the stage; see the module's docstring."""
    started = time.monotonic()
    settings = params.load(fetch_params.Params)
    fetch = settings.fetch
    with scratch("data/.fetch.partial") as work:
        folder, origin = sources.bring(fetch, settings.seed, work)
        (work / "records").mkdir()
        kind, data = formats.read(folder, work / "records")
        hashed, lost = hash_all(data.pictures)
        lost = [*data.lost, *lost]
        content = hashing.of_value([(p.split, p.name, sha, [asdict(b) for b in p.boxes]) for p, sha in hashed])
        lost_fraction = len(lost) / (len(hashed) + len(lost))

        chosen, notes = choose(hashed, fetch.limit)
        (work / "stored").mkdir()
        results = audit.audit(chosen, work / "stored", fetch.min_box, fetch.max_pixels)
        pictures = [r for r in results if isinstance(r, Audited)]
        unfit = [r for r in results if isinstance(r, Lost)]
        lost += unfit
        # With a limit only a part was audited: what failed in it stands for the rest.
        lost_fraction += (1 - lost_fraction) * len(unfit) / max(1, len(results))
        stop_if_too_many(lost, lost_fraction, fetch.max_dropped_fraction)

        spelling = naming.spellings(Counter(name for p in pictures for _, name in p.boxes), fetch.aliases)
        pictures = [replace(p, boxes=tuple((xywh, spelling[name]) for xywh, name in p.boxes)) for p in pictures]
        left = []
        if not fetch.keep_negatives:
            left = [Lost(p.split, p.name, "no box, and fetch.keep_negatives is off") for p in pictures if not p.boxes]
            pictures = [p for p in pictures if p.boxes]
        pairs = duplicates.find(pictures, fetch.near_duplicate_bits)
        sides, reasons = split.assign(pictures, pairs, fetch.val_fraction)
        left += [Lost(p.split, p.name, reason) for p, reason in zip(pictures, reasons, strict=True) if reason]
        notes += notes_on_cut(pictures, sides)

        with (
            stage.replacing("data/raw") as raw,
            stage.replacing("results/fetch/pictures") as sheets,
            stage.replacing("results/fetch/report.json", folder=False) as report_json,
            stage.replacing("results/fetch/report.md", folder=False) as report_md,
        ):
            splits = write_splits(pictures, sides, raw)
            check(splits, fetch.val_fraction)
            about = {**asdict(origin), "content": content}
            (raw / "source.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            for name, one in splits.items():
                draw_sheet(one, raw / name, f"{name}: {origin.name} {origin.note}").save(
                    sheets / f"{name}.jpg", quality=85
                )
            renamed = {old: new for old, new in spelling.items() if old != new}
            found = Findings(origin, kind, splits, pictures, pairs, lost, left, renamed, notes + notes_on_rare(splits))
            report = to_json(found)
            report_json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            report_md.write_text(to_markdown(found, report), encoding="utf-8", errors="replace")
    cost.record("fetch", "data/raw", minutes=(time.monotonic() - started) / 60)
    log.info("fetch: %s", ", ".join(f"{len(one.pictures)} {name}" for name, one in splits.items()))


def hash_all(pictures: tuple[RawPicture, ...]) -> tuple[list[tuple[RawPicture, str]], list[Lost]]:
    """Each picture with the SHA-256 of its bytes, and those that cannot be read."""
    hashed, lost = [], []
    for picture in tqdm(pictures, desc="hash", unit="picture", dynamic_ncols=True):
        try:
            hashed.append((picture, hashing.of_file(picture.path)))
        except OSError as error:
            lost.append(Lost(picture.split, picture.name, f"cannot be read: {error.strerror}"))
    return hashed, lost


def choose(hashed: list[tuple[RawPicture, str]], limit: int) -> tuple[list[RawPicture], list[str]]:
    """The pictures to take, at most `limit` per split (0: all), their splits being known; and what to say about it."""
    notes = []
    there = {picture.split for picture, _ in hashed}
    if "train" not in there and len(there) == 1:
        notes.append(f"The source has a {there.pop()} split only; it is treated as train.")
        hashed = [(replace(picture, split="train"), sha) for picture, sha in hashed]
    if not limit:
        return [picture for picture, _ in hashed], notes
    notes.append(f"A part: at most {limit} pictures per split of the source (fetch.limit).")
    chosen = []
    for name in SPLITS:
        members = [(picture, sha) for picture, sha in hashed if picture.split == name]
        strata = split.strata([[box.name for box in picture.boxes] for picture, _ in members])
        chosen += [members[i][0] for i in split.part([sha for _, sha in members], strata, limit)]
    return chosen, notes


def stop_if_too_many(lost: list[Lost], fraction: float, allowed: float) -> None:
    """Raise UserError when the lost pictures are more than is allowed; the whole list goes to a file first."""
    if fraction <= allowed:
        return
    path = main_root() / ".dvc/tmp/plantdoc/fetch-dropped.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{one.split}\t{one.name}\t{one.reason}" for one in lost]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace")
    few = "; ".join(f"{one.split} {one.name}: {one.reason}" for one in lost[:3])
    raise UserError(
        f"{len(lost)} pictures ({fraction:.1%}) cannot be used, fetch.max_dropped_fraction allows {allowed:.1%}. "
        f"The first: {few}. All are listed in {path}. Mend the source, or raise fetch.max_dropped_fraction"
    )


def write_splits(pictures: list[Audited], sides: list[str], folder: Path) -> dict[str, dataset.Split]:
    """Move the stored pictures into `folder`/{train,val,test} and write their annotations."""
    used = {name for p, side in zip(pictures, sides, strict=True) if side for _, name in p.boxes}
    classes = tuple(sorted(used, key=lambda name: (name.casefold(), name)))
    category = {name: i for i, name in enumerate(classes)}
    splits = {}
    for side in SPLITS:
        (folder / side).mkdir()
        members = [p for p, its_side in zip(pictures, sides, strict=True) if its_side == side]
        files = naming.flat([p.name for p in members], [p.kind for p in members])
        entries = []
        for i, (file, p) in enumerate(sorted(zip(files, members, strict=True), key=lambda pair: pair[0]), start=1):
            p.file.rename(folder / side / file)
            boxes = tuple(dataset.Box(xywh, category[name]) for xywh, name in p.boxes)
            entries.append(dataset.Picture(i, file, p.width, p.height, boxes))
        splits[side] = dataset.Split(classes, tuple(entries))
        dataset.save(splits[side], folder / side)
    return splits


def check(splits: dict[str, dataset.Split], val_fraction: float) -> None:
    """Raise UserError where the later stages would have nothing to work on."""
    advice = {
        "train": "nothing can be learned: check fetch.source",
        "val": "no model can be chosen: add pictures, or raise fetch.val_fraction",
        "test": "nothing can be scored: add boxes to the test pictures, or, where there are none, raise "
        "fetch.val_fraction, by which test is cut as well",
    }
    for name, one in splits.items():
        count = len(one.pictures)
        if not any(p.boxes for p in one.pictures) and not (name == "val" and val_fraction == 0):
            raise UserError(f"the {name} split has {count} pictures and no box on any of them: {advice[name]}")


def draw_sheet(one: dataset.Split, folder: Path, title: str) -> Image.Image:
    """A contact sheet of a stratified part of a split."""
    strata = split.strata([[one.classes[box.category] for box in p.boxes] for p in one.pictures])
    keys = [hashlib.sha256(p.file_name.encode()).hexdigest() for p in one.pictures]
    cells = []
    for i in split.part(keys, strata, _SHEET):
        p = one.pictures[i]
        with Image.open(folder / p.file_name) as image:
            boxes = [(b.xywh, one.classes[b.category], drawing.colour_of(b.category)) for b in p.boxes]
            drawn = drawing.draw_boxes(image, boxes)
        drawn.thumbnail((640, 480))
        cells.append((drawn, p.file_name))
    return drawing.contact_sheet(cells, columns=6, title=title.strip())


if __name__ == "__main__":
    stage.run(main)
