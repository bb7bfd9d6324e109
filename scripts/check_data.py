"""Check a source of pictures before the pipeline runs: its format, splits and classes, and what cannot be used.

    python scripts/check_data.py ../my-leaves        a folder, an archive, or an s3:// prefix or archive
    python scripts/check_data.py                     the source that params.yaml names

Does what the stage fetch does, with the settings of params.yaml, and changes none of its outputs. Report and contact
sheets go to .dvc/tmp/plantdoc/check-data/. Ends with 0 if `dvc repro` would accept the source, with 1 if not.
docs/own_pictures.md has the remedy for each kind of fault.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import entry, params, stage
from plantdoc.core.errors import UserError
from plantdoc.core.workspace import main_root, scratch
from plantdoc.fetch import fetch_params, source_place
from plantdoc.fetch.fetch_params import Fetch

OUTPUT = Path(".dvc/tmp/plantdoc/check-data")
REMEDIES = "docs/own_pictures.md"
SHOWN = 5  # reasons of each kind on the screen; the report has all
WIDEST = 40  # columns for a class name
# The heading of a line on the screen: the report's key for what it lists.
KINDS = {
    "lost": "dropped",
    "box lost": "dropped_boxes",
    "left out": "left_out",
    "repaired": "repaired",
    "not read": "unread",
}
# What to do, by words of a reason; reasons that say it themselves are not here. docs/own_pictures.md has more.
ADVICE = {
    "no annotation file": "label the picture, or take it out of the source",
    "no task names it": "label the picture, or take it out of the source",
    "no row of a CSV": "label the picture, or take it out of the source",
    "the task has no annotation": "submit the task, without a box where there is no leaf",
    "is missing": "put the picture into the source, or export again without it",
    "the only picture of a like name": "put the annotation's own picture into the source",
    "on none of the lists": "put the picture on one of the lists",
    "declared to be in": "keep the picture on one of the lists",
    "not a picture": "copy the file again, or take it out of the source",
    "damaged": "copy the file again, or take it out of the source",
    "without a class name": "give the box a class",
    "without numbers": "draw a box or a polygon",
    "is no box": "draw a box or a polygon",
    "without area": "delete boxes that were drawn by accident",
    "outside the picture": "see whether the annotations are of pictures of another size",
    "sliver box": "delete the box, or lower fetch.min_box",
    "without a label, and in no folder": "move the picture into a folder that data.yaml declares",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", help="folder, archive or s3:// address; without it that of params.yaml")
    source = parser.parse_args().source
    settings = params.load(fetch_params.Params)
    if source and not source.startswith("s3://") and source not in ("sample", "plantdoc"):
        source = str(entry.given(source))
    fetch = settings.fetch.model_copy(update={"source": source}) if source else settings.fetch
    source_place.refuse_outputs(fetch.source, main_root())
    shutil.rmtree(OUTPUT, ignore_errors=True)
    with scratch(OUTPUT.with_suffix(".partial")) as work:
        faults = check(fetch, settings.seed, work)
        (work / "shown").rename(OUTPUT)
    print(f"\nreport      {OUTPUT / 'report.md'}")
    print(f"pictures    {OUTPUT / 'pictures'}: some of each split, with their boxes")
    print(f"remedies    {REMEDIES}")
    for fault in faults:
        print(f"\nfault       {fault}")
    print(f"\n`dvc repro` {'would stop at' if faults else 'accepts'} this source.")
    if faults:
        sys.exit(1)


def check(fetch: Fetch, seed: int, work: Path) -> list[str]:
    """Read and audit the source, print what there is, and write report and sheets to `work`/shown.

    Returns:
        Why fetch would stop; empty where it would not.

    Raises:
        UserError: nothing could be read at all.
    """
    # Not for --help.
    from plantdoc.fetch import audit_report, preparation, publication, reconciliation

    for folder in ("stored", "raw", "shown/pictures"):
        (work / folder).mkdir(parents=True)
    collected = preparation.collect(fetch, seed, work)
    checked = preparation.check(collected, fetch, work / "stored")
    faults = []
    try:
        reconciliation.stop_if_too_much_is_lost(checked, fetch.max_dropped_fraction)
    except UserError as error:
        faults.append(str(error))
    divided = preparation.divide(checked, fetch)
    counts = reconciliation.count(collected, checked, divided)
    splits = publication.write_pictures(collected, checked, divided, work / "raw")
    faults += publication.faults(splits, fetch.val_fraction)
    publication.draw_sheets(splits, work / "raw", collected.origin, work / "shown/pictures")
    found = audit_report.Findings(collected, checked, divided, counts, splits)
    report = publication.write_report(found, work / "shown/report.json", work / "shown/report.md")
    for line in reconciliation.lines(collected, checked, counts, splits, fetch.max_dropped_fraction):
        print(line)
    print_details(report)
    return faults


def print_details(report: dict) -> None:
    """Print classes with their counts, notes, and the most frequent reasons for what is lost, repaired or not read."""
    print(f"\n{'class':{WIDEST}} {'train':>12} {'val':>12} {'test':>12}   pictures (boxes)")
    for row in report["per_class"]:
        cells = (f"{row[name]['pictures']:,} ({row[name]['boxes']:,})" for name in ("train", "val", "test"))
        print(f"{row['name'][:WIDEST]:{WIDEST}} " + " ".join(f"{cell:>12}" for cell in cells))
    for note in report["notes"]:
        print(f"note        {note}")
    for what, key in KINDS.items():
        for reason, count in Counter(line["what"] for line in report[key]).most_common(SHOWN):
            first = next(line["name"] for line in report[key] if line["what"] == reason)
            print(f"{what:11} {first}{f' and {count - 1:,} more' if count > 1 else ''}: {reason}")
            if remedy := next((remedy for words, remedy in ADVICE.items() if words in reason), ""):
                print(f"{'':11}   {remedy}")


if __name__ == "__main__":
    stage.run(main)
