"""`make check-data`: what fetch would do with a source, told before a run, and nothing changed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import script_runner
import small_repo
import source_folders
from import_graph import ROOT
from PIL import Image

from plantdoc.core import hashing

pytestmark = pytest.mark.usefixtures("in_this_process")
SHOWN = ".dvc/tmp/plantdoc/check-data"


@pytest.fixture
def repository(tmp_path) -> Path:
    """Params, pipeline and scripts, with outputs of an earlier run."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder)
    for name in ("scripts", "src"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("data/raw/train/old.jpg", "results/fetch/report.md", "dvc.lock"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def check(folder: Path, *arguments: str, script: str = "scripts/check_data.py") -> subprocess.CompletedProcess:
    """Run the command; whatever comes of it, it changes nothing but what is below .dvc/tmp."""
    repository = next(p for p in (folder, *folder.parents) if (p / "dvc.yaml").is_file())
    before = state(repository)
    done = script_runner.run(folder, "python", script, *arguments, check=False)
    assert state(repository) == before
    assert "Traceback" not in done.stdout
    return done


def state(repository: Path) -> dict[str, str]:
    files = [path for path in repository.rglob("*") if path.is_file() and ".dvc" not in path.parts]
    return {str(path): hashing.of_file(path) for path in files}


def test_a_good_folder_is_accepted_with_its_format_splits_and_classes(repository, tmp_path):
    source_folders.voc(tmp_path / "leaves", 40, 8)
    done = check(repository, "../leaves")
    assert done.returncode == 0, done.stdout
    assert "Pascal VOC: 48 annotation files; not read: 0 other files" in done.stdout
    assert "splits: test 8 (folder TEST), train 40 (folder TRAIN)" in done.stdout
    assert re.search(r"^Apple leaf +\d+ \(\d+\) .* 8 \(8\)$", done.stdout, re.MULTILINE)
    assert "`dvc repro` accepts this source." in done.stdout
    shown = repository / SHOWN
    assert "# Pictures from leaves" in (shown / "report.md").read_text()
    assert sorted(path.name for path in (shown / "pictures").iterdir()) == ["test.jpg", "train.jpg", "val.jpg"]
    for sheet in (shown / "pictures").iterdir():
        Image.open(sheet).verify()
    assert [path.name for path in shown.parent.iterdir()] == ["check-data"], "scratch folders are gone"


def test_losses_are_named_and_the_exit_code_says_that_fetch_would_stop(repository, tmp_path):
    leaves = source_folders.voc(tmp_path / "leaves", 24, 6)
    for i in range(3):
        (leaves / f"TRAIN/p00{i}.jpg").write_bytes(b"<html>")
    (leaves / "TRAIN/p003.xml").unlink()
    (leaves / "notes.txt").write_text("mine")
    done = check(repository, "../leaves")
    assert done.returncode == 1
    assert "cannot be used: 4 pictures (13.3%), 4 boxes" in done.stdout
    assert "lost        TRAIN/p000.jpg and 2 more: not a picture of a known type" in done.stdout
    remedy = "label the picture, or take it out of the source"
    assert f"lost        TRAIN/p003.jpg: no annotation file\n{'':14}{remedy}\n" in done.stdout
    assert "not read    notes.txt: no annotations of a known format" in done.stdout
    assert "fault       4 pictures (13.3%) cannot be used, fetch.max_dropped_fraction allows 5.0%" in done.stdout
    assert "`dvc repro` would stop at this source." in done.stdout
    report = json.loads((repository / SHOWN / "report.json").read_text())
    assert len(report["dropped"]) == 4
    # The settings of params.yaml hold here as well.
    small_repo.set_params(repository, fetch__max_dropped_fraction=0.5)
    assert check(repository, "../leaves").returncode == 0


def test_all_that_is_wrong_is_told_at_once(repository, tmp_path):
    leaves = source_folders.voc(tmp_path / "leaves", 4, 0)
    for path in leaves.rglob("*.jpg"):
        path.write_bytes(b"")
    done = check(repository, "../leaves")
    assert done.returncode == 1
    faults = re.findall(r"^fault +(.*)$", done.stdout, re.MULTILINE)
    assert faults[0].startswith("4 pictures (100.0%) cannot be used")
    assert [fault.split(" split")[0] for fault in faults[1:]] == ["the train", "the val", "the test"]


def test_a_source_that_cannot_be_read_is_one_message_and_leaves_no_earlier_report(repository, tmp_path):
    source_folders.voc(tmp_path / "leaves", 24, 6)
    check(repository, "../leaves")
    done = check(repository, "../nowhere")
    assert done.returncode == 1 and done.stdout.count("\n") == 1
    assert done.stdout.startswith("check_data: fetch.source = '../nowhere' is none of: sample, plantdoc, a folder")
    assert not (repository / SHOWN).exists()
    (tmp_path / "empty").mkdir()
    assert "holds no pictures (0 files in all)" in check(repository, "../empty").stdout


def test_paths_start_from_where_they_are_typed_and_archives_are_read(repository, tmp_path):
    source_folders.voc(tmp_path / "leaves", 24, 6)
    shutil.make_archive(str(tmp_path / "leaves & more"), "zip", tmp_path / "leaves")
    here = repository / "results/fetch"
    for source in ("../../../leaves", "../../../leaves & more.zip", str(tmp_path / "leaves")):
        done = check(here, source, script="../../scripts/check_data.py")
        assert done.returncode == 0, done.stdout
        assert "in the source: 30 pictures, 45 boxes" in done.stdout
    assert not (here / ".dvc").exists()


def test_without_an_argument_it_looks_at_the_source_of_the_params(repository, tmp_path):
    source_folders.voc(tmp_path / "leaves", 24, 6)
    small_repo.set_params(repository, fetch__source="../leaves", fetch__limit=5)
    done = check(repository)
    assert "in the source: 30 pictures, 45 boxes" in done.stdout
    assert re.search(r"left out.*; by fetch\.limit: 20 pictures", done.stdout)
