"""Turn TFRecords back into pictures with boxes, and a table of what they hold.

Writes a contact sheet (sheet.jpg) and each picture at its own size (0000.png, …); prints one line per record.

Example:
  python scripts/inspect_tfrecords.py data/tfrecords/val-*.tfrecord --records 12 --out results/inspect
"""

from __future__ import annotations

import argparse
import io
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import entry, stage
from plantdoc.core.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

    from plantdoc.records import shards


def main() -> None:
    arguments = parser().parse_args()
    from plantdoc.records import shards  # not for --help
    from plantdoc.visualize import drawing

    files = [entry.given(file) for file in arguments.files] or sorted(Path("data/tfrecords").glob("*.tfrecord"))
    if not files:
        raise UserError("data/tfrecords holds no .tfrecord files: make them with `dvc repro augment`, or name some")
    out = entry.given(arguments.out) if arguments.out else Path("results/inspect")
    out.mkdir(parents=True, exist_ok=True)
    found = ((file, record) for file in files for record in shards.read(file))
    cells = []
    print(f"{'source_id':40}  {'px':>4}  {'boxes':>5}  {'bytes':>7}  classes")
    for i, (file, record) in enumerate(itertools.islice(found, arguments.records)):
        names = shards.meta(file.parent).classes
        classes = sorted({names[label] for label in record.classes})
        name = record.source_id if len(record.source_id) <= 40 else record.source_id[:37] + "..."
        print(f"{name:40}  {record.size:4}  {len(record.boxes):5}  {len(record.jpeg):7}  {', '.join(classes) or '-'}")
        picture = drawn(record, names)
        picture.save(out / f"{i:04}.png")
        cells.append((picture, record.source_id))
    drawing.contact_sheet(cells, 4, (320, 320)).save(out / "sheet.jpg", quality=90)
    print(f"{len(cells)} pictures are in {out}")


def drawn(record: shards.Record, names: tuple[str, ...]) -> Image.Image:
    """The record's picture with its boxes."""
    from PIL import Image

    from plantdoc.visualize import drawing

    labels = [
        ((x1, y1, x2 - x1, y2 - y1), names[label], drawing.colour_of(int(label)))
        for (x1, y1, x2, y2), label in zip(record.boxes, record.classes, strict=True)
    ]
    return drawing.draw_boxes(Image.open(io.BytesIO(record.jpeg)), labels)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    about, _, example = (__doc__ or "").partition("Example:\n")
    parsed = argparse.ArgumentParser(
        description=about, epilog="example:\n" + example, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parsed.add_argument("files", nargs="*", type=Path, help="TFRecord files; without any, all of data/tfrecords")
    parsed.add_argument("--records", type=int, default=12, help="how many records, from the first on (default: 12)")
    parsed.add_argument("--out", type=Path, help="folder (default: results/inspect)")
    return parsed


if __name__ == "__main__":
    stage.run(main)
