"""The methods of benchmarks/augment_speed.py: each goes through the same pictures once and says what it took."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import measure
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import augment
from plantdoc.augment import augment_params
from plantdoc.coco import dataset
from plantdoc.core.errors import UserError
from plantdoc.records import shards, tfrecord

HERE = Path(__file__).resolve().parent
Side = Callable[[], measure.Row]
KERASCV = {  # side: layers, and how what they give is stored
    "KerasCV, guide's order": "guide jpeg",
    "KerasCV, resize first": "same jpeg",
    "KerasCV, resize first, no rotation": "lean jpeg",
    "KerasCV, resize first, stored as tensors": "same tensors",
}
BEAM = {"TFRecorder's way, plain": "plain", "TFRecorder's way, gzip": "gzip"}


@dataclass(frozen=True)
class Work:
    """What all sides work on: `pictures` of `raw`/train, and where to write."""

    raw: Path
    folder: Path
    config: augment_params.Augment
    seed: int
    classes: tuple[str, ...]
    pictures: list[augment.SourcePicture]


def ours(work: Work) -> measure.Row:
    """One variant of each picture, into a shard, in this process."""
    shutil.rmtree(work.folder / "ours", ignore_errors=True)
    (work.folder / "ours").mkdir()
    with timed(len(work.pictures)) as row, tfrecord.ShardWriter(work.folder / "ours", "train", 10**9) as writer:
        for source in work.pictures:
            writer.write(augment.make_example((source, 0), work.raw, work.config, work.seed, work.classes))
    return row | {"bytes/picture": size(work.folder / "ours") / len(work.pictures)}


def build(work: Work) -> measure.Row:
    """The stage itself with two processes, start and end included; by the clock."""
    raw, out = work.folder / "raw", work.folder / "built"
    if not raw.exists():
        lay_out(work, raw)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    started = time.perf_counter()
    count = augment.build(raw, out, work.config, work.seed, workers=2)
    took = time.perf_counter() - started
    return {"pictures/s": count / took, "ms/picture": 1000 * took / count, "bytes/picture": size(out) / count}


def lay_out(work: Work, raw: Path) -> None:
    """A folder as the fetch stage makes it, with the pictures to work on as train, and one of val."""
    wanted = {source.id for source in work.pictures}
    for split in ("train", "val"):
        (raw / split).mkdir(parents=True)
        all_of_it = dataset.load(work.raw / split)
        if split == "train":
            kept = tuple(p for p in all_of_it.pictures if f"train/{p.file_name}" in wanted)
        else:
            kept = all_of_it.pictures[:1]
        for picture in kept:
            (raw / split / picture.file_name).symlink_to((work.raw / split / picture.file_name).resolve())
        dataset.save(dataset.Split(all_of_it.classes, kept), raw / split)


def kerascv(work: Work, ends: contextlib.ExitStack, core: int) -> dict[str, Side]:
    """Sides that work by KerasCV's layers, all by one process that waits for its turns."""
    ask = _peer(work, ends, core, sys.executable, "kerascv_layers.py", "kerascv")
    return {name: partial(ask, word, f"kerascv-{word.replace(' ', '-')}") for name, word in KERASCV.items()}


def tfrecorder(work: Work, ends: contextlib.ExitStack, core: int) -> dict[str, Side]:
    """Sides that work as TFRecorder does, both by one process.

    Raises:
        UserError: its environment is not there.
    """
    ask = _peer(work, ends, core, measure.peer("tfrecorder"), "tfrecorder_pipeline.py", "beam")
    return {name: partial(ask, way, f"beam-{way}") for name, way in BEAM.items()}


def _peer(work: Work, ends: contextlib.ExitStack, core: int, python: str, script: str, out: str) -> Callable:
    """Start a script of peers/ on a core; the function that has it go through the pictures once."""
    listing = work.folder / "pictures.json"
    listing.write_text(json.dumps(manifest(work)))
    command = [python, str(HERE / "peers" / script), str(listing), str(work.folder / out)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with pinned(core):  # inherited
        process = subprocess.Popen(command, text=True, **pipes)
    ends.callback(process.wait)
    ends.callback(process.stdin.close)

    def ask(word: str, out: str) -> measure.Row:
        answer = ""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(word + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        if not answer:
            raise UserError(f"{script} has ended: run it by hand to see why, its docstring says how")
        took, written = json.loads(answer), sum(path.stat().st_size for path in work.folder.glob(out + "*"))
        return as_row(took["processor"], took["pictures"]) | {"bytes/picture": written / took["pictures"]}

    return ask


def manifest(work: Work) -> dict:
    """What the peers are told; their scale is that of ours for a picture of the usual size."""
    import numpy as np

    boxes = [np.frombuffer(source.boxes, np.float32).reshape(-1, 5) for source in work.pictures]
    fit = work.config.size / float(np.median([max(source.width, source.height) for source in work.pictures]))
    return {
        "size": work.config.size,
        "quality": work.config.quality,
        "scale": [fit * (1 - work.config.scale), fit * (1 + work.config.scale)],
        "jitter": {key: getattr(work.config, key) for key in ("rotation", "hue", "saturation", "brightness")},
        "pictures": [
            {
                "id": source.id,
                "path": str((work.raw / source.id).resolve()),
                "boxes": found[:, :4].tolist(),
                "classes": found[:, 4].astype(int).tolist(),
            }
            for source, found in zip(work.pictures, boxes, strict=True)
        ],
    }


def floor(work: Work) -> dict[str, Side]:
    """Sides that decode alone, encode alone, and do both, as the augment stage does it."""
    examples = []
    count, config = len(work.pictures), work.config

    def decode() -> None:
        for source in work.pictures:
            with Image.open(work.raw / source.id) as image:
                image.draft("RGB", (config.size, config.size))
                image.convert("RGB")

    def encode() -> None:
        if not examples:
            (file,) = (work.folder / "ours").iterdir()
            examples.extend(Image.open(io.BytesIO(record.jpeg)).convert("RGB") for record in shards.read(file))
        for example in examples:
            example.save(io.BytesIO(), "JPEG", quality=config.quality, subsampling=0)

    def side(*steps) -> measure.Row:
        with timed(count) as row:
            for step in steps:
                step()
        return row | {"bytes/picture": None}

    return {
        "decode alone": lambda: side(decode),
        "encode alone": lambda: side(encode),
        "decode and encode": lambda: side(decode, encode),
    }


def size(folder: Path) -> int:
    """The bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def as_row(processor: float, count: int) -> measure.Row:
    """What `processor` seconds for `count` pictures mean."""
    return {"pictures/s": count / processor, "ms/picture": 1000 * processor / count}


@contextlib.contextmanager
def timed(count: int) -> Iterator[measure.Row]:
    """A row that is filled in at the end: processor time of this process for `count` pictures."""
    row: measure.Row = {}
    before = time.process_time()
    yield row
    row |= as_row(time.process_time() - before, count)


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """This process, and what it starts meanwhile, on one core; where the system cannot do that, anywhere."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
