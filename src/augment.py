"""Turn data/raw into TFRecords of square pictures: `dvc repro augment`.

Writes data/tfrecords: `augment.copies` random variants of each training picture (jittered resize and crop, rotation,
hue, saturation, brightness), the val pictures letterboxed, and meta.json. Test pictures stay as they are. The same
pictures, params and seed give the same bytes.

What stands here and what in the training input (plantdoc/train/input_pipeline.py): here what needs the full-resolution
picture or takes long, there what is quick on small squares and better fresh each epoch: flips and mosaic. A variant of
a 416 px picture at 320 px takes 6 ms of one core, of 12 megapixels 14 ms; in the training input, where each epoch would
pay it, reading, flip and mosaic together take under 2 ms. The 5,600 squares of PlantDoc cost 34 s of processor time in
all.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
from tqdm import tqdm

from plantdoc.augment import augment_params
from plantdoc.augment.examples import ExampleTask, ShardGroup, SourcePicture, make_example
from plantdoc.coco import dataset
from plantdoc.core import cost, parallel, params, stage
from plantdoc.core.errors import UserError
from plantdoc.records import shards, tfrecord

RAW, RECORDS = Path("data/raw"), Path("data/tfrecords")


def main() -> None:
    settings = params.load(augment_params.Params)
    started = time.monotonic()
    with stage.replacing(RECORDS) as folder:
        count = build(
            RAW,
            folder,
            settings.augment,
            settings.seed,
            workers=settings.runner.augment_workers,
            engine=settings.runner.augment_engine,
        )
    seconds = time.monotonic() - started
    cost.record("augment", str(RECORDS), minutes=seconds / 60, pictures_per_second=count / seconds)


def build(
    raw: Path,
    folder: Path,
    config: augment_params.Augment,
    seed: int,
    *,
    workers: int = 0,
    engine: augment_params.Engine = "local",
) -> int:
    """Write the shards and meta.json of `raw` into `folder`; returns the number of squares written.

    Args:
        workers: processes of this machine; 0: one per core. Neither they nor the engine change what is written.

    Raises:
        UserError: `raw` is not there, has no training pictures, or holds a picture that cannot be read.
    """
    # In a process of its own, since parsed annotations leave several times the memory behind that the sources take.
    (classes, train), (_, val) = parallel.imap(functools.partial(read_sources, raw), ("train", "val"), 1)
    if not train:
        raise UserError(f"{raw / 'train'} holds no pictures to train on: look at results/fetch/report.md")
    groups = [ShardGroup(f"train-c{copy:02d}", copy, train) for copy in range(config.copies)] + [
        ShardGroup("val", None, val)
    ]
    work = functools.partial(make_example, raw=raw, config=config, seed=seed, classes=classes)
    limit = config.shard_mb * 10**6
    if engine == "beam":
        files = _beam().write(groups, work, seed, raw, folder, limit, workers)
    else:
        files = write(groups, work, seed, folder, limit, workers)
    shards.Meta(
        classes=classes,
        size=config.size,
        copies=config.copies,
        counts={"train": len(train), "val": len(val)},
        files={"train": tuple(files[:-1]), "val": files[-1]},
    ).save(folder)
    return config.copies * len(train) + len(val)


def write(
    groups: list[ShardGroup], work: Callable[[ExampleTask], bytes], seed: int, folder: Path, limit: int, workers: int
) -> list[tuple[str, ...]]:
    """Write the squares of each group as shards, over processes of this machine; returns the shards' names by group.

    Args:
        limit: bytes at which a shard is closed.
    """
    tasks = (task for group in groups for task in group.tasks(seed))
    count = sum(len(group.pictures) for group in groups)
    interval = 0.5 if sys.stderr.isatty() else 30
    files = []
    with (
        contextlib.closing(parallel.imap(work, tasks, workers)) as examples,
        tqdm(total=count, desc="augment", unit="picture", mininterval=interval) as progress,
    ):
        for group in groups:
            with tfrecord.ShardWriter(folder, group.name, limit) as writer:
                for framed in itertools.islice(examples, len(group.pictures)):
                    writer.write(framed)
                    progress.update()
            files.append(tuple(writer.files))
    return files


def _beam() -> ModuleType:
    if importlib.util.find_spec("apache_beam") is None:
        raise UserError("runner.augment_engine = beam needs Apache Beam, which is not installed: `make setup BEAM=1`")
    from plantdoc.augment.beam import pipeline  # takes seconds to import

    return pipeline


def read_sources(raw: Path, split: str) -> tuple[tuple[str, ...], list[SourcePicture]]:
    """The classes and pictures of a split, in the order of its annotations."""
    try:
        annotations = dataset.load(raw / split)
    except FileNotFoundError:
        raise UserError(f"{raw / split} has no annotations.json: get the pictures with `dvc repro fetch`") from None
    found = []
    for p in annotations.pictures:
        boxes = np.array([(*box.xywh, box.category) for box in p.boxes], np.float32).reshape(-1, 5)
        boxes[:, 2:4] += boxes[:, :2]
        found.append(SourcePicture(f"{split}/{p.file_name}", p.width, p.height, boxes.tobytes()))
    return annotations.classes, found


if __name__ == "__main__":
    stage.run(main)
