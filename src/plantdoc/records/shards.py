"""The records that training reads: squares with boxes, in TFRecord files with the keys of the TF Object Detection API.

Written and read without TensorFlow, whose import takes longer than a small run of the augment stage. TensorFlow reads
the files like its own. Coordinates are relative, 0..1; class labels count from 0, as everywhere in the project, where
the API's own label maps count from 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from plantdoc.core.errors import UserError
from plantdoc.records import tf_example, tfrecord

_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Meta:
    """meta.json beside the shards: what is in them.

    `size` is the side of the squares in px; `counts` the pictures of "train" (in each copy) and "val"; `files` the
    names of the shards: for "train" one tuple per copy, for "val" one tuple.
    """

    classes: tuple[str, ...]
    size: int
    copies: int
    counts: dict[str, int]
    files: dict[str, tuple]

    def save(self, folder: Path | str) -> None:
        """Write `meta.json` into `folder`."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (Path(folder) / "meta.json").write_text(text + "\n", encoding="utf-8")


def meta(folder: Path | str) -> Meta:
    """Read `meta.json` of a folder written by the augment stage.

    Raises:
        UserError: there is none.
    """
    path = Path(folder) / "meta.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not there: make the TFRecords with `dvc repro augment`") from None
    files = {"train": tuple(map(tuple, values["files"]["train"])), "val": tuple(values["files"]["val"])}
    return Meta(tuple(values["classes"]), values["size"], values["copies"], values["counts"], files)


@dataclass(frozen=True)
class Record:
    """One square: JPEG bytes of `size` x `size` px, `boxes` float [N, 4] as xyxy in px, `classes` int [N]."""

    source_id: str
    jpeg: bytes
    size: int
    boxes: np.ndarray
    classes: np.ndarray

    def serialise(self, names: tuple[str, ...]) -> bytes:
        """The record as a tf.train.Example; `names` are the classes' names."""
        relative = np.asarray(self.boxes, np.float64).reshape(-1, 4) / self.size
        return tf_example.serialise(
            {
                "image/encoded": (tf_example.BYTES, [self.jpeg]),
                "image/format": (tf_example.BYTES, [b"jpeg"]),
                "image/height": (tf_example.INTEGERS, [self.size]),
                "image/width": (tf_example.INTEGERS, [self.size]),
                "image/source_id": (tf_example.BYTES, [self.source_id.encode()]),
                "image/object/class/label": (tf_example.INTEGERS, [int(c) for c in self.classes]),
                "image/object/class/text": (tf_example.BYTES, [names[c].encode() for c in self.classes]),
            }
            | {
                f"image/object/bbox/{side}": (tf_example.FLOATS, relative[:, i].tolist())
                for i, side in enumerate(_SIDES)
            }
        )

    @classmethod
    def parse(cls, serialised: bytes) -> Record:
        """The record in a tf.train.Example written by `serialise`."""
        features = tf_example.parse(serialised)
        size = features["image/width"][0]
        return cls(
            source_id=features["image/source_id"][0].decode(),
            jpeg=features["image/encoded"][0],
            size=size,
            boxes=np.array([features[f"image/object/bbox/{side}"] for side in _SIDES], np.float32).T * size,
            classes=np.array(features["image/object/class/label"], np.int32),
        )


def read(path: Path | str) -> Iterator[Record]:
    """The records of one file, one at a time.

    Raises:
        UserError: the file is missing or damaged, or was made by something else.
    """
    for serialised in tfrecord.read(Path(path)):
        try:
            yield Record.parse(serialised)
        except KeyError as error:
            raise UserError(f"{path} was not made by the augment stage: its records have no {error}") from None
