"""TFRecords with the TensorFlow Object Detection API's keys, as in the Kaggle copies of PlantDoc."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from plantdoc.fetch.formats.raw_data import Lost, RawBox, RawData, RawPicture, split_of
from plantdoc.records import tfrecord

_ITEM = re.compile(r"item\s*\{(.*?)\}", re.DOTALL)
_ID = re.compile(r"\bid\s*:\s*(\d+)")
_NAME = re.compile(r"\b(?:display_)?name\s*:\s*(['\"])(.*?)\1")


def recognise(folder: Path, files: list[str]) -> list[str]:
    """The files that begin with a TFRecord's header: a length and its masked CRC-32C."""
    found = []
    for file in files:
        with open(folder / file, "rb") as stream:
            if tfrecord.is_header(stream.read(12)):
                found.append(file)
    return found


def read(folder: Path, files: list[str], records: list[str], scratch: Path) -> RawData:
    """Write the pictures of all records into `scratch`, one at a time; a shard cut short is lost from there on."""
    import tensorflow as tf  # takes seconds, and no other source needs it

    labels = _label_map(folder, files)
    pictures: list[RawPicture] = []
    lost: list[Lost] = []
    taken: set[tuple[str, str]] = set()
    for file in records:
        split = split_of(file, by_name=True) or "train"
        try:
            for i, record in enumerate(tf.data.TFRecordDataset(str(folder / file)).as_numpy_iterator()):
                try:
                    features = tf.train.Example.FromString(record).features.feature
                except Exception as error:  # protobuf's DecodeError moves between modules from version to version
                    if type(error).__name__ != "DecodeError":
                        raise
                    lost.append(Lost(split, f"{file}#{i}", "not a tf.train.Example"))
                    continue
                data = features["image/encoded"].bytes_list.value
                if not data:
                    lost.append(Lost(split, f"{file}#{i}", "the record has no image/encoded"))
                    continue
                name = _text(features, "image/filename") or _text(features, "image/source_id") or f"{file}#{i}"
                if (split, name) in taken:
                    name = f"{file}#{i}/{PurePosixPath(name).name}"
                taken.add((split, name))
                path = scratch / f"{len(pictures):08d}"
                path.write_bytes(data[0])
                declared = _integer(features, "image/width"), _integer(features, "image/height")
                pictures.append(
                    RawPicture(split, name, path, _boxes(features, labels), True, declared if all(declared) else None)
                )
        except tf.errors.DataLossError as error:
            lost.append(Lost(split, file, f"damaged TFRecord: {error.message}"))
    return RawData(tuple(pictures), tuple(lost))


def _boxes(features, labels: dict[int, str]) -> tuple[RawBox, ...]:
    sides = [features[f"image/object/bbox/{side}"].float_list.value for side in ("xmin", "ymin", "xmax", "ymax")]
    names = [name.decode("utf-8", "replace") for name in features["image/object/class/text"].bytes_list.value]
    if not names:
        ids = features["image/object/class/label"].int64_list.value
        names = [labels.get(i, f"class {i}") for i in ids]
    names += [""] * len(sides[0])
    return tuple(RawBox(corners, name) for corners, name in zip(zip(*sides, strict=False), names, strict=False))


def _label_map(folder: Path, files: list[str]) -> dict[int, str]:
    """Class names from label_map.pbtxt, for records that carry numbers only."""
    labels = {}
    for file in files:
        if file.endswith(".pbtxt"):
            for item in _ITEM.findall((folder / file).read_text(encoding="utf-8", errors="replace")):
                if (key := _ID.search(item)) and (name := _NAME.search(item)):
                    labels[int(key.group(1))] = name.group(2)
    return labels


def _text(features, key: str) -> str:
    values = features[key].bytes_list.value
    return values[0].decode("utf-8", "replace") if values else ""


def _integer(features, key: str) -> int:
    values = features[key].int64_list.value
    return values[0] if values else 0
