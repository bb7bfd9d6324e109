"""The notebook runs from top to bottom on any revision, and shows what is true of it.

On the pipeline by formula, with real pictures: the sample's, and predictions made from their boxes.
"""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import fake_repo
import finished_experiments
import nbformat
import pytest
import small_repo
from import_graph import ROOT
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from plantdoc.coco import dataset
from plantdoc.visualize import gallery

NOTEBOOK = ROOT / "notebooks/inspect_run.ipynb"
PICTURES = """
sys.path.insert(0, "src")
from plantdoc.coco import dataset
from plantdoc.fetch.sample import generator
generator.write(Path("data/raw"), params["seed"], train=3, test=6)
write("data/raw/val/annotations.json", Path("data/raw/train/annotations.json").read_bytes())
"""
# Every box is found, a third of its width beside the truth where lr is 0.3; one picture has a false alarm below 0.3.
PREDICTIONS = """
sys.path.insert(0, "src")
from plantdoc.coco import dataset
beside = 1 / 3 if params["lr"] == 0.3 else 0
found = [
    {"image_id": p.id, "category_id": b.category, "score": 0.8,
     "bbox": [b.xywh[0] + beside * b.xywh[2], *b.xywh[1:]]}
    for p in dataset.load("data/raw/test").pictures for b in p.boxes
]
found.append({"image_id": 1, "category_id": 0, "score": 0.2, "bbox": [1, 1, 9, 9]})
write("results/evaluate/predictions.json", found)
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """HEAD with lr 0.1, an experiment with 0.2, which is the best, and one with 0.3; pushed to a folder remote."""
    folder = fake_repo.make(tmp_path_factory.mktemp("notebook") / "repository")
    for stage, code in (("fetch", PICTURES), ("evaluate", PREDICTIONS)):
        with open(folder / f"src/{stage}.py", "a") as file:
            file.write(code)
    small_repo.run(folder, "dvc", "repro")
    small_repo.git(folder, "add", "-A")
    small_repo.git(folder, "commit", "-q", "-m", "results")
    small_repo.run(folder, "dvc", "exp", "run", "-S", "lr=0.2", "--name", "rate-0.2")
    small_repo.git(folder, "checkout", "-q", ".")
    finished_experiments.add(folder, "rate-0.3", lr=0.3)
    small_repo.run(folder, "dvc", "checkout", "-q")
    return folder


def run(repository: Path, monkeypatch, start: str = ".", **settings: object) -> list:
    """Run the notebook in `repository` from its folder `start`; returns its cells, outputs and all."""
    for name, value in small_repo.environment().items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(repository / "notebooks/inspect_run.ipynb", as_version=4)
    for name, value in settings.items():
        cell = notebook.cells[1]
        cell.source, count = re.subn(rf"(?m)^{name} = [^#\n]*?(?=  #|$)", f"{name} = {value!r}", cell.source)
        assert count == 1, f"the notebook has no setting {name}"
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(repository / start)}})
    return client.execute().cells


def output(cells: list, kind: str, start: str = "") -> list:
    """The outputs of one kind of the code cell that has `start` in it, or of all cells."""
    return [
        out.data[kind]
        for cell in cells
        if cell.cell_type == "code" and start in cell.source
        for out in cell.outputs
        if kind in out.get("data", {})
    ]


def rows(markdown: str) -> list[list[str]]:
    """The rows of a table, its head first, without the rule."""
    lines = [line.strip("| ").split(" | ") for line in markdown.splitlines()]
    return [[cell.strip() for cell in line] for line in lines if not set(line[-1]) <= set("-: ") or line[-1] == ""]


def pictures(outputs: list[str]) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in outputs]


def test_it_is_committed_without_outputs_and_is_short():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) <= 20
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
            assert cell.source.isascii() or "…" in cell.source
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


@pytest.fixture(scope="module")
def cells(repository) -> list:
    """The notebook as it is committed, run from its own folder."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        return run(repository, monkeypatch, start="notebooks")


def test_counts_are_those_of_the_data(cells, repository):
    (text,) = output(cells, "text/markdown", "splits = {}")
    head, total, *by_class = rows(text)
    split = dataset.load(repository / "data/raw/test")
    assert total[-1] == f"{sum(len(p.boxes) for p in split.pictures)} (6)"
    assert [row[0] for row in by_class] == list(split.classes)
    for category, row in enumerate(by_class):
        assert row[-1] == str(sum(b.category == category for p in split.pictures for b in p.boxes))
    assert head[1:] == [f"{name}: boxes (pictures)" for name in ("train", "val", "test")]


def test_test_pictures_are_drawn_with_truth_and_predictions(cells, repository):
    drawn = pictures(output(cells, "image/png", "gallery.draw"))
    assert len(drawn) == 4
    folder = repository / "data/raw/test"
    test = dataset.load(folder)
    predictions = json.loads((repository / "results/evaluate/predictions.json").read_text())
    for picture in test.pictures:
        found = [row for row in predictions if row["image_id"] == picture.id]
        expected = gallery.draw(picture, folder, test.classes, found, 0.3, picture.file_name)
        drawn = [image for image in drawn if image.convert("RGB").tobytes() != expected.tobytes()]
    assert not drawn


def test_curves_are_drawn(cells):
    (figure,) = pictures(output(cells, "image/png", "CURVES"))
    assert figure.width > 1000 and len(figure.convert("RGB").getcolors(1 << 24)) > 50


def test_runs_are_listed_best_on_val_first_with_what_they_differ_in(cells, repository):
    (text,) = output(cells, "text/markdown", "ranked = sorted")
    head, *listed = rows(text)
    assert head == ["run", "lr", "val mAP@50", "test mAP@50", "minutes", "machine"]
    assert {row[0]: float(row[1]) for row in listed} == {"HEAD": 0.1, "rate-0.2": 0.2, "rate-0.3": 0.3}
    val = [float(row[2]) for row in listed]
    assert val == sorted(val, reverse=True) and listed[0][0] == "rate-0.2"
    (best,) = output(cells, "text/markdown", "best = ranked")
    assert "**rate-0.2** with 0.6." in best and "`dvc exp apply rate-0.2`" in best


def test_the_repository_is_as_before(cells, repository):
    assert small_repo.git(repository, "status", "--porcelain") == ""


@pytest.mark.full
def test_it_opens_an_experiment_beside_a_commit_from_the_root_of_a_fresh_clone(repository, monkeypatch):
    # As a colleague would: no cache, so that data and predictions come from the remote.
    storage = str(repository.parent / "plant-disease-storage")
    small_repo.run(repository, "dvc", "remote", "modify", "--local", "storage", "url", storage)
    small_repo.run(repository, "dvc", "push", "-q")
    clone = repository.parent / "clone"
    small_repo.git(repository.parent, "clone", "-q", str(repository), str(clone))
    small_repo.run(repository, "dvc", "exp", "push", "-q", str(clone), "rate-0.3")
    assert not (clone / "data/raw").exists() and not (clone / ".dvc/cache").exists()

    cells = run(clone, monkeypatch, RUN="rate-0.3", OTHER="HEAD", PICTURES=2)
    changed, scores = output(cells, "text/markdown", "changed = ")
    assert rows(changed)[1:] == [["lr", "0.3", "0.1"]]
    both = {row[0]: row[1:] for row in rows(scores)[1:]}
    before = json.loads(small_repo.git(repository, "show", "HEAD:results/evaluate/metrics.json"))
    assert float(both["map50"][1]) == pytest.approx(before["map50"], rel=1e-3)
    assert both["map50"][0] != both["map50"][1]
    assert len(output(cells, "image/png", "gallery.draw")) == 2
    (best,) = output(cells, "text/markdown", "best = ranked")
    assert "**rate-0.3**" in best
    assert not (clone / "data/raw").exists()


@pytest.mark.full
def test_a_name_that_is_none_says_so(repository, monkeypatch):
    with pytest.raises(CellExecutionError, match="nosuch is no commit, branch, tag or experiment here"):
        run(repository, monkeypatch, RUN="nosuch")
