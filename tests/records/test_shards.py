"""TFRecords: TensorFlow reads what we write, we read it too, and damage is noticed."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from plantdoc.core.errors import UserError
from plantdoc.records import shards, tfrecord

NAMES = ("Apple leaf", "Soyabean leaf", "Feuille d’érable")


def record(boxes: list, classes: list, size: int = 64) -> shards.Record:
    buffer = io.BytesIO()
    Image.effect_noise((size, size), 80).convert("RGB").save(buffer, "JPEG")
    return shards.Record("train/a % b é.jpg", buffer.getvalue(), size, np.array(boxes).reshape(-1, 4), classes)


def test_a_record_comes_back_as_it_was():
    wanted = record([[1.25, 2, 30, 63.5], [0, 0, 64, 64]], [2, 0])
    back = shards.Record.parse(wanted.serialise(NAMES))
    assert (back.source_id, back.jpeg, back.size) == (wanted.source_id, wanted.jpeg, 64)
    np.testing.assert_allclose(back.boxes, wanted.boxes, atol=1e-4)
    assert back.classes.tolist() == [2, 0]


def test_a_record_without_boxes_comes_back():
    back = shards.Record.parse(record([], []).serialise(NAMES))
    assert back.boxes.shape == (0, 4)
    assert back.classes.shape == (0,)


@pytest.mark.parametrize("classes", [[], [1], [2, 0, 1] * 50])
def test_bytes_are_those_of_tensorflow(tf, tmp_path, classes):
    """tf.train.Example, serialised deterministically, in a file of tf.io.TFRecordWriter."""
    boxes = np.random.default_rng(0).uniform(0, 64, (len(classes), 4))
    ours = record(boxes, classes, 320)
    example = tf.train.Example()
    features = example.features.feature
    for key, value in {"image/height": 320, "image/width": 320}.items():
        features[key].int64_list.value.append(value)
    for key, value in {"encoded": ours.jpeg, "format": b"jpeg", "source_id": ours.source_id.encode()}.items():
        features[f"image/{key}"].bytes_list.value.append(value)
    for i, side in enumerate(("xmin", "ymin", "xmax", "ymax")):
        features[f"image/object/bbox/{side}"].float_list.value.extend(boxes[:, i] / 320)
        features[f"image/object/bbox/{side}"].float_list.SetInParent()
    features["image/object/class/label"].int64_list.value.extend(classes)
    features["image/object/class/label"].int64_list.SetInParent()
    features["image/object/class/text"].bytes_list.value.extend(NAMES[c].encode() for c in classes)
    features["image/object/class/text"].bytes_list.SetInParent()
    assert ours.serialise(NAMES) == example.SerializeToString(deterministic=True)

    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        writer.write(example.SerializeToString(deterministic=True))
    assert tfrecord.frame(ours.serialise(NAMES)) == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("length", [1, 3, 4, 5, 1023, 1024, 1025, 1026, 2051, 10000])
def test_checksums_of_any_length(length):
    data = np.random.default_rng(length).bytes(length)
    crc = 0xFFFFFFFF
    for byte in data:  # the definition, bit by bit
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    assert tfrecord.crc32c(data) == crc ^ 0xFFFFFFFF


def test_checksum_of_the_standards_example():
    assert tfrecord.crc32c(b"123456789") == 0xE3069283


def test_a_shard_is_closed_when_it_reaches_the_limit(tmp_path):
    framed = tfrecord.frame(b"x" * 84)  # 100 bytes with length and checksums
    with tfrecord.ShardWriter(tmp_path, "val", 250) as writer:
        for _ in range(7):
            writer.write(framed)
    assert writer.files == ["val-00000.tfrecord", "val-00001.tfrecord", "val-00002.tfrecord"]
    assert [(tmp_path / name).stat().st_size for name in writer.files] == [300, 300, 100]


def test_nothing_written_makes_no_file(tmp_path):
    with tfrecord.ShardWriter(tmp_path, "val", 250) as writer:
        pass
    assert writer.files == list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data[:20] + b"?" + data[21:], lambda data: b"JUNK" + data, lambda data: b"a"],
    ids=["cut short", "one byte changed", "not a TFRecord", "one byte long"],
)
def test_damage_is_named(tmp_path, damage):
    path = tmp_path / "val-00000.tfrecord"
    path.write_bytes(damage(tfrecord.frame(record([[0, 0, 9, 9]], [0]).serialise(NAMES))))
    with pytest.raises(UserError, match=r"val-00000\.tfrecord is damaged"):
        list(shards.read(path))


def test_a_length_beyond_the_file_is_damage_and_not_memory(tmp_path):
    head = struct.pack("<Q", 2**62)
    path = tmp_path / "val-00000.tfrecord"
    path.write_bytes(head + tfrecord._masked(head) + b"abc")
    with pytest.raises(UserError, match="damaged"):
        list(shards.read(path))


def test_records_of_others_are_refused(tmp_path):
    path = tmp_path / "val-00000.tfrecord"
    path.write_bytes(tfrecord.frame(b"\n\x00"))  # an example without features
    with pytest.raises(UserError, match="image/width"):
        list(shards.read(path))


def test_meta_comes_back_and_its_absence_says_what_to_do(tmp_path):
    about = shards.Meta(NAMES, 64, 2, {"train": 3, "val": 1}, {"train": (("a",), ("b", "c")), "val": ("d",)})
    about.save(tmp_path)
    assert shards.meta(tmp_path) == about
    with pytest.raises(UserError, match="dvc repro augment"):
        shards.meta(tmp_path / "elsewhere")
