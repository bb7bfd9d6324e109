"""The same pictures and boxes are read from every format, told by content."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import source_folders

from plantdoc.core.errors import UserError
from plantdoc.fetch import formats, source_files
from plantdoc.fetch.formats import tf_object_detection

TRUTH = {
    "train": {
        "a b%20&c.jpg": [((4, 8, 44, 48), "Apple leaf"), ((50, 10, 90, 60), "grape leaf")],
        "b.jpg": [((1, 2, 33, 34), "grape leaf")],
        "empty.jpg": [],
    },
    "val": {"v.jpg": [((4, 8, 44, 48), "grape leaf")]},
    "test": {"a b%20&c.jpg": [((10, 10, 50, 50), "Apple leaf")]},
}
CLASSES = ["Apple leaf", "grape leaf"]


def bytes_of(name: str) -> bytes:
    return source_folders.encoded(source_folders.image(name), quality=92)


def write_voc(folder: Path) -> None:
    for split, pictures in TRUTH.items():
        for name, boxes in pictures.items():
            source_folders.write_voc(folder, f"plantdoc-main/{split.upper()}/{name}", bytes_of(name), boxes)


def write_coco(folder: Path) -> None:
    for split, pictures in TRUTH.items():
        source_folders.write_coco(folder / split, pictures)


def write_coco_central(folder: Path) -> None:
    """As COCO itself lays it out: annotations in a folder of their own, pictures in another."""
    for split, pictures in TRUTH.items():
        source_folders.write_coco(folder / "images" / f"{split}2017", pictures)
        (folder / "annotations").mkdir(exist_ok=True)
        at = folder / "images" / f"{split}2017" / "annotations.json"
        at.rename(folder / "annotations" / f"instances_{split}2017.json")


def write_yolo(folder: Path) -> None:
    (folder / "labels").mkdir(parents=True)
    names = {"train": "train", "val": "valid", "test": "test"}
    for split, pictures in TRUTH.items():
        for kind in ("images", "labels"):
            (folder / names[split] / kind).mkdir(parents=True)
        for name, boxes in pictures.items():
            (folder / names[split] / "images" / name).write_bytes(bytes_of(name))
            width, height = source_folders.SIZE
            lines = [
                f"{CLASSES.index(label)} {(x0 + x1) / 2 / width} {(y0 + y1) / 2 / height} "
                f"{(x1 - x0) / width} {(y1 - y0) / height}"
                for (x0, y0, x1, y1), label in boxes
            ]
            if lines:
                text = "\n".join(lines) + "\n"
                (folder / names[split] / "labels" / name).with_suffix(".txt").write_text(text)
    (folder / "data.yaml").write_text(f"train: ../train/images\nval: ../valid/images\nnc: 2\nnames: {CLASSES}\n")


def write_yolo_by_kind(folder: Path) -> None:
    """images/… and labels/… on top, and splits with names of their own, told by data.yaml; polygons for boxes."""
    own = {"train": "learn", "val": "choose", "test": "judge"}
    for split, pictures in TRUTH.items():
        for name, boxes in pictures.items():
            image = folder / "images" / own[split] / name
            label = (folder / "labels" / own[split] / name).with_suffix(".txt")
            for path in (image, label):
                path.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(bytes_of(name))
            lines = []
            for corners, kind in boxes:
                x0, y0, x1, y1 = (v / source_folders.SIZE[i % 2] for i, v in enumerate(corners))
                lines.append(f"{CLASSES.index(kind)} {x0} {y1} {x1} {y0} {x0} {y0}")
            label.write_text("\n".join(lines))
    keys = "\n".join(f"{split}: images/{folder}" for split, folder in own.items())
    (folder / "plants.yaml").write_text(f"{keys}\nnames:\n  0: Apple leaf\n  1: grape leaf\n")


def example(name: str, boxes: source_folders.Boxes, with_text: bool = True):
    import tensorflow as tf

    def feature(values):
        if not values or isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        if isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    features = {
        "image/encoded": [bytes_of(name)],
        "image/filename": [name.encode()],
        "image/width": [source_folders.SIZE[0]],
        "image/height": [source_folders.SIZE[1]],
        "image/object/class/label": [1 + CLASSES.index(label) for _, label in boxes],
    }
    if with_text:
        features["image/object/class/text"] = [label.encode() for _, label in boxes]
    for i, side in enumerate(("xmin", "ymin", "xmax", "ymax")):
        features[f"image/object/bbox/{side}"] = [corners[i] / source_folders.SIZE[i % 2] for corners, _ in boxes]
    return tf.train.Example(
        features=tf.train.Features(feature={k: feature(v) for k, v in features.items()})
    ).SerializeToString()


def write_tfrecords(folder: Path, with_text: bool = True) -> None:
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    for split, pictures in TRUTH.items():
        with tf.io.TFRecordWriter(str(folder / f"Leaves_{split}.data")) as writer:
            for name, boxes in pictures.items():
                writer.write(example(name, boxes, with_text))
    items = "".join(f"item {{\n  name: '{name}',\n  id: {i}\n}}\n" for i, name in enumerate(CLASSES, start=1))
    (folder / "Leaves_label_map.pbtxt").write_text(items)


def read(folder: Path, tmp_path: Path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    reading = formats.read(folder, scratch)
    return reading.format, reading.data


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (write_voc, "Pascal VOC"),
        (write_coco, "COCO JSON"),
        (write_coco_central, "COCO JSON"),
        (write_yolo, "YOLO"),
        (write_yolo_by_kind, "YOLO"),
        (write_tfrecords, "TFRecords"),
        (lambda folder: write_tfrecords(folder, with_text=False), "TFRecords"),
    ],
    ids=["voc", "coco", "coco central", "yolo", "yolo by kind", "tfrecords", "tfrecords with numbers only"],
)
def test_every_format_gives_the_same(write, kind, tmp_path):
    write(tmp_path / "source")
    name, data = read(tmp_path / "source", tmp_path)
    assert name == kind and not data.lost
    found: dict = {"train": {}, "val": {}, "test": {}}
    for picture in data.pictures:
        assert picture.path.read_bytes() == bytes_of(Path(picture.name).name)
        scale = (*source_folders.SIZE, *source_folders.SIZE) if picture.relative else (1, 1, 1, 1)
        found[picture.split][Path(picture.name).name] = [
            (tuple(round(v * s, 3) for v, s in zip(box.corners, scale, strict=True)), box.name) for box in picture.boxes
        ]
    assert found == TRUTH


def test_a_folder_without_pictures(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(UserError, match=r"holds no pictures \(1 files in all\)"):
        formats.read(tmp_path, tmp_path)


def test_pictures_without_annotations(tmp_path):
    (tmp_path / "a.jpg").write_bytes(bytes_of("a"))
    with pytest.raises(UserError, match="1 pictures but no annotations that are read"):
        formats.read(tmp_path, tmp_path)


def test_boxes_without_pictures_and_pictures_without_boxes_are_listed(tmp_path):
    source_folders.voc(tmp_path / "s", 3, 1)
    (tmp_path / "s/TRAIN/p000.jpg").unlink()
    (tmp_path / "s/TRAIN/p001.xml").unlink()
    (tmp_path / "s/TRAIN/p002.xml").write_text("<annotation><object>")
    _, data = read(tmp_path / "s", tmp_path)
    reasons = {lost.name: lost.reason for lost in data.lost}
    assert reasons.pop("TRAIN/p002.jpg").startswith("annotation file is not plain XML")
    assert reasons == {
        "TRAIN/p000.xml": "the picture of this annotation file is missing",
        "TRAIN/p001.jpg": "no annotation file",
    }
    assert [p.name for p in data.pictures] == ["TEST/p000.jpg"]


def test_an_xml_bomb_is_not_unfolded(tmp_path):
    source_folders.voc(tmp_path / "s", 2, 1)
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "boom">{entities}]><annotation><filename>&e11;</filename></annotation>'
    (tmp_path / "s/TRAIN/p000.xml").write_text(bomb)
    outside = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>'
    (tmp_path / "s/TRAIN/p001.xml").write_text(outside)
    _, data = read(tmp_path / "s", tmp_path)
    assert {lost.name: "EntitiesForbidden" in lost.reason for lost in data.lost} == {
        "TRAIN/p000.jpg": True,
        "TRAIN/p001.jpg": True,
    }


def test_a_file_name_cannot_lead_out_of_the_source(tmp_path):
    source_folders.write_coco(tmp_path / "s/train", {"a.jpg": [((1, 1, 9, 9), "leaf")], "b.jpg": []})
    (tmp_path / "secret.jpg").write_bytes(bytes_of("secret"))
    at = tmp_path / "s/train/annotations.json"
    data = json.loads(at.read_text())
    data["images"][0]["file_name"] = "../../secret.jpg"
    data["images"][1]["file_name"] = str(tmp_path / "secret.jpg")
    at.write_text(json.dumps(data))
    with pytest.raises(UserError, match="no picture to go with"):
        read(tmp_path / "s", tmp_path)


def test_a_box_of_an_unknown_class_is_alone_in_having_none(tmp_path):
    source_folders.write_coco(tmp_path / "s/train", {"a.jpg": [((1, 1, 9, 9), "leaf"), ((2, 2, 9, 9), "rust")]})
    at = tmp_path / "s/train/annotations.json"
    at.write_text(at.read_text().replace('"category_id": 10', '"category_id": 99'))
    _, data = read(tmp_path / "s", tmp_path)
    assert sorted(box.name for box in data.pictures[0].boxes) == ["", "rust"]


def test_broken_records_are_listed_and_the_rest_is_read(tmp_path):
    folder = tmp_path / "s"
    write_tfrecords(folder)
    whole = (folder / "Leaves_train.data").read_bytes()
    (folder / "Leaves_train.data").write_bytes(whole[:-100])
    _, data = read(folder, tmp_path)
    assert [(lost.name, lost.reason.split(":")[0]) for lost in data.lost] == [("Leaves_train.data", "damaged TFRecord")]
    assert len(data.pictures) == 4


def test_records_are_told_by_their_checksum(tmp_path):
    write_tfrecords(tmp_path)
    (tmp_path / "not.tfrecord").write_bytes(b"\x05" + b"\0" * 30)
    source = source_files.collect(tmp_path, tmp_path)
    assert tf_object_detection.recognise(source).files == [f"Leaves_{split}.data" for split in ("test", "train", "val")]


def test_unreadable_boxes_are_passed_on_as_not_a_number(tmp_path):
    source_folders.write_voc(tmp_path / "s", "train/a.jpg", bytes_of("a"), [(("x", 1, 2, 3), "leaf")])
    _, data = read(tmp_path / "s", tmp_path)
    assert repr(data.pictures[0].boxes[0].corners) == "(nan, nan, nan, nan)"


def test_case_suffixes_and_hidden_files_do_not_matter(tmp_path):
    source_folders.write_voc(tmp_path / "s", "Train/IMG.JPG.jpg", bytes_of("a"), [((1, 1, 20, 20), "leaf")])
    source_folders.write_voc(tmp_path / "s", "tEsT/x.png", bytes_of("b"), [((1, 1, 20, 20), "leaf")])
    source_folders.write_voc(tmp_path / "s", "__MACOSX/._x.png", b"junk", [])
    (tmp_path / "s/tEsT/x.xml").rename(tmp_path / "s/tEsT/X.XML")
    _, data = read(tmp_path / "s", tmp_path)
    assert [(p.split, p.name) for p in data.pictures] == [("test", "tEsT/x.png"), ("train", "Train/IMG.JPG.jpg")]
    assert not data.lost


def test_real_pictures(plantdoc_folder, tmp_path):
    reading = formats.read(plantdoc_folder, tmp_path)
    name, data = reading.format, reading.data
    assert name == "Pascal VOC" and not data.lost
    assert [sum(p.split == split for p in data.pictures) for split in ("train", "test")] == [2088, 233]
    assert sum(not p.boxes for p in data.pictures) == 10
    assert len({box.name for p in data.pictures for box in p.boxes}) == 30
