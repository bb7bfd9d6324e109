"""The fetch stage in a folder with a params.yaml: once as a person runs it, otherwise in this process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import external_programs
import fake_s3
import pytest
import small_repo
import source_folders
from PIL import Image

import fetch as stage
from plantdoc.coco import dataset
from plantdoc.core import hashing
from plantdoc.core.errors import UserError

pytestmark = pytest.mark.usefixtures("in_this_process")
FETCH = "src/fetch.py"
OUTPUTS = ("data/raw", "results/fetch")


@pytest.fixture
def work(tmp_path) -> Path:
    """A working directory with a params.yaml whose source is ../source."""
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(small_repo.ROOT / "params.yaml", folder)
    (folder / "src").symlink_to(small_repo.ROOT / "src")
    small_repo.set_params(folder, fetch__source="../source")
    return folder


def fetch(work: Path) -> None:
    """Run the stage's work, which must succeed."""
    with contextlib.chdir(work):
        stage.main()


def refused(work: Path) -> str:
    """Run the stage's work, which must end with one message for the user; returns it."""
    with pytest.raises(UserError) as raised:
        fetch(work)
    assert not list(work.glob("data/.*"))
    return str(raised.value)


def report(work: Path) -> dict:
    return json.loads((work / "results/fetch/report.json").read_text())


def sides(work: Path) -> dict[str, str]:
    """The split of each picture, by the hash of its bytes."""
    files = (work / "data/raw").glob("*/*.jpg")
    return {hashing.of_file(path): path.parent.name for path in files}


@pytest.mark.slow
def test_what_a_folder_becomes(work, tmp_path):
    source = source_folders.voc(tmp_path / "source", 40, 8)
    # Grey, and with a name that says PNG: it is stored anew.
    grey = source_folders.encoded(source_folders.image("grey").convert("L"))
    source_folders.write_voc(source, "TRAIN/sub/100%20& grey.png", grey, [((5, 5, 60, 60), "Apple leaf")])
    small_repo.set_params(work, fetch__licence="CC0-1.0", fetch__attribution="me")
    assert "fetch: done in" in small_repo.run(work, sys.executable, FETCH).stdout
    raw = work / "data/raw"
    splits = {name: dataset.load(raw / name) for name in ("train", "val", "test")}
    assert [len(s.pictures) for s in splits.values()] == [report(work)[f"pictures_{s}"] for s in splits]
    assert sum(len(s.pictures) for s in splits.values()) == 49 and len(splits["test"].pictures) == 8
    for name, split in splits.items():
        assert split.classes == ("Apple leaf", "grape leaf")
        assert [p.id for p in split.pictures] == list(range(1, len(split.pictures) + 1))
        assert sorted(p.file_name for p in split.pictures) == [p.file_name for p in split.pictures]
        assert {p.name for p in (raw / name).iterdir()} == {p.file_name for p in split.pictures} | {"annotations.json"}
        for picture in split.pictures:
            with Image.open(raw / name / picture.file_name) as image:
                assert (image.size, image.mode) == ((picture.width, picture.height), "RGB")
        with Image.open(work / f"results/fetch/pictures/{name}.jpg") as sheet:
            assert sheet.width > 300
    original = source / "TEST/p003.jpg"
    assert (raw / "test/p003.jpg").read_bytes() == original.read_bytes()
    assert splits["test"].pictures[3].boxes[1].xywh == (50, 10, 40, 50)
    about = json.loads((raw / "source.json").read_text())
    assert len(about.pop("content")) == 64
    assert about == {
        "source": "../source",
        "name": "source",
        "licence": "CC0-1.0",
        "attribution": "me",
        "url": "",
        "note": "",
    }
    assert [line["what"] for line in report(work)["repaired"]] == ["grey to RGB", "name does not say JPEG"]
    text = (work / "results/fetch/report.md").read_text()
    assert "`TRAIN/sub/100%20& grey.png`" in text and "| Apple leaf |" in text and "CC0-1.0" in text
    assert not list(work.rglob("*.partial"))


@pytest.mark.slow
def test_the_same_bytes_from_the_same_pictures_on_one_core_and_on_all(work, tmp_path):
    pinned = (external_programs.program("taskset"), "-c", str(min(os.sched_getaffinity(0))))
    source_folders.voc(tmp_path / "source", 150, 10)
    fetch(work)
    first = {name: hashing.of_files([work / name], work) for name in OUTPUTS}
    # The files in another order on disk, and a run that was killed.
    (tmp_path / "source").rename(tmp_path / "old")
    for path in sorted((tmp_path / "old").rglob("*.*"), reverse=True):
        (tmp_path / "source" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "source" / path.parent.name)
    (work / "data/.fetch.partial/source").mkdir(parents=True)
    (work / "data/.raw.partial/train").mkdir(parents=True)
    small_repo.run(work, *pinned, sys.executable, FETCH)
    assert {name: hashing.of_files([work / name], work) for name in OUTPUTS} == first


def test_dirt_is_listed_and_not_fatal(work, tmp_path):
    source = source_folders.voc(tmp_path / "source", 60, 8)
    box = [((5, 5, 60, 60), "Apple leaf")]
    source_folders.write_voc(source, "TRAIN/broken.jpg", source_folders.encoded(source_folders.image("b"))[:-300], box)
    source_folders.write_voc(source, "TRAIN/gone.jpg", None, box)
    source_folders.write_voc(
        source, "TRAIN/sliver.jpg", source_folders.encoded(source_folders.image("s")), [*box, ((5, 5, 8, 60), "x")]
    )
    source_folders.write_voc(
        source, "TRAIN/alias.jpg", source_folders.encoded(source_folders.image("a")), [((1, 1, 50, 50), "GRAPE leaf")]
    )
    source_folders.write_voc(
        source, "TRAIN/leak.png", source_folders.encoded(source_folders.image("TEST 1"), "PNG"), box
    )
    source_folders.write_voc(source, "TRAIN/negative.jpg", source_folders.encoded(source_folders.image("n")), [])
    source_folders.write_voc(
        source, "TRAIN/single.jpg", source_folders.encoded(source_folders.image("one")), [((1, 1, 50, 50), "Single")]
    )
    source_folders.write_voc(
        source, "TRAIN/hopeless.jpg", source_folders.encoded(source_folders.image("h")), [((5, 5, 8, 60), "x")]
    )
    turned = Image.Exif()
    turned[0x0112] = 6
    on_stored = source_folders.encoded(source_folders.image("t"), exif=turned)
    source_folders.write_voc(source, "TEST/turned.jpg", on_stored, [((0, 0, 90, 30), "Apple leaf")])
    fetch(work)
    found = report(work)
    assert {line["name"]: line["what"].split(":")[0] for line in found["dropped"]} == {
        "TRAIN/broken.jpg": "damaged",
        "TRAIN/gone.xml": "the picture of this annotation file is missing",
        "TRAIN/hopeless.jpg": "none of its boxes can be used",
    }
    assert [line["name"] for line in found["dropped_boxes"]] == ["TRAIN/sliver.jpg"]
    (left,) = found["left_out"]
    assert left["name"] == "TRAIN/leak.png" and left["what"].startswith("stands in test as TEST/p001.jpg (near")
    assert found["label_conflicts"] == 1 and found["duplicate_pairs"] == 1
    assert found["renamed_classes"] == [{"from": "GRAPE leaf", "to": "grape leaf"}]
    assert any(note.startswith("Single: one picture in train; it cannot be learned") for note in found["notes"])
    test = dataset.load(work / "data/raw/test")
    (picture,) = (p for p in test.pictures if p.file_name == "turned.jpg")
    assert (picture.width, picture.height) == (64, 96) and picture.boxes[0].xywh == (34, 0, 30, 90)


def test_negatives_can_be_left_out(work, tmp_path):
    source = source_folders.voc(tmp_path / "source", 30, 4)
    source_folders.write_voc(source, "TRAIN/negative.jpg", source_folders.encoded(source_folders.image("n")), [])
    fetch(work)
    assert sum(report(work)[f"pictures_{name}"] for name in ("train", "val", "test")) == 35
    small_repo.set_params(work, fetch__keep_negatives=False)
    fetch(work)
    assert sum(report(work)[f"pictures_{name}"] for name in ("train", "val", "test")) == 34


def test_too_much_dirt_is_fatal_and_the_list_is_kept(work, tmp_path):
    source = source_folders.voc(tmp_path / "source", 30, 4)
    fetch(work)
    before = {name: hashing.of_files([work / name], work) for name in OUTPUTS}
    for i in range(6):
        (source / f"TRAIN/p00{i}.jpg").write_bytes(b"\xff\xd8 not a picture")
    message = refused(work)
    assert "6 pictures (17.6%) cannot be used, fetch.max_dropped_fraction allows 5.0%" in message
    assert "train TRAIN/p000.jpg: not a picture of a known type" in message
    listed = work / ".dvc/tmp/plantdoc/fetch-dropped.txt"
    assert str(listed) in message and len(listed.read_text().splitlines()) == 6
    assert {name: hashing.of_files([work / name], work) for name in OUTPUTS} == before
    small_repo.set_params(work, fetch__max_dropped_fraction=0.2)
    fetch(work)
    assert report(work)["pictures_dropped"] == 6


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("../nowhere", "is none of: sample, plantdoc, a folder, an archive"),
        ("https://example.org/leaves.zip", "is none of: sample, plantdoc, a folder, an archive"),
        ("../empty", "holds no pictures (0 files in all)"),
        ("../evil.zip", "a name that leads out of it"),
        ("params.yaml", "neither a folder nor a .zip"),
    ],
)
def test_a_source_that_will_not_do(source, message, work, tmp_path):
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("../out.jpg", b"x")
    small_repo.set_params(work, fetch__source=source)
    assert message in refused(work)
    assert not (tmp_path / "out.jpg").exists() and not (work / "data/raw").exists()


@pytest.mark.slow
def test_a_test_split_without_boxes(work, tmp_path):
    source = source_folders.voc(tmp_path / "source", 30, 0)
    source_folders.write_voc(source, "TEST/a.jpg", source_folders.encoded(source_folders.image("a")), [])
    done = small_repo.run(work, sys.executable, FETCH, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("fetch: ")
    assert "the test split has 1 pictures and no box on any of them: nothing can be scored" in last


def test_val_too_small_to_hold_a_box(work, tmp_path):
    source_folders.voc(tmp_path / "source", 4, 2)
    small_repo.set_params(work, fetch__val_fraction=0.001)
    assert "the val split has 0 pictures" in refused(work)


def test_a_source_without_a_test_split(work, tmp_path):
    source_folders.voc(tmp_path / "source", 60, 0)
    fetch(work)
    assert report(work)["pictures_test"] > 0 and report(work)["pictures_val"] > 0
    assert "The source has no test split" in (work / "results/fetch/report.md").read_text()


def test_a_limit_takes_a_part_of_every_split(work, tmp_path):
    source_folders.voc(tmp_path / "source", 60, 20)
    small_repo.set_params(work, fetch__limit=16, fetch__val_fraction=0.3)
    fetch(work)
    found = report(work)
    assert (found["pictures_train"] + found["pictures_val"], found["pictures_test"]) == (16, 16)


def test_a_new_picture_moves_no_other_one(work, tmp_path):
    source = source_folders.voc(tmp_path / "source", 60, 5)
    fetch(work)
    before = sides(work)
    for i in range(5):
        box = [((5, 5, 60, 60), "Apple leaf")]
        source_folders.write_voc(
            source, f"TRAIN/a{i}.jpg", source_folders.encoded(source_folders.image(f"new {i}")), box
        )
    fetch(work)
    after = sides(work)
    assert len(after) == len(before) + 5 and before.items() <= after.items()


def test_an_archive_beside_the_main_repository_from_a_copy_of_dvc(work, tmp_path):
    source_folders.voc(tmp_path / "leaves/plants", 30, 4)
    shutil.make_archive(str(tmp_path / "leaves"), "zip", tmp_path / "leaves")
    copy = work / ".dvc/tmp/exps/standalone/tmpabc"
    copy.mkdir(parents=True)
    shutil.copy(work / "params.yaml", copy)
    small_repo.set_params(copy, fetch__source="../leaves.zip")
    fetch(copy)
    assert report(copy)["pictures_test"] == 4


def test_plantdoc_by_commit(work, tmp_path):
    upstream = source_folders.voc(tmp_path / "upstream", 30, 4)
    small_repo.git(upstream, "init", "-q", "-b", "main")
    small_repo.git(upstream, "add", "-A")
    small_repo.git(upstream, "commit", "-q", "-m", "data")
    commit = small_repo.git(upstream, "rev-parse", "HEAD").strip()
    small_repo.git(tmp_path, "clone", "-q", "--bare", str(upstream), "bare.git")
    small_repo.git(tmp_path / "bare.git", "config", "uploadpack.allowAnySHA1InWant", "true")
    small_repo.set_params(
        work, fetch__source="plantdoc", fetch__repository=f"file://{tmp_path}/bare.git", fetch__commit=commit
    )
    fetch(work)
    about = json.loads((work / "data/raw/source.json").read_text())
    assert (about["name"], about["licence"]) == ("PlantDoc", "CC BY 4.0")
    assert "Singh, Jain" in about["attribution"] and about["url"].endswith(commit)
    small_repo.set_params(work, fetch__repository="http://127.0.0.1:1/plantdoc.git")
    assert "http://127.0.0.1:1/plantdoc.git cannot be reached: check the network" in refused(work)


def test_an_archive_in_s3(work, tmp_path, monkeypatch):
    source_folders.voc(tmp_path / "leaves", 30, 4)
    archive = shutil.make_archive(str(tmp_path / "leaves"), "gztar", tmp_path / "leaves")
    small_repo.set_params(work, fetch__source="s3://leaves/v1/leaves.tar.gz")
    with fake_s3.running(monkeypatch) as client:
        client.create_bucket(Bucket="leaves")
        client.upload_file(archive, "leaves", "v1/leaves.tar.gz")
        fetch(work)
    assert report(work)["pictures_test"] == 4


@pytest.mark.slow
def test_a_full_disk(work, tmp_path):
    source_folders.voc(tmp_path / "source", 30, 4)
    fetch(work)
    before = hashing.of_files([work / "results"], work)
    small = work / "data"
    shutil.rmtree(small)
    small.mkdir()
    # A file system of its own for data/, in a mount namespace of its own, too small for the pictures.
    script = f"mount -t tmpfs -o size=64k none {small} && exec {sys.executable} {FETCH}"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*command, "mount -t tmpfs none /mnt"], capture_output=True).returncode:
        pytest.skip("no user namespaces here, so no small file system to fill")
    done = small_repo.run(work, *command, script, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "fetch: the disk is full" in done.stdout.splitlines()[-1]
    assert hashing.of_files([work / "results"], work) == before


def test_the_same_from_a_png_and_a_jpeg_twin_counts_as_a_leak(work, tmp_path):
    source = source_folders.voc(tmp_path / "source", 30, 4)
    buffer = io.BytesIO()
    Image.open(source / "TEST/p000.jpg").save(buffer, "PNG")  # the same pixels, other bytes
    source_folders.write_voc(source, "TRAIN/twin.png", buffer.getvalue(), [((5, 6, 45, 50), "Apple leaf")])
    small_repo.set_params(work, fetch__near_duplicate_bits=0)
    fetch(work)
    (left,) = report(work)["left_out"]
    assert left == {"split": "train", "name": "TRAIN/twin.png", "what": "stands in test as TEST/p000.jpg (same pixels)"}


@pytest.mark.full(40)
def test_the_whole_sample_has_no_duplicates(work):
    small_repo.set_params(work, fetch__source="sample")
    fetch(work)
    found = report(work)
    assert found["classes"] >= 6 and found["duplicate_pairs"] == found["pictures_dropped"] == 0


@pytest.mark.full(25)
def test_real_pictures(work, plantdoc_folder):
    small_repo.set_params(work, fetch__source=str(plantdoc_folder))
    fetch(work)
    found = report(work)
    assert (found["pictures_test"], found["classes"], found["pictures_dropped"]) == (233, 29, 0)
    assert sum(found[f"pictures_{name}"] for name in ("train", "val", "test")) == 2319  # two stand in test
    assert 20 <= found["label_conflicts"] <= 24
    assert {"from": "Soybean leaf", "to": "Soyabean leaf"} in found["renamed_classes"]
    assert [line["name"] for line in found["dropped_boxes"]] == ["TRAIN/09c.jpg"]
