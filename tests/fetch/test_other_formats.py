"""CVAT for images, Label Studio, CSV of the TF Object Detection API, and records: what they hold is read."""

from __future__ import annotations

import gzip
import json
import random

import pytest
import random_sources
from annotated_files import boxes, names, picture, read, reasons, sides

from plantdoc.core.errors import UserError

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><labels><label><name>leaf</name></label></labels></task></meta>
  <image id="0" name="sub/a.jpg" subset="Train" width="96" height="64">
    <box label="leaf" occluded="0" xtl="45" ytl="46" xbr="5" ybr="6"><attribute name="x">y</attribute></box>
    <box label="rust" xtl="20" ytl="20" xbr="40" ybr="30" rotation="90"></box>
    <polygon label="leaf" points="5.0,6.0;45,6;45,46"></polygon>
    <ellipse label="leaf" cx="30" cy="30" rx="10" ry="5"></ellipse>
    <mask label="leaf" rle="1, 2" left="3" top="4" width="20" height="10"></mask>
    <polyline label="leaf" points="5,6;45,6"></polyline>
  </image>
  <image id="2" name="" width="96" height="64"><box label="leaf" xtl="1" ytl="1" xbr="9" ybr="9"></box></image>
  <image id="1" name="b.jpg" subset="Test" width="96" height="64"></image>
</annotations>"""


def test_cvat_for_images(tmp_path):
    reading = read(
        tmp_path, {"annotations.xml": CVAT, "images/sub/a.jpg": b"", "images/b.jpg": b"", "images/c.jpg": b""}
    )
    assert reading.format == "CVAT for images"
    found = boxes(reading)
    assert found["images/b.jpg"] == []
    assert found["images/sub/a.jpg"][:5] == [
        ("leaf", (5, 6, 45, 46)),
        ("rust", (25, 15, 35, 35)),
        ("leaf", (5, 6, 45, 46)),
        ("leaf", (20, 25, 40, 35)),
        ("leaf", (3, 4, 23, 14)),
    ]
    assert reading.data.pictures[1].boxes[5].fault == "a polyline is no box"
    assert sides(reading) == {"images/sub/a.jpg": "train", "images/b.jpg": "test"}
    assert reasons(reading) == {
        "images/c.jpg": "no annotation file names it",
        "annotations.xml: image 1": "the entry has no name",
    }
    assert reading.data.boxes == 7


def value(x: float, y: float, width: float, height: float, label: str = "leaf", **more) -> dict:
    sizes = {"original_width": 96, "original_height": 64}
    return {**sizes, "value": {"x": x, "y": y, "width": width, "height": height, "rectanglelabels": [label], **more}}


def test_label_studio(tmp_path):
    def task(name: str, *annotations: dict) -> dict:
        return {"id": 1, "data": {"photo": f"/data/upload/1/1f3c5d7e-{name}"}, "annotations": list(annotations)}

    polygon = {"type": "polygonlabels", "value": {"points": [[25, 25], [75, 25], [75, 75]], "polygonlabels": ["rust"]}}
    choice = {"type": "choices", "value": {"choices": ["ripe"]}}
    tasks = [
        task("a.jpg", {"result": [value(25, 25, 50, 50), polygon, choice]}),
        task("b.jpg", {"result": []}),
        task("c.jpg"),
        task(
            "d.jpg",
            {"result": [value(0, 0, 50, 50)], "was_cancelled": True},
            {"result": [value(50, 50, 50, 50, "rust")]},
        ),
        task("e.jpg", {"result": [value(50, 0, 50, 25, rotation=90)]}),
        {"id": 9, "data": {}},
    ]
    reading = read(tmp_path, {"project.json": json.dumps(tasks), **{f"{n}.jpg": b"" for n in "abcde"}})
    assert reading.format == "Label Studio JSON"
    assert boxes(reading) == {
        "a.jpg": [("leaf", (24, 16, 72, 48)), ("rust", (24, 16, 72, 48))],
        "b.jpg": [],
        "d.jpg": [("rust", (48, 32, 96, 64))],
        "e.jpg": [("leaf", (32, 0, 48, 48))],
    }
    assert reasons(reading) == {
        "project.json: task 5": "the task names no picture",
        "c.jpg": "the task has no annotation",
    }


def test_label_studios_short_form(tmp_path):
    one = value(25, 25, 50, 50)
    task = {"image": "/data/local-files/?d=plants/a%20b.jpg", "label": [{**one, **one.pop("value")}], "id": 1}
    assert boxes(read(tmp_path, {"r.json": json.dumps([task]), "plants/a b.jpg": b""})) == {
        "plants/a b.jpg": [("leaf", (24, 16, 72, 48))]
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_of_the_object_detection_api(delimiter, tmp_path):
    def table(*rows: str) -> str:
        head = "filename,width,height,class,xmin,ymin,xmax,ymax"
        return "\n".join([head, *rows]).replace(",", delimiter) + "\n"

    train = table(
        "a.jpg,96,64,Apple leaf,5,6,45,46",
        "a.jpg,96,64,rust,45,46,5,6",
        "b.jpg,96,64,,,,,",
        "gone.jpg,96,64,leaf,1,2,30,40",
    )
    reading = read(
        tmp_path,
        {
            "train_labels.csv": train,
            "test_labels.csv": table(
                '"c, d.jpg",96,64,leaf,1,2,30,x'
                if delimiter == ","
                else "c, d.jpg".replace(",", "") + ",96,64,leaf,1,2,30,x"
            ),
            "images/a.jpg": b"",
            "images/b.jpg": b"",
            "images/c, d.jpg" if delimiter == "," else "images/c d.jpg": b"",
            "notes.csv": "a,b\n1,2\n",
        },
    )
    assert reading.format == "TF Object Detection CSV"
    found = boxes(reading)
    assert (
        found["images/a.jpg"] == [("Apple leaf", (5, 6, 45, 46)), ("rust", (5, 6, 45, 46))]
        and found["images/b.jpg"] == []
    )
    assert set(sides(reading).values()) == {"train", "test"} and len(found) == 3
    assert reasons(reading) == {"gone.jpg": "train_labels.csv names it, but it is missing"}
    assert reading.unread == {"notes.csv": "no annotations of a known format"}


@pytest.mark.parametrize("compressed", [False, True])
def test_records_with_numbers_and_a_label_map(compressed, tf, tmp_path):
    def features(**values) -> bytes:
        kinds = {bytes: "bytes_list", float: "float_list", int: "int64_list"}
        example = tf.train.Example()
        for key, its in values.items():
            getattr(example.features.feature[key.replace("__", "/")], kinds[type(its[0])]).value.extend(its)
        return example.SerializeToString()

    sides_of = {f"image__object__bbox__{side}": [0.25, 0.25, 0.25] for side in ("xmin", "ymin")}
    sides_of |= {f"image__object__bbox__{side}": [0.75, 0.75, 0.75] for side in ("xmax", "ymax")}
    record = features(
        image__encoded=[picture()], image__object__class__label=[1, 2, 4], image__filename=[b"a.jpg"], **sides_of
    )
    path = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(record)
    content = path.read_bytes()
    labels = (
        'item { name: "/m/01g317" id: 1 display_name: "person" }\n'
        'item { name: "Bl\\303\\244tter" id: 2 }\n'
        'item { # id: 9\n id: 4\n name: "it\\\'s {so}" }\n'
    )
    reading = read(
        tmp_path, {"leaves_train.tfrecord": gzip.compress(content) if compressed else content, "map.pbtxt": labels}
    )
    assert names(reading) == {"a.jpg": ["person", "Blätter", "it's {so}"]}
    assert reading.unread == {}
    assert sides(reading) == {"a.jpg": "train"}


def test_records_whose_beginning_is_damaged_stop_and_are_named(tmp_path):
    made = random_sources.Truth({("train", "a.jpg"): [("leaf", (5, 6, 45, 46))], ("val", "b.jpg"): []})
    files = random_sources.tfrecords(made, random.Random(0))
    files["leaves_val.tfrecord"] = b"x" + files["leaves_val.tfrecord"]
    with pytest.raises(UserError, match=r"leaves_val\.tfrecord is not a TFRecord: its first record is damaged"):
        read(tmp_path, files)
