"""Turn data/raw into TFRecords of square pictures: `dvc repro augment`.

Writes data/tfrecords: `augment.copies` random variants of each training picture (jittered resize and crop, rotation,
hue, saturation, brightness), the val pictures letterboxed, and meta.json. Test pictures stay as they are. The same
pictures, params and seed give the same bytes.

What stands here and what in the training input (plantdoc/feed.py): here what needs the full-resolution picture or
takes long, there what is quick on small squares and better fresh each epoch: flips and mosaic. A variant of a 416 px
picture at 320 px takes 6 ms of one core, of 12 megapixels 14 ms; in the training input, where each epoch would pay it,
reading, flip and mosaic together take under 2 ms. The 5,600 squares of PlantDoc cost 34 s of processor time in all.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from plantdoc import coco, cost, parallel, params, records, stage, tfrecord, transforms
from plantdoc.errors import UserError

RAW, RECORDS = Path("data/raw"), Path("data/tfrecords")
Image.MAX_IMAGE_PIXELS = None  # what is too large was decided by fetch.max_pixels


def main() -> None:
    settings = params.load()
    started = time.monotonic()
    with stage.replacing(RECORDS) as folder:
        count = build(RAW, folder, settings.augment, settings.seed)
    seconds = time.monotonic() - started
    cost.record("augment", str(RECORDS), minutes=seconds / 60, pictures_per_second=count / seconds)


@dataclass(frozen=True, slots=True)
class Source:
    """A picture of data/raw, small: there is one for each picture of the data set.

    `id` is "<split>/<file name>"; `boxes` the bytes of a float32 [N, 5]: xyxy in px, and category.
    """

    id: str
    width: int
    height: int
    boxes: bytes


def build(raw: Path, folder: Path, config: params.Augment, seed: int) -> int:
    """Write the shards and meta.json of `raw` into `folder`; returns the number of squares written.

    Raises:
        UserError: `raw` is not there, has no training pictures, or holds a picture that cannot be read.
    """
    # In a process of its own, since parsed annotations leave several times the memory behind that the sources take.
    (classes, train), (_, val) = parallel.imap(functools.partial(sources, raw), ("train", "val"), 1)
    if not train:
        raise UserError(f"{raw / 'train'} holds no pictures to train on: look at results/fetch/report.md")
    groups = [(f"train-c{copy:02d}", copy, train) for copy in range(config.copies)] + [("val", None, val)]
    tasks = ((source, copy) for _, copy, group in groups for source in ordered(group, seed, copy))
    work = functools.partial(square, raw=raw, config=config, seed=seed, classes=classes)
    count = config.copies * len(train) + len(val)
    interval = 0.5 if sys.stderr.isatty() else 30
    files = []
    with (
        contextlib.closing(parallel.imap(work, tasks, config.workers)) as squares,
        tqdm(total=count, desc="augment", unit="picture", mininterval=interval) as progress,
    ):
        for name, _, group in groups:
            with tfrecord.ShardWriter(folder, name, config.shard_mb * 10**6) as writer:
                for framed in itertools.islice(squares, len(group)):
                    writer.write(framed)
                    progress.update()
            files.append(tuple(writer.files))
    records.Meta(
        classes=classes,
        size=config.size,
        copies=config.copies,
        counts={"train": len(train), "val": len(val)},
        files={"train": tuple(files[:-1]), "val": files[-1]},
    ).save(folder)
    return count


def sources(raw: Path, split: str) -> tuple[tuple[str, ...], list[Source]]:
    """The classes and pictures of a split, in the order of its annotations."""
    try:
        annotations = coco.load(raw / split)
    except FileNotFoundError:
        raise UserError(f"{raw / split} has no annotations.json: get the pictures with `dvc repro fetch`") from None
    found = []
    for p in annotations.pictures:
        boxes = np.array([(*box.xywh, box.category) for box in p.boxes], np.float32).reshape(-1, 5)
        boxes[:, 2:4] += boxes[:, :2]
        found.append(Source(f"{split}/{p.file_name}", p.width, p.height, boxes.tobytes()))
    return annotations.classes, found


def ordered(group: list[Source], seed: int, copy: int | None) -> list[Source]:
    """Training pictures in an order of their own in each copy, so that training needs no large shuffle buffer."""
    return group if copy is None else sorted(group, key=lambda source: key(seed, copy, source.id))


def key(seed: int, copy: int, source_id: str) -> int:
    """A 128-bit number that stands for one variant of one picture, whatever other pictures there are."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{copy}/{source_id}".encode()).digest()[:16])


def square(
    task: tuple[Source, int | None], raw: Path, config: params.Augment, seed: int, classes: tuple[str, ...]
) -> bytes:
    """A framed record: a variant of the picture, or for copy None the picture letterboxed.

    Raises:
        UserError: the picture cannot be read, or has another size than its annotations say.
    """
    source, copy = task
    path, found = raw / source.id, np.frombuffer(source.boxes, np.float32).reshape(-1, 5)
    boxes, labels = found[:, :4], found[:, 4].astype(int)
    try:
        with Image.open(path) as image:
            if image.size != (source.width, source.height):
                raise UserError(
                    f"{path} is {image.width} x {image.height} px and its annotations say "
                    f"{source.width} x {source.height}: fetch it again with `dvc repro -f fetch`"
                )
            if copy is None:
                picture, boxes = transforms.letterbox(image, boxes, config.size)
            else:
                random = np.random.Generator(np.random.Philox(key=key(seed, copy, source.id)))
                picture, boxes, kept = transforms.variant(image, boxes, config, random)
                labels = labels[kept]
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's ways of saying that a file is broken
        raise UserError(f"{path} cannot be read ({error}): fetch it again with `dvc repro -f fetch`") from None
    buffer = io.BytesIO()
    # Full chroma resolution: lesions differ in colour, and half of a square's pixels are few.
    picture.save(buffer, "JPEG", quality=config.quality, subsampling=0)
    record = records.Record(source.id, buffer.getvalue(), config.size, boxes, labels)
    return tfrecord.frame(record.serialise(classes))


if __name__ == "__main__":
    stage.run(main)
