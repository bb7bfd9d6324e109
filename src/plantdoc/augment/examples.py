"""One example of the TFRecords: a picture of data/raw in, a framed record out.

A pure function of the picture, params and seed, so that it does not matter which process makes it, or where, or when.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from plantdoc.augment import transforms
from plantdoc.augment.augment_params import Augment
from plantdoc.core.errors import UserError
from plantdoc.records import shards, tfrecord

Image.MAX_IMAGE_PIXELS = None  # what is too large was decided by fetch.max_pixels


@dataclass(frozen=True, slots=True)
class SourcePicture:
    """A picture of data/raw, small: there is one for each picture of the data set.

    `id` is "<split>/<file name>"; `boxes` the bytes of a float32 [N, 5]: xyxy in px, and category.
    """

    id: str
    width: int
    height: int
    boxes: bytes


# A picture, and the number of its variant; None: no variant, but letterboxed.
ExampleTask = tuple[SourcePicture, int | None]


@dataclass(frozen=True)
class ShardGroup:
    """The squares that go one after another into the shards `<name>-00000.tfrecord` …: a copy of train, or val."""

    name: str
    copy: int | None
    pictures: list[SourcePicture]

    def tasks(self, seed: int) -> Iterator[ExampleTask]:
        """Tasks in order: training pictures in an order of their own in each copy, so that training needs no large
        shuffle buffer."""
        pictures = self.pictures
        if (copy := self.copy) is not None:
            pictures = sorted(pictures, key=lambda source: key(seed, copy, source.id))
        return ((source, self.copy) for source in pictures)


def key(seed: int, copy: int, source_id: str) -> int:
    """A 128-bit number that stands for one variant of one picture, whatever other pictures there are."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{copy}/{source_id}".encode()).digest()[:16])


def make_example(
    task: ExampleTask,
    raw: Path,
    config: Augment,
    seed: int,
    classes: tuple[str, ...],
    opened: Callable[[str], BinaryIO] | None = None,
) -> bytes:
    """A framed record: a variant of the picture, or for copy None the picture letterboxed.

    Args:
        opened: opens a picture by its id, where that is not the file of this name in `raw`.

    Raises:
        UserError: the picture cannot be read, or has another size than its annotations say.
    """
    source, copy = task
    path, found = raw / source.id, np.frombuffer(source.boxes, np.float32).reshape(-1, 5)
    boxes, labels = found[:, :4], found[:, 4].astype(int)
    try:
        with opened(source.id) if opened else open(path, "rb") as file, Image.open(file) as image:
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
    record = shards.Record(source.id, buffer.getvalue(), config.size, boxes, labels)
    return tfrecord.frame(record.serialise(classes))
