"""Sources as people have them: each picture gets its own boxes and split, or one message says what is wrong."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from annotated_files import (
    CATEGORIES,
    LINE,
    ON_PAGE,
    box,
    boxes,
    coco,
    image,
    names,
    picture,
    read,
    reasons,
    sides,
    voc,
)

from plantdoc.core.errors import UserError

# Which picture an annotation is about.


def test_tasks_side_by_side_with_frames_of_equal_names(tmp_path):
    reading = read(
        tmp_path,
        {
            "task1/images/frame_000000.jpg": b"",
            "task1/annotations/instances_default.json": coco([image(1, "frame_000000.jpg")], [box(1, 1)]),
            "task2/images/frame_000000.jpg": b"",
            "task2/annotations/instances_default.json": coco([image(1, "frame_000000.jpg")], [box(1, 2)]),
        },
    )
    assert names(reading) == {
        "task1/images/frame_000000.jpg": ["leaf"],
        "task2/images/frame_000000.jpg": ["rust"],
    }


def test_a_picture_that_only_another_task_has_is_missing(tmp_path):
    reading = read(
        tmp_path,
        {
            "task1/images/a.jpg": b"",
            "task1/x.json": coco([image(1, "a.jpg"), image(2, "b.jpg")], [box(1, 1), box(2, 1)]),
            "task2/images/b.jpg": b"",
            "task2/images/c.jpg": b"",
            "task2/x.json": coco([image(1, "c.jpg")], [box(1, 2)]),
        },
    )
    assert names(reading) == {"task1/images/a.jpg": ["leaf"], "task2/images/c.jpg": ["rust"]}
    assert reasons(reading) == {
        "b.jpg": "task1/x.json names it, but it is missing",
        "task2/images/b.jpg": "no annotation file names it",
    }


def test_several_entries_of_one_picture_are_put_together(tmp_path):
    file = "frame000066.png"
    entries = coco([image(1, file), image(51, file)], [box(1), box(51, 2, (50, 5, 30, 30))])
    reading = read(tmp_path, {f"images/{file}": b"", "r.json": entries})
    assert names(reading) == {f"images/{file}": ["leaf", "rust"]}
    assert reading.data.pictures[0].repairs == ("boxes of 2 entries in one file put together",)


def test_files_that_disagree_on_a_picture_lose_it_and_are_named(tmp_path):
    one, other = coco([image(1, "a.jpg")], [box(1)]), coco([image(1, "a.jpg")], [box(1, 2)])
    good = coco([image(1, "b.jpg")], [box(1)])
    reading = read(
        tmp_path, {"a.jpg": b"", "b.jpg": b"", "1.json": one, "2.json": other, "3.json": good, "4.json": good}
    )
    assert names(reading) == {"b.jpg": ["leaf"]}
    assert reasons(reading) == {"a.jpg": "1.json and 2.json both name it and disagree: keep one of them"}


@pytest.mark.parametrize("entries", [("a/x.jpg", "b/x.jpg"), ("b/x.jpg",)])
def test_the_longest_tail_of_the_path_decides(entries, tmp_path):
    images = [image(i, name) for i, name in enumerate(entries)]
    annotations = [box(i, 1 if name[0] == "a" else 2) for i, name in enumerate(entries)]
    files = {"images/a/x.jpg": b"", "images/b/x.jpg": b"", "annotations/i.json": coco(images, annotations)}
    reading = read(tmp_path, files)
    assert names(reading) == {f"images/{name}": ["leaf" if name[0] == "a" else "rust"] for name in entries}


def test_an_entry_takes_no_picture_of_another_one(tmp_path):
    images = [image(1, "a/x.jpg"), image(2, "b/x.jpg")]
    reading = read(tmp_path, {"images/a/x.jpg": b"", "i.json": coco(images, [box(1, 1), box(2, 2)])})
    assert names(reading) == {"images/a/x.jpg": ["leaf"]}
    assert "images/a/x.jpg, is that of a/x.jpg" in reasons(reading)["b/x.jpg"]


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("images/x.jpg", "images\\x.jpg"),
        ("images/x.jpg", "images\\1/x.jpg"),
        ("images/x.jpg", "..\\..\\media\\upload\\4\\x.jpg"),
        ("images/x.jpg", "C:\\Users\\me\\x.jpg"),
        ("images/x.jpg", "/home/me/set/x.jpg"),
        ("images/x y.jpg", "images/x%20y.jpg"),
        ("images/x y.jpg", "/data/local-files/?d=plants/x%20y.jpg"),
        ("images/x%20y.jpg", "x y.jpg"),
        ("train/a.jpg", "https://x.example/a.jpg?sig=1"),
        ("train/a.jpg", "s3://bucket/plants/a.jpg"),
        ("train/b.jpg?w=640", "b.jpg?w=640"),
        ("train/b.jpg", "b.jpg?w=640"),
        ("a.jpg", "1f3c5d7e-a.jpg"),
        ("Bl\u00e4tter.jpg", "Bla\u0308tter.jpg"),
        ("IMG_1.JPG", "img_1.jpg"),
        ("a.png", "a.jpg"),
        ("000005.jpg", "000005"),
        ("叶子.jpg".encode("gbk").decode("cp437"), "叶子.jpg"),
        ("лист.jpg".encode("cp866").decode("cp437"), "лист.jpg"),
        ("Blätter.jpg".encode("cp1252").decode("cp437"), "Blätter.jpg"),
    ],
)
def test_names_as_they_are_written(file, written, tmp_path):
    other = coco([image(1, written), image(2, "other.jpg")], [box(1), box(2)])
    reading = read(tmp_path, {file: b"", "r.json": other, f"{Path(file).parent}/other.jpg": b""})
    assert names(reading)[file] == ["leaf"] and not reading.data.lost


def test_what_may_mean_two_pictures_is_lost_with_both_named(tmp_path):
    files = {
        "1/x.jpg": b"",
        "2/x.jpg": b"",
        "3/y.jpg": b"",
        "r.json": coco([image(1, "x.jpg"), image(2, "y.jpg")], [box(1), box(2)]),
    }
    reading = read(tmp_path, files)
    assert names(reading) == {"3/y.jpg": ["leaf"]}
    assert set(reasons(reading)) == {"x.jpg", "1/x.jpg", "2/x.jpg"}
    assert "r.json may mean 1/x.jpg or 2/x.jpg" in reasons(reading)["x.jpg"]


@pytest.mark.parametrize(("file", "filename"), [("images/000005.jpg", "000005"), ("images/000005.png", "a.jpg")])
def test_voc_in_two_folders_is_matched_by_stem(file, filename, tmp_path):
    assert names(read(tmp_path, {file: b"", "annotations/000005.xml": voc(filename)})) == {file: ["leaf"]}
    assert not (tmp_path / "scratch/x").exists()


def test_voc_whose_own_name_says_nothing_is_matched_by_the_name_in_it(tmp_path):
    assert names(read(tmp_path, {"images/a.png": b"", "annotations/1.xml": voc("a.jpg")})) == {"images/a.png": ["leaf"]}


def test_the_annotation_files_own_name_goes_before_a_name_in_another_file(tmp_path):
    reading = read(tmp_path, {"b.jpg": b"", "b.xml": voc("x", "rust"), "a.xml": voc("b.jpg")})
    assert names(reading) == {"b.jpg": ["rust"]}
    assert "the only picture of a like name, b.jpg, is that of" in reasons(reading)["b.jpg"]


def test_a_name_with_a_suffix_more_is_another_name(tmp_path):
    files = {"02.jpg": b"", "02.xml": voc("x"), "02.JPG.jpg": b"", "02.JPG.xml": voc("x", "rust")}
    assert names(read(tmp_path, files)) == {"02.jpg": ["leaf"], "02.JPG.jpg": ["rust"]}


@pytest.mark.parametrize("name", ["b.jpg?w=640", "b", "b.jpg", "C:"])
def test_pictures_without_a_suffix_of_pictures(name, tmp_path):
    assert names(read(tmp_path, {name: b"", f"{name}.xml": voc(name)})) == {name: ["leaf"]}


# Splits.


def test_lists_of_files_declare_splits(tmp_path):
    reading = read(
        tmp_path,
        {
            **{f"images/{n}.jpg": b"" for n in "abc"},
            **{f"labels/{n}.txt": LINE for n in "abc"},
            "train.txt": "./images/a.jpg\n",
            "val.txt": "/somewhere/else/images/b.jpg\n",
            "test.txt": "images/c.jpg\n",
            "data.yaml": "path: .\ntrain: train.txt\nval: val.txt\ntest: test.txt\nnames: [leaf]\n",
        },
    )
    assert sides(reading) == {"images/a.jpg": "train", "images/b.jpg": "val", "images/c.jpg": "test"}
    assert {p.split_from for p in reading.data.pictures} == {"train.txt", "val.txt", "test.txt"}


def test_a_list_that_is_declared_and_missing_stops(tmp_path):
    files = {"images/a.jpg": b"", "labels/a.txt": LINE, "data.yaml": "train: images\ntest: test.txt\nnames: [leaf]\n"}
    with pytest.raises(UserError, match=r"data\.yaml declares test: test\.txt, which is missing"):
        read(tmp_path, files)


def test_folders_and_patterns_declare_splits(tmp_path):
    files = {f"photos/{n}.jpg": b"" for n in ("a_1", "a_2", "b_1")} | {
        f"photos/{n}.txt": LINE for n in ("a_1", "a_2", "b_1")
    }
    declared = "train: ../photos/a_*.jpg\nval: ../photos/b_?.jpg\ntest: ../elsewhere\nnames: [leaf]\n"
    reading = read(tmp_path, {**files, "data.yaml": declared})
    assert sides(reading) == {"photos/a_1.jpg": "train", "photos/a_2.jpg": "train", "photos/b_1.jpg": "val"}
    assert reading.notes == ("data.yaml declares test: ../elsewhere, where no picture is.",)


def test_a_folder_that_is_declared_for_two_splits_is_noted(tmp_path):
    files = {f"images/{name}.{suffix}": content for name in "ab" for suffix, content in (("jpg", b""), ("txt", LINE))}
    reading = read(tmp_path, files | {"data.yaml": "train: images\nval: images\ntest: ages\nnames: [leaf]"})
    assert set(sides(reading).values()) == {"train"}
    assert reading.notes == (
        "data.yaml declares val: images, which is train already: val is not taken from there.",
        "data.yaml declares test: ages, where no picture is.",
    )


@pytest.mark.parametrize("root", ["/content/set", "C:\\sets\\leaves", "../../datasets/leaves"])
def test_folders_as_they_lay_on_another_machine(root, tmp_path):
    own = {"learn": "train", "judge": "test"}
    files = {f"{n}/a.jpg": b"" for n in own} | {f"{n}/a.txt": LINE for n in own}
    declared = "".join(f"{side}: '{root}/{n}'\n" for n, side in own.items())
    reading = read(tmp_path, {**files, "data.yaml": f"{declared}names: [leaf]\n"})
    assert sides(reading) == {"learn/a.jpg": "train", "judge/a.jpg": "test"} and not reading.notes


def test_lists_and_what_names_them_are_not_said_to_be_unread(tmp_path):
    files = {"obj_train_data/a.jpg": b"", "obj_train_data/a.txt": LINE, "obj.names": "leaf\n", "notes.txt": "mine"}
    files |= {"obj.data": "train = data/train.txt\n", "train.txt": "data/obj_train_data/a.jpg\n"}
    assert list(read(tmp_path, files).unread) == ["notes.txt"]


def test_vocs_own_lists_declare_splits(tmp_path):
    reading = read(
        tmp_path,
        {
            **{f"VOC2007/JPEGImages/{n}.jpg": b"" for n in "abcd"},
            **{f"VOC2007/Annotations/{n}.xml": voc(n) for n in "abcd"},
            "VOC2007/ImageSets/Main/train.txt": "a\n",
            "VOC2007/ImageSets/Main/val.txt": "b\n",
            "VOC2007/ImageSets/Main/trainval.txt": "a\nb\n",
            "VOC2007/ImageSets/Main/test.txt": "c\n",
            "VOC2007/ImageSets/Segmentation/val.txt": "a\n",
        },
    )
    assert sides(reading) == {
        f"VOC2007/JPEGImages/{n}.jpg": side for n, side in (("a", "train"), ("b", "val"), ("c", "test"))
    }
    assert "on none of the lists" in reasons(reading)["VOC2007/JPEGImages/d.jpg"]


@pytest.mark.parametrize("root", ["test", "train", "Test 2", "val-1"])
@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_the_innermost_folder_decides(root, kind, tmp_path):
    files: dict = {}
    for split in ("train", "valid", "test"):
        files[f"{root}/{split}/a.jpg"] = b""
        if kind == "coco":
            files[f"{root}/{split}/_annotations.coco.json"] = coco([image(1, "a.jpg")], [box(1)])
        else:
            files[f"{root}/{split}/a.xml"] = voc("a.jpg")
    assert sides(read(tmp_path, files)) == {
        f"{root}/{split}/a.jpg": side for split, side in (("train", "train"), ("valid", "val"), ("test", "test"))
    }


def test_a_picture_of_two_splits_is_lost(tmp_path):
    files = {"images/a.jpg": b"", "images/b.jpg": b"", "a.xml": voc("a"), "b.xml": voc("b")}
    reading = read(tmp_path, {**files, "train.txt": "a.jpg\nb.jpg\n", "test.txt": "a.jpg\n"})
    assert sides(reading) == {"images/b.jpg": "train"}
    assert reasons(reading)["images/a.jpg"] == "declared to be in test by test.txt and in train by train.txt"


# YOLO.


@pytest.mark.parametrize(
    ("file", "label"),
    [
        ("Images/a.jpg", "Labels/a.txt"),
        ("JPEGImages/a.jpg", "labels/a.txt"),
        ("imgs/a.jpg", "lbls/a.txt"),
        ("train_images/a.jpg", "train_labels/a.txt"),
        ("images/a.jpg", "labels/a.TXT"),
        ("images/a.jpg", "images/a.txt"),
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("a.jpg", "a.jpg.txt"),
    ],
)
def test_labels_are_found_wherever_they_lie(file, label, tmp_path):
    good = {"good/images/a.jpg": b"", "good/labels/a.txt": "1 0.5 0.5 0.4 0.4\n"}
    reading = read(tmp_path, {**good, file: b"", label: LINE, "data.yaml": "names: [leaf, rust]\n"})
    assert names(reading) == {"good/images/a.jpg": ["rust"], file: ["leaf"]}


def test_labels_that_no_picture_belongs_to_beside_pictures_without_a_label(tmp_path):
    files = {"images/a.jpg": b"", "images/b.jpg": b"", "labels/a.txt": LINE, "labels/B_1.txt": LINE}
    with pytest.raises(UserError, match=r"labels/B_1\.txt.*images/b\.jpg"):
        read(tmp_path, {**files, "data.yaml": "names: [leaf]\n"})


def test_a_picture_without_a_label_has_no_boxes_and_odd_text_files_are_no_labels(tmp_path):
    files = {"images/a.jpg": b"", "images/b.jpg": b"", "images/c.jpg": b"", "labels/a.txt": LINE, "labels/c.txt": ""}
    odd = {
        "labels/classes.txt": "leaf\n",
        "README.dataset.txt": "1 2 3 a set of leaves\n",
        "requirements.txt": "numpy\n",
    }
    reading = read(tmp_path, {**files, **odd, "data.yaml": "names: [leaf]\n"})
    assert names(reading) == {"images/a.jpg": ["leaf"], "images/b.jpg": [], "images/c.jpg": []}
    assert not reading.data.lost


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("0 0.5 0.5 0.4 0.4 0.93", [("leaf", ON_PAGE)]),
        ("0.0 5e-1 0.5 0.4 0.4", [("leaf", ON_PAGE)]),
        ("0 0.3 0.3 0.7 0.3 0.7 0.7 0.3 0.7", [("leaf", ON_PAGE)]),
        ("7 0.5 0.5 0.4 0.4", [("", ON_PAGE)]),
        ("inf 0.5 0.5 0.4 0.4", [("", ON_PAGE)]),
        ("9" * 400 + " 0.5 0.5 0.4 0.4", [("", ON_PAGE)]),
        ("-1 0.5 0.5 0.4 0.4", [("", ON_PAGE)]),
    ],
)
def test_lines_of_labels(line, found, tmp_path):
    reading = read(tmp_path, {"a.jpg": b"", "a.txt": line + "\n", "data.yaml": "names: [leaf]\n"})
    assert boxes(reading)["a.jpg"] == [(name, tuple(round(v, 1) for v in corners)) for name, corners in found]


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.4", "0 0.5 0.5 0.4 0.4 7", "0 a b c d", "0"])
def test_lines_that_are_no_box_say_why(line, tmp_path):
    reading = read(tmp_path, {"a.jpg": b"", "a.txt": f"{LINE}{line}\n", "data.yaml": "names: [leaf]\n"})
    bad = reading.data.pictures[0].boxes[1]
    assert bad.fault.startswith("line of") or all(map(math.isnan, bad.corners))


@pytest.mark.parametrize(
    "files",
    [
        {"labels/classes.txt": "leaf\nrust\n"},
        {
            "classes.txt": "leaf\nrust\n",
            "notes.json": json.dumps({"categories": [{"id": 0, "name": "leaf"}]}),
            "data.yaml": "names: [leaf, rust]\n",
        },
        {"notes.json": json.dumps({"categories": [{"id": 0, "name": "leaf"}, {"id": 1, "name": "rust"}], "info": {}})},
        {"data.yaml": "names:\n  0: leaf\n  1: rust\n"},
        {"data.yaml": "names: {leaf: 0, rust: 1}\n"},
        {"data.yaml": "\ufeffnames: ['leaf', 'rust']\n"},
    ],
)
def test_class_names_from_where_tools_leave_them(files, tmp_path):
    reading = read(tmp_path, {"images/a.jpg": b"", "labels/a.txt": "1 0.5 0.5 0.4 0.4", **files})
    assert names(reading) == {"images/a.jpg": ["rust"]}


def test_cvats_yolo(tmp_path):
    reading = read(
        tmp_path,
        {
            "obj.names": "leaf\nrust\n",
            "obj.data": "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n",
            "train.txt": "data/obj_train_data/a.jpg\n",
            "valid.txt": "data/obj_valid_data/b.jpg\n",
            "obj_train_data/a.jpg": b"",
            "obj_train_data/a.txt": LINE,
            "obj_valid_data/b.jpg": b"",
            "obj_valid_data/b.txt": "1 0.5 0.5 0.4 0.4",
        },
    )
    assert names(reading) == {"obj_train_data/a.jpg": ["leaf"], "obj_valid_data/b.jpg": ["rust"]}
    assert sides(reading) == {"obj_train_data/a.jpg": "train", "obj_valid_data/b.jpg": "val"}


def test_labels_without_class_names_ask_for_them(tmp_path):
    with pytest.raises(UserError, match=r"labels/a\.txt seems to be a YOLO label.*classes\.txt"):
        read(tmp_path, {"images/a.jpg": b"", "labels/a.txt": LINE})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('train: "C:\\data\\train\\images"\nnames: [leaf]\n', r"data\.yaml is not valid YAML: line 1, column 1"),
        ("names:\n\t- leaf\n", r"data\.yaml is not valid YAML: line 2, column 1"),
        ("names: [leaf]\nnames: [rust]\n", r"data\.yaml is not valid YAML: line 2, column 1"),
        ("names: {'" + "9" * 400 + "': leaf}\nnc: 1\n", r"data\.yaml: `names` must be a list of class names"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nnames: {0: *b}\nnc: 1\n", r"data\.yaml: `names` must be a list of class names"),
        ("names: leaf\nnc: 1\n", r"data\.yaml: `names` must be a list of class names"),
        ("names: {project: x}\ntrain: images\n", r"data\.yaml: `names` must be a list of class names"),
    ],
)
def test_a_data_yaml_that_does_not_parse_is_named(content, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read(tmp_path, {"images/a.jpg": b"", "labels/a.txt": LINE, "data.yaml": content})


def test_class_names_in_another_encoding(tmp_path):
    yaml = "names: [Blätter, Äpfel, Größe, Süßkirsche mit Fäule]\n".encode("cp1252")
    reading = read(tmp_path, {"a.jpg": b"", "a.txt": LINE, "data.yaml": yaml})
    assert names(reading) == {"a.jpg": ["Blätter"]}
    assert any("data.yaml names no encoding" in note for note in reading.notes)


# Several kinds of files in one source.


def test_the_format_that_covers_most_pictures_is_read(tmp_path):
    reading = read(
        tmp_path,
        {
            "images/train2017/a.jpg": b"",
            "images/val2017/b.jpg": b"",
            "labels/train2017/a.txt": LINE,
            "labels/val2017/b.txt": LINE,
            "data.yaml": "train: images/train2017\nval: images/val2017\nnames: [leaf]\n",
            "annotations/instances_val2017.json": coco([image(1, "b.jpg")], [box(1)]),
            "runs/detect/x.json": coco([image(1, "b.jpg")], [box(1)]),
            "runs/detect/plot.png": b"",
        },
    )
    assert reading.format == "YOLO"
    assert sides(reading) == {"images/train2017/a.jpg": "train", "images/val2017/b.jpg": "val"}
    assert reading.unread["annotations/instances_val2017.json"] == "COCO JSON, which covers fewer pictures than YOLO"
    assert reasons(reading) == {"runs/detect/plot.png": "without a label, and in no folder that data.yaml declares"}


@pytest.mark.parametrize("labelled", [{"a.txt": LINE}, {"a.txt": LINE, "b.txt": ""}])
def test_a_picture_with_a_box_in_another_format_is_no_negative(labelled, tmp_path):
    files = {"a.jpg": b"", "b.jpg": b"", "data.yaml": "names: [leaf]\n", **labelled}
    with pytest.raises(UserError, match=r"without a box in YOLO and with one in Pascal VOC \(1, like b\.jpg\)"):
        read(tmp_path, {**files, "b.xml": voc("b")})


def test_other_tasks_of_coco_are_passed_over(tmp_path):
    panoptic = [{"image_id": 1, "file_name": "x.png", "segments_info": []}]
    reading = read(
        tmp_path,
        {
            "train2017/x.jpg": b"",
            "annotations/instances_train2017.json": coco([image(1, "x.jpg")], [box(1)]),
            "annotations/panoptic_train2017.json": coco([image(1, "x.jpg")], panoptic),
            "annotations/captions_train2017.json": coco(
                [image(1, "x.jpg")], [{"id": 1, "image_id": 1, "caption": "x"}], []
            ),
            "annotations/person_keypoints_train2017.json": coco([image(1, "x.jpg")], [box(1, keypoints=[1, 2, 3])]),
        },
    )
    assert names(reading) == {"train2017/x.jpg": ["leaf"]}
    assert sorted(reading.unread) == [
        f"annotations/{n}_train2017.json" for n in ("captions", "panoptic", "person_keypoints")
    ]


@pytest.mark.parametrize("broken", [lambda text: text[:-40], lambda text: text.replace("]", ",]", 1)])
def test_a_damaged_json_stops_and_says_where(broken, tmp_path):
    good = coco([image(1, "a.jpg")], [box(1)])
    files = {"train/a.jpg": b"", "train/_annotations.coco.json": good, "valid/b.jpg": b""}
    with pytest.raises(UserError, match=r"valid/_annotations\.coco\.json is not valid JSON: line 1, column \d+"):
        read(tmp_path, {**files, "valid/_annotations.coco.json": broken(good.replace("a.jpg", "b.jpg"))})


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-16-le"])
def test_encodings_of_json(encoding, tmp_path):
    content = coco([image(1, "ä.jpg")], [box(1)], [{"id": 1, "name": "Blätter"}]).encode(encoding)
    assert names(read(tmp_path, {"ä.jpg": b"", "r.json": content})) == {"ä.jpg": ["Blätter"]}


@pytest.mark.parametrize("stray", ["names: {project: x}\n", "names: [a, b]\n", "a: [\n"])
def test_a_stray_yaml_changes_nothing(stray, tmp_path):
    assert names(read(tmp_path, {"a.jpg": b"", "a.xml": voc("a.jpg"), "config.yaml": stray})) == {"a.jpg": ["leaf"]}


def test_files_of_other_tools_are_named(tmp_path):
    via = json.dumps({"_via_img_metadata": {}, "_via_settings": {}})
    with pytest.raises(UserError, match=r"via\.json is a project of VIA: export it as COCO"):
        read(tmp_path, {"a.jpg": b"", "via.json": via})


# COCO.


def test_tasks_of_label_studio_that_hold_pictures_as_data_are_not_taken_for_another_tools(tmp_path):
    tasks = [{"data": {"image": "data:image/jpeg;base64,AAAA"}, "annotations": [{"result": []}]}]
    with pytest.raises(UserError, match=r"r\.json is tasks of Label Studio that name no picture file: import"):
        read(tmp_path, {"x.jpg": b"", "r.json": json.dumps(tasks)})


def test_ids_are_compared_as_text(tmp_path):
    reading = read(tmp_path, {"x.jpg": b"", "r.json": coco([image(1, "x.jpg")], [box("1", "2"), box(1.0, 1)])})
    assert names(reading) == {"x.jpg": ["rust", "leaf"]}


def test_odd_annotations_cost_themselves(tmp_path):
    categories = [*CATEGORIES, {"id": 2, "name": "mildew"}]
    annotations = [box(1), box(1, None), box(1, 9), box(1, 2), box(99), box(1, bbox=None), 7, box(1, bbox="x")]
    reading = read(tmp_path, {"x.jpg": b"", "r.json": coco([image(1, "x.jpg"), {"id": 5}, 3], annotations, categories)})
    assert [name for name, _ in boxes(reading)["x.jpg"]] == ["leaf", "", "", "", "leaf", "leaf"]
    assert reasons(reading) == {
        "r.json: image 1": "the entry has no id or no file_name",
        "r.json: image 2": "the entry has no id or no file_name",
        "r.json: image id 99": "boxes of an image that the file does not list",
        "r.json: image id ": "boxes of an image that the file does not list",
    }
    assert reading.data.boxes == len(annotations)


def test_pictures_that_share_an_id_are_lost_since_no_box_says_which(tmp_path):
    images = [image(1, "a.jpg"), image(1, "b.jpg"), image(2, "c.jpg")]
    reading = read(tmp_path, {**{f"{n}.jpg": b"" for n in "abc"}, "r.json": coco(images, [box(1), box(2)])})
    assert names(reading) == {"c.jpg": ["leaf"]}
    assert reasons(reading) == dict.fromkeys(("a.jpg", "b.jpg"), "r.json: a.jpg and b.jpg have one id, 1")
    assert reading.data.boxes == 2


def test_regions_of_many_leaves_are_marked(tmp_path):
    crowd = box(1, xywh=(0, 0, 96, 64), iscrowd=1, segmentation={"counts": [0, 6144], "size": [64, 96]})
    reading = read(tmp_path, {"x.jpg": b"", "r.json": coco([image(1, "x.jpg")], [box(1), crowd])})
    assert [b.crowd for b in reading.data.pictures[0].boxes] == [False, True]


def test_polygons_without_a_bbox(tmp_path):
    polygon = {"image_id": 1, "category_id": 1, "segmentation": [[5, 6, 45, 6, 45, 46]]}
    assert boxes(read(tmp_path, {"x.jpg": b"", "r.json": coco([image(1, "x.jpg")], [polygon])})) == {
        "x.jpg": [("leaf", (5, 6, 45, 46))]
    }


# Pascal VOC.


@pytest.mark.parametrize(
    ("shape", "corners"),
    [
        ("<robndbox><cx>40</cx><cy>30</cy><w>20</w><h>10</h><angle>0.5</angle></robndbox>", (28.8, 20.8, 51.2, 39.2)),
        ("<polygon><x1>5</x1><y1>6</y1><x2>45</x2><y2>6</y2><x3>45</x3><y3>46</y3></polygon>", (5, 6, 45, 46)),
        ("<polygon><pt><x>5</x><y>6</y></pt><pt><x>45</x><y>46</y></pt></polygon>", (5, 6, 45, 46)),
        ("<bndbox><xmin>45</xmin><ymin>46</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>", (5, 6, 45, 46)),
    ],
)
def test_shapes_of_voc(shape, corners, tmp_path):
    reading = read(tmp_path, {"a.jpg": b"", "a.xml": voc("a.jpg", shape=shape)})
    assert boxes(reading) == {"a.jpg": [("leaf", corners)]}
    assert reading.data.pictures[0].repairs == (("corners of a box put in order",) if "<xmin>45" in shape else ())


@pytest.mark.parametrize(
    "declared", ["", '<?xml version="1.0" encoding="GBK"?>', '<?xml version="1.0" encoding="utf-8"?>']
)
def test_voc_in_encodings_that_the_parser_does_not_know(declared, tmp_path):
    text = declared + voc("a.jpg", "叶子病害和健康的叶子以及其他许多东西")
    reading = read(tmp_path, {"a.jpg": b"", "a.xml": text.encode("gbk")})
    assert names(reading) == {"a.jpg": ["叶子病害和健康的叶子以及其他许多东西"]}


# Files that cannot be read.


def test_links_pipes_and_folders_that_lead_nowhere_are_listed(tmp_path):
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "notes.txt").symlink_to(".git/annex/objects/x")
    (source / "b.jpg").symlink_to("nowhere.jpg")
    (source / "again").symlink_to(source)
    os.mkfifo(source / "pipe.json")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/c.jpg").write_bytes(picture("c"))
    (source / "linked").symlink_to(tmp_path / "elsewhere")
    reading = read(tmp_path, {"a.jpg": b"", "a.xml": voc("a"), "b.xml": voc("b"), "linked/c.xml": voc("c")})
    assert names(reading) == {"a.jpg": ["leaf"], "linked/c.jpg": ["leaf"]}
    assert reasons(reading) == {"b.xml": "the picture of this annotation file is missing"}
    assert reading.unread == {
        "notes.txt": "cannot be read: No such file or directory",
        "b.jpg": "cannot be read: No such file or directory",
        "pipe.json": "cannot be read: not a regular file",
    }
