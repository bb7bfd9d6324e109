"""TFRecords with the TensorFlow Object Detection API's keys, as in the Kaggle copies of PlantDoc, gzipped or not."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import PurePosixPath

from plantdoc.fetch import assemble, shapes, split_names
from plantdoc.fetch.formats.recognition import Recognition
from plantdoc.fetch.raw_data import Lost, RawBox, RawData, RawPicture, declared_size
from plantdoc.fetch.source_files import SourceFiles, Unparsable
from plantdoc.records import tfrecord

NAME = "TFRecords"
_SUFFIXES = (".tfrecord", ".tfrecords", ".record")
_GZIP = b"\x1f\x8b"
_COMMENT = re.compile(r"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|\#[^\n]*""")
_ITEM = re.compile(r"item\s*\{((?:[^{}'\"]|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')*)\}")
_ID = re.compile(r"(?<!\w)id\s*:\s*(\d+)")
_TEXT = r"(?<!\w){key}\s*:\s*(\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')"
_DISPLAY, _NAME = re.compile(_TEXT.format(key="display_name")), re.compile(_TEXT.format(key="name"))
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9a-fA-F]{1,2}|.)", re.DOTALL)
_PLAIN = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


def recognise(source: SourceFiles) -> Recognition:
    """Find the files that begin with a TFRecord's header: a length and its masked CRC-32C."""
    found = Recognition()
    for file, head in source.heads.items():
        if head.startswith(_GZIP):
            head = _unzipped_head(source, file)
        if tfrecord.is_header(head[:12]):
            found.files.append(file)
        elif head and PurePosixPath(file.lower().removesuffix(".gz")).suffix in _SUFFIXES:
            found.faults[file] = "not a TFRecord: its first record is damaged"
    return found


def read(source: SourceFiles, files: list[str]) -> RawData:
    """Write the pictures of all records into `source.scratch`; a shard cut short is lost from there on."""
    import tensorflow as tf  # takes seconds, and no other source needs it

    labels = _label_map(source)
    pictures: list[RawPicture] = []
    lost: list[Lost] = []
    taken: set[tuple[str, str]] = set()
    for file in files:
        declared_split = split_names.of_annotations(file)
        split, split_from = (
            declared_split or "train",
            f"name of {file}" if declared_split else assemble.NO_SPLIT,
        )
        compression = "GZIP" if source.heads[file].startswith(_GZIP) else ""
        try:
            records = tf.data.TFRecordDataset(str(source.folder / file), compression).as_numpy_iterator()
            for i, record in enumerate(records):
                try:
                    features = tf.train.Example.FromString(record).features.feature
                except Exception as error:  # protobuf's DecodeError moves between modules from version to version
                    if type(error).__name__ != "DecodeError":
                        raise
                    lost.append(Lost(split, f"{file}#{i}", "not a tf.train.Example"))
                    continue
                boxes = _boxes(features, labels)
                data = features["image/encoded"].bytes_list.value
                if not data:
                    lost.append(Lost(split, f"{file}#{i}", "the record has no image/encoded", len(boxes)))
                    continue
                name = _text(features, "image/filename") or _text(features, "image/source_id") or f"{file}#{i}"
                if (split, name) in taken:
                    name = f"{file}#{i}/{PurePosixPath(name).name}"
                taken.add((split, name))
                path = source.scratch / f"{len(pictures):08d}"
                path.write_bytes(data[0])
                size = declared_size(_integer(features, "image/width"), _integer(features, "image/height"))
                pictures.append(RawPicture(split, name, path, boxes, True, size, split_from, annotated=True))
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
            lost.append(Lost(split, file, f"damaged TFRecord: {error.message}"))
    return RawData(tuple(pictures), tuple(lost), tuple(files), auxiliary=tuple(source.with_suffix(".pbtxt")))


def _unzipped_head(source: SourceFiles, file: str) -> bytes:
    try:
        with gzip.open(source.folder / file) as stream:
            return stream.read(12)
    except (OSError, EOFError, zlib.error):
        return b""


def _boxes(features, labels: dict[int, str]) -> tuple[RawBox, ...]:
    sides = [features[f"image/object/bbox/{side}"].float_list.value for side in ("xmin", "ymin", "xmax", "ymax")]
    names = [name.decode("utf-8", "replace") for name in features["image/object/class/text"].bytes_list.value]
    if not names:
        ids = features["image/object/class/label"].int64_list.value
        names = [labels.get(i, f"class {i}") for i in ids]
    crowds = list(features["image/object/is_crowd"].int64_list.value)
    count = max(map(len, sides))
    names += [""] * count
    crowds += [0] * count
    if len(set(map(len, sides))) > 1:
        return (RawBox(shapes.UNKNOWN, "", fault="the record's sides differ in number"),) * count
    return tuple(
        RawBox(shapes.ordered(*corners)[0], name, crowd=bool(crowd))
        for corners, name, crowd in zip(zip(*sides, strict=True), names, crowds, strict=False)
    )


def _label_map(source: SourceFiles) -> dict[int, str]:
    """Class names from label_map.pbtxt, for records that carry numbers only; `display_name` goes before `name`."""
    labels = {}
    for file in source.with_suffix(".pbtxt"):
        try:
            text = _COMMENT.sub(lambda found: found[1] or "", source.text(file))
        except Unparsable:
            continue
        for item in _ITEM.findall(text):
            bare = re.sub(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", "''", item)  # so that no name looks like a key
            name = _DISPLAY.search(item) or _NAME.search(item)
            if (key := _ID.search(bare)) and name:
                labels[int(key[1])] = _unescaped(name[1][1:-1])
    return labels


def _unescaped(text: str) -> str:
    r"""Text as protobuf's text format writes it: `\"`, `\n`, and bytes of UTF-8 as `\303\244` or `\xc3\xa4`."""

    def of(found: re.Match[bytes]) -> bytes:
        code = found[1]
        if code[:1].isdigit() and code[:1] < b"8":
            return bytes([int(code, 8) & 0xFF])
        if code[:1] == b"x" and len(code) > 1:
            return bytes([int(code[1:], 16)])
        return _PLAIN.get(code, code)

    return _ESCAPE.sub(of, text.encode()).decode("utf-8", "replace")


def _text(features, key: str) -> str:
    values = features[key].bytes_list.value
    return values[0].decode("utf-8", "replace") if values else ""


def _integer(features, key: str) -> int:
    values = features[key].int64_list.value
    return values[0] if values else 0
