"""What a source holds against what arrived: nothing goes without being counted."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import small_repo
import source_folders
from import_graph import ROOT

import fetch as stage
from plantdoc.coco.dataset import Box, Picture, Split
from plantdoc.core import params
from plantdoc.core.errors import UserError
from plantdoc.fetch import audit_notes, audit_report, fetch_params, preparation, publication, reconciliation
from plantdoc.fetch.reconciliation import Counts

pytestmark = pytest.mark.usefixtures("in_this_process")
ONE_LEAF = [((5, 5, 60, 60), "leaf")]


def run(tmp_path: Path, source: Path, **changes: object) -> tuple[Counts, list[str], float, dict]:
    """Counts, lines for the screen, share of boxes lost, and the report."""
    settings = params.load(fetch_params.Params, ROOT / "params.yaml").fetch
    fetch = settings.model_copy(update={"source": str(source), **changes})
    work = tmp_path / f"work {len(list(tmp_path.iterdir()))}"
    for folder in ("stored", "raw"):
        (work / folder).mkdir(parents=True)
    collected = preparation.collect(fetch, 1, work)
    checked = preparation.check(collected, fetch, work / "stored")
    divided = preparation.divide(checked, fetch)
    counts = reconciliation.count(collected, checked, divided)
    splits = publication.write_pictures(collected, checked, divided, work / "raw")
    lines = reconciliation.lines(collected, checked, counts, splits, fetch.max_dropped_fraction)
    report = audit_report.to_json(audit_report.Findings(collected, checked, divided, counts, splits))
    return counts, lines, checked.lost_boxes, report


@pytest.fixture
def source(tmp_path) -> Path:
    """A folder of which everything that can happen happens to a picture or box."""
    source = source_folders.voc(tmp_path / "source", 40, 8)  # 60 and 12 boxes
    image, encoded, write = source_folders.image, source_folders.encoded, source_folders.write_voc
    write(source, "TRAIN/damaged.jpg", encoded(image("d"))[:-300], ONE_LEAF * 2)
    write(source, "TRAIN/gone.jpg", None, ONE_LEAF * 3)
    write(source, "TRAIN/bare.jpg", encoded(image("b")), None)
    write(source, "TRAIN/sliver.jpg", encoded(image("s")), [*ONE_LEAF, ((5, 5, 6, 60), "leaf")])
    write(source, "TRAIN/slivers.jpg", encoded(image("ss")), [((5, 5, 6, 60), "leaf")] * 4)
    write(source, "TRAIN/copy.png", encoded(image("TEST 1"), "PNG"), ONE_LEAF)
    write(source, "TRAIN/negative.jpg", encoded(image("n")), [])
    return source


def test_every_picture_and_box_is_kept_lost_or_left_out(source, tmp_path):
    counts, lines, _, report = run(tmp_path, source)
    assert counts == Counts(
        in_source=(48 + 7, 72 + 2 + 3 + 2 + 4 + 1),
        kept=(48 + 2, 72 + 1),
        lost=(4, 2 + 3 + 1 + 4),
        left_out=(1, 1),
        not_chosen=(0, 0),
    )
    assert [report["source"][key] for key in ("pictures", "boxes", "boxes_lost")] == [55, 84, 10]
    assert len(report["dropped"]) == 4 and len(report["dropped_boxes"]) == 1
    assert lines == [
        "Pascal VOC: 54 annotation files; not read: 0 other files",
        "in the source: 55 pictures, 84 boxes",
        "cannot be used: 4 pictures (7.3%), 10 boxes (11.9%); up to 5.0% of each may be lost",
        "left out, as copies or without a box: 1 picture, 1 box",
        "splits: test 8 (folder TEST), train 45 (folder TRAIN)",
        f"kept: {report['pictures_train']} train, {report['pictures_val']} val, 8 test; 73 boxes of 3 classes",
    ]


def test_pictures_without_a_box_that_are_not_kept_are_left_out(source, tmp_path):
    counts, *_ = run(tmp_path, source, keep_negatives=False)
    assert (counts.kept, counts.left_out) == ((49, 73), (2, 1))


def test_a_part_is_counted_against_the_whole(source, tmp_path):
    counts, lines, *_ = run(tmp_path, source, limit=10)
    assert counts.in_source == (55, 84)
    assert counts.kept[0] + counts.lost[0] + counts.left_out[0] + counts.not_chosen[0] == 55
    assert counts.not_chosen[0] == 55 - 2 - 10 - 8  # less the two that have no file or no annotation file
    assert f"; by fetch.limit: {counts.not_chosen[0]} pictures, " in lines[3]


def test_regions_of_many_leaves_count_as_boxes_and_are_told(tmp_path):
    source_folders.write_coco(tmp_path / "source", {f"{i}.jpg": ONE_LEAF for i in range(30)})
    path = tmp_path / "source/annotations.json"
    data = json.loads(path.read_text())
    for i in range(3):
        data["annotations"].append({**data["annotations"][i], "id": 100 + i, "bbox": [0, 0, 96, 64], "iscrowd": 1})
    path.write_text(json.dumps(data))
    counts, lines, _, report = run(tmp_path, tmp_path / "source")
    assert counts.in_source == counts.kept == (30, 33)
    assert report["source"]["crowd_regions"] == 3
    assert sum(report[f"boxes_{name}"] for name in ("train", "val", "test")) == 30
    assert lines[5].endswith("; 30 boxes of 1 class, 3 regions of many leaves")


def test_losses_of_boxes_alone_stop_the_stage(tmp_path, monkeypatch):
    source = source_folders.voc(tmp_path / "source", 24, 6)
    for i in range(3):
        boxes = [*ONE_LEAF, ((5, 5, 6, 60), "leaf"), ((200, 5, 260, 60), "leaf")]
        source_folders.write_voc(source, f"TRAIN/x{i}.jpg", source_folders.encoded(source_folders.image(i)), boxes)
    monkeypatch.chdir(tmp_path)
    counts, _, share, _ = run(tmp_path, source)
    assert counts.lost == (0, 6) and share == pytest.approx(6 / 54)
    settings = params.load(fetch_params.Params, ROOT / "params.yaml").fetch
    fetch = settings.model_copy(update={"source": str(source)})
    (tmp_path / "again/stored").mkdir(parents=True)
    collected = preparation.collect(fetch, 1, tmp_path / "again")
    checked = preparation.check(collected, fetch, tmp_path / "again/stored")
    with pytest.raises(UserError, match=r"^6 boxes \(11\.1%\) cannot be used, .* TRAIN/x\d\.jpg: (sliver|box outside)"):
        reconciliation.stop_if_too_much_is_lost(checked, 0.05)
    listed = (tmp_path / ".dvc/tmp/plantdoc/fetch-dropped.txt").read_text().splitlines()
    assert len(listed) == 6
    reconciliation.stop_if_too_much_is_lost(checked, 0.12)


def test_the_stage_says_the_six_lines(tmp_path, monkeypatch, caplog):
    source_folders.voc(tmp_path / "source", 24, 6)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    small_repo.set_params(tmp_path, fetch__source="source")
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO, logger="plantdoc"):
        stage.main()
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("fetch: ")]
    assert len(said) == 6
    assert said[1] == "fetch: in the source: 30 pictures, 45 boxes"


def test_pictures_with_more_boxes_than_are_learned_from_are_named():
    def split(*counts: int) -> Split:
        boxes = [tuple(Box((i, 0, 8, 8), 0) for i in range(count)) for count in counts]
        return Split(("leaf",), tuple(Picture(i, f"{i}.jpg", 999, 9, its) for i, its in enumerate(boxes)))

    notes = audit_notes.on_crowded_pictures({"train": split(100, 150, 101), "val": split(3), "test": split(101)})
    assert notes == [
        "train: 2 pictures have more than 100 boxes, like 1.jpg; training uses the first 100 of each.",
        "test: 1 picture has more than 100 boxes, like 0.jpg; no more than model.max_detections can be found on each.",
    ]
