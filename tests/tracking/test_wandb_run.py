"""Weights & Biases: when it is on, what it is told, and that nothing depends on it."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fake_wandb
import pytest
import small_repo
from PIL import Image

from plantdoc.tracking import wandb_run

KEY = "k" * 40
MD5 = {"data/raw": "aa11.dir", "data/tfrecords": "bb22.dir", "models/detector": "cc33.dir"}
# What train and evaluate do, without the training.
STAGES = f"""
import logging, os, sys
sys.path.insert(0, {str(Path(wandb_run.__file__).parents[2])!r})
from plantdoc.coco import dataset
from plantdoc.tracking import wandb_run

logging.basicConfig(level="INFO", format="%(name)s: %(message)s", stream=sys.stdout)
MADE_FROM = {{"seed": 1, "train": {{"epochs": 3}}}}

def train(*epochs):
    with wandb_run.run("train", MADE_FROM) as tracker:
        for n in epochs:
            row = {{"box": 3 / n, "class": 2 / n, "lr": 0.01, "val_map": n / 10, "val_map50": n / 5}}
            tracker.epoch(n, row)

def evaluate():
    boxes = (dataset.Box((5.0, 6.0, 20.0, 10.0), 1),)
    split = dataset.Split(
        ("apple scab", "corn rust"),
        (dataset.Picture(1, "a.jpg", 60, 40, boxes), dataset.Picture(2, "b.jpg", 60, 40, ())),
    )
    found = [
        {{"image_id": 1, "category_id": 1, "bbox": [4.0, 6.0, 20.0, 11.0], "score": 0.9}},
        {{"image_id": 1, "category_id": 0, "bbox": [1.0, 1.0, 9.0, 9.0], "score": 0.3}},
        {{"image_id": 2, "category_id": 0, "bbox": [1.0, 1.0, 9.0, 9.0], "score": 0.001}},
    ]
    with wandb_run.run("evaluate", MADE_FROM) as tracker:
        tracker.scores({{"map50": 0.5, "map": 0.25}})
        tracker.pictures(split, ".", found)
        tracker.model("models/detector")

"""


def tell(folder: Path, code: str, check: bool = True, **settings: str) -> list[str]:
    """Run `train(…)` or `evaluate()` in a process of its own, as stages are; returns the lines it printed.

    `settings` are environment variables; those of W&B that the person who runs the tests has are taken away.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "DVC_"))}
    kept = {name: str(folder.with_name(name)) for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")}
    environment = {**inherited, **kept, "NETRC": str(folder / "netrc"), **settings}
    done = subprocess.run(
        [sys.executable, "-c", STAGES + code],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert not check or done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def records(path: Path) -> Iterator:
    """The records of a .wandb file: a header of 7 bytes, then LevelDB's log format with W&B's protobufs inside."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


class Log:
    """What was written for one run, over all its processes."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files = sorted((folder / ".dvc/tmp/plantdoc/wandb").glob("offline-run-*/run-*.wandb"))
        self.records = [record for file in self.files for record in records(file)]
        self.ids = {record.run.run_id for record in self.records if record.HasField("run")}
        self.names = {record.run.display_name for record in self.records if record.HasField("run")}
        self.projects = {record.run.project for record in self.records if record.HasField("run")}
        self.artifacts = {r.artifact.name: r.artifact for r in self.records if r.HasField("artifact")}
        self.exit_codes = [record.exit.exit_code for record in self.records if record.HasField("exit")]

    @property
    def config(self) -> dict:
        items = [i for r in self.records for i in [*r.run.config.update, *r.config.update]]
        return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}

    @property
    def summary(self) -> dict:
        items = [i for r in self.records for i in [*r.summary.update, *r.run.summary.update]]
        return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}

    @property
    def history(self) -> list[dict]:
        rows = []
        for record in self.records:
            if record.HasField("history"):
                items = record.history.item
                rows.append({i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items})
        return rows


def make(folder: Path, url: str) -> Path:
    """A folder as a stage sees it: a pipeline that has run, DVC's remote at `url`, secrets in two configs."""
    folder.mkdir()
    (folder / "params.yaml").write_text("lr: 0.1\ntrain:\n  epochs: 3\n")
    stages = {
        "fetch": ([], "data/raw"),
        "augment": (["data/raw", "src/augment.py"], "data/tfrecords"),
        "train": (["src/train.py", "data/tfrecords"], "models/detector"),
    }
    pipeline = {"stages": {name: {"deps": deps} for name, (deps, _) in stages.items()}}
    (folder / "dvc.yaml").write_text(json.dumps(pipeline))
    lock = {}
    for name, (deps, out) in stages.items():
        read = [{"path": dep, "md5": MD5.get(dep, "00")} for dep in deps]
        lock[name] = {"deps": read, "outs": [{"path": out, "md5": MD5[out]}]}
    (folder / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": lock}))
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (60, 40), "green").save(folder / name)
    small_repo.git(folder, "init", "-q")
    small_repo.git(folder, "remote", "add", "origin", "https://me:hush-hush@example.org/repository.git")
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text(f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {url}\n")
    if url.startswith("s3://"):  # of a folder DVC takes no such setting
        (folder / ".dvc/config.local").write_text("['remote \"storage\"']\n    secret_access_key = very-secret\n")
    return folder


@pytest.fixture
def here(tmp_path) -> Path:
    """Such a folder, with a folder as the remote."""
    return make(tmp_path / "here", str(tmp_path / "storage"))


@pytest.fixture(scope="module")
def offline(tmp_path_factory) -> Log:
    """A training and its evaluation, offline, with a remote on S3."""
    folder = make(tmp_path_factory.mktemp("offline") / "here", "s3://bucket/dvc")
    settings = {"WANDB_MODE": "offline", "WANDB_API_KEY": KEY, "DVC_EXP_NAME": "fast-fern"}
    [line] = tell(folder, "train(1, 2, 3)", **settings)
    assert line.startswith("plantdoc: train: W&B: offline; `wandb sync ")
    [line] = tell(folder, "evaluate()", **settings)
    assert line.startswith("plantdoc: evaluate: W&B: offline; `wandb sync ")
    return Log(folder)


def test_it_is_off_by_default_and_one_line_says_so(here):
    why = "(no key; WANDB_API_KEY or `wandb login` turns it on)"
    assert tell(here, "train(1, 2, 3); evaluate(); assert 'wandb' not in sys.modules") == [
        f"plantdoc: train: W&B is off {why}",
        f"plantdoc: evaluate: W&B is off {why}",
    ]
    assert not (here / ".dvc/tmp").exists()


def test_disabled_wins_over_a_key(here):
    off = "plantdoc: train: W&B is off (WANDB_MODE is disabled)"
    assert tell(here, "train(1)", WANDB_API_KEY=KEY, WANDB_MODE="disabled") == [off]


def test_a_netrc_entry_for_the_host_is_a_key_and_one_for_another_is_none(tmp_path, monkeypatch):
    path = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    path.write_text("machine api.wandb.ai login user password secret\n")
    assert wandb_run.has_key("https://api.wandb.ai")
    assert not wandb_run.has_key("https://wandb.example.org:8080")
    path.write_text("machine api.wandb.ai nonsense\n")
    assert not wandb_run.has_key("https://api.wandb.ai")


@pytest.mark.full
@pytest.mark.parametrize(("key", "why"), [(KEY, "connection refused"), ("tooshort", "40+ characters")])
def test_a_dead_host_and_a_bad_key_cost_one_line_and_the_training_goes_on(here, key, why):
    line, last = tell(
        here,
        "wandb_run.SECONDS = 1; train(1, 2, 3); print('trained')",
        WANDB_API_KEY=key,
        WANDB_BASE_URL="http://127.0.0.1:9",
    )
    assert line.startswith("plantdoc: train: W&B is off, since it failed to start: ")
    assert why in line
    assert key not in line
    assert last == "trained"


def test_lost_wandb_service_costs_one_line_and_training_continues(here):
    code = """
import psutil
with wandb_run.run("train", MADE_FROM) as tracker:
    tracker.epoch(1, {"box": 1.0})
    for child in psutil.Process().children(recursive=True):
        child.kill()
    for n in range(2, 50):
        tracker.epoch(n, {"box": 1.0})
print("trained")
"""
    printed = tell(here, code, WANDB_MODE="offline")
    assert len([line for line in printed if "W&B: something was not logged there" in line]) == 1
    assert "trained" in printed


def test_a_training_that_fails_is_told_as_failed_and_its_error_stays(here):
    code = "with wandb_run.run('train', MADE_FROM): raise RuntimeError('not finite')"
    assert tell(here, code, check=False, WANDB_MODE="offline")[-1] == "RuntimeError: not finite"
    assert Log(here).exit_codes == [1]


def test_training_and_evaluation_are_one_run_named_by_the_experiment(offline):
    assert len(offline.files) == 2 and len(offline.ids) == 1
    assert (offline.projects, offline.names) == ({"plant-disease-detector"}, {"fast-fern"})
    assert offline.exit_codes == [0, 0]


def test_params_are_flat_and_each_epoch_is_there_once(offline):
    assert offline.config["lr"] == 0.1 and offline.config["train.epochs"] == 3
    rows = [{name: value for name, value in row.items() if not name.startswith("_")} for row in offline.history[:3]]
    assert rows == [
        {"epoch": n, "train/box": 3 / n, "train/class": 2 / n, "train/lr": 0.01, "val/map": n / 10, "val/map50": n / 5}
        for n in (1, 2, 3)
    ]


def test_the_inputs_of_a_run_are_its_data_with_dvcs_hashes_the_first_ones_first(offline):
    inputs = offline.config["inputs"]
    assert list(inputs) == ["data/raw", "data/tfrecords"]
    assert inputs["data/tfrecords"] == {
        "path": "data/tfrecords",
        "md5": "bb22.dir",
        "uri": "s3://bucket/dvc/files/md5/bb/22.dir",
        "made_from": {"data/raw": "aa11.dir"},
    }


def test_the_model_is_a_reference_to_dvcs_object_with_dvcs_hash(offline):
    model = offline.artifacts["detector"]
    uri = "s3://bucket/dvc/files/md5/cc/33.dir"
    made_from = {"data/tfrecords": "bb22.dir"}
    assert json.loads(model.metadata) == {
        "path": "models/detector",
        "md5": "cc33.dir",
        "uri": uri,
        "made_from": made_from,
    }
    assert [(entry.path, entry.ref) for entry in model.manifest.contents] == [("detector", uri)]


def test_test_scores_and_a_table_of_pictures_with_two_layers_of_boxes(offline):
    assert offline.summary["test/map50"] == 0.5 and offline.summary["test/map"] == 0.25
    [table] = [artifact for artifact in offline.artifacts.values() if artifact.type == "run_table"]
    [path] = [entry.local_path for entry in table.manifest.contents if entry.path == "test/pictures.table.json"]
    content = json.loads(Path(path).read_text())
    assert content["columns"] == ["picture", "boxes", "true", "predicted"]
    first, second = content["data"]
    assert (first[0], first[2:], second[0], second[2:]) == ("a.jpg", [1, 2], "b.jpg", [0, 0])
    layers = first[1]["boxes"]
    assert list(layers) == ["ground_truth", "predictions"]
    assert [box["position"] for box in layers["ground_truth"]] == [{"minX": 5, "minY": 6, "maxX": 25, "maxY": 16}]
    assert [(box["box_caption"], box["scores"]) for box in layers["predictions"]] == [
        ("corn rust 0.90", {"score": 0.9}),
        ("apple scab 0.30", {"score": 0.3}),
    ]
    assert second[1]["boxes"] == {"ground_truth": [], "predictions": []}


def test_no_secret_is_told_and_nothing_lies_in_the_tree(offline):
    files = [path for path in (offline.folder / ".dvc/tmp").rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    for path in files:
        for word in ("hush-hush", "very-secret", KEY):
            assert word.encode() not in path.read_bytes(), f"{word} is in {path}"
    left = small_repo.git(offline.folder, "status", "--short", "--untracked-files=all", "--", ":!.dvc")
    assert "wandb" not in left


@pytest.mark.full
def test_without_s3_remote_the_model_is_named_by_hash_only(here):
    tell(here, "evaluate()", WANDB_MODE="offline")
    model = Log(here).artifacts["detector"]
    assert json.loads(model.metadata)["uri"] is None and json.loads(model.metadata)["md5"] == "cc33.dir"
    assert [(entry.path, entry.ref) for entry in model.manifest.contents] == [("dvc.json", "")]


@pytest.mark.full
def test_another_training_is_another_run_and_random_numbers_go_on_as_without_it(here):
    draw = "import random, numpy; random.seed(1); numpy.random.seed(1)\n{}\nprint(random.random(), numpy.random.rand())"
    numbers = tell(here, draw.format(""))[-1]
    assert tell(here, draw.format("train(1, 2)"), WANDB_MODE="offline")[-1] == numbers
    tell(here, "MADE_FROM['seed'] = 2; train(1)", WANDB_MODE="offline")
    assert len(Log(here).ids) == 2


@pytest.mark.slow
def test_online_repeated_training_resumes_its_run_with_lineage(tmp_path):
    folder = make(tmp_path / "here", "s3://bucket/dvc")
    with fake_wandb.running() as fake:
        settings = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": fake.url}
        [line] = tell(folder, "train(1, 2)", **settings)
        made, [run] = "tfrecords-bb22.dir", [name for name in fake.runs if not name.startswith("tfrecords-")]
        assert line == f"plantdoc: train: W&B: {fake.url}/me/project/runs/{run}"
        tell(folder, "train(2, 3)", **settings)
        for _ in range(2):
            tell(folder, "evaluate()", **settings)
        assert set(fake.runs) == {made, run}
        assert fake.steps(run) == [1, 2, 3, 4]
        assert set(fake.used) == {(made, "id-of-raw"), (run, "id-of-raw"), (run, "id-of-tfrecords")}
        assert fake.artifacts["tfrecords"]["run"] == made
        assert {name: about["type"] for name, about in fake.artifacts.items() if not name.startswith("run-")} == {
            "raw": "dataset",
            "tfrecords": "dataset",
            "detector": "model",
        }
        assert fake.artifacts["detector"]["run"] == run
        assert json.loads(fake.artifacts["tfrecords"]["metadata"])["made_from"] == {"data/raw": "aa11.dir"}


@pytest.mark.full(70)
def test_a_training_gives_the_same_lock_with_it_and_keeps_out_of_the_tree(tmp_path):
    locks, folder = [], small_repo.make(tmp_path / "small", train__epochs=2, train__batch_size=16)
    small_repo.run(folder, "dvc", "repro", "augment")
    for mode in ("disabled", "offline"):
        small_repo.run(folder, "dvc", "repro", "-f", "-s", "train", WANDB_MODE=mode)
        small_repo.run(folder, "dvc", "repro", "-f", "-s", "evaluate", WANDB_MODE=mode)
        locks.append((folder / "dvc.lock").read_bytes())
    assert locks[0] == locks[1]
    log = Log(folder)
    assert len(log.files) == 2 and len(log.ids) == 1
    assert [row["_step"] for row in log.history] == [1, 2, 3]
    scores = json.loads((folder / "results/evaluate/metrics.json").read_text())
    assert log.summary["test/map50"] == pytest.approx(scores["map50"], abs=1e-6)
    assert set(log.config["inputs"]) == {"data/raw", "data/tfrecords"}
    assert "wandb" not in small_repo.git(folder, "status", "--short", "--untracked-files=all")
