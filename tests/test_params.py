"""params.yaml: what stops a run, and how clearly."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest

from plantdoc import params
from plantdoc.errors import UserError


@pytest.fixture
def values(root) -> dict:
    return copy.deepcopy(params.read(root / "params.yaml"))


def put(values: dict, key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        values = values[section]
    values[last] = value


def test_the_committed_file_is_right(root):
    assert params.load(root / "params.yaml").train.threads == 2


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("lr", 0, "lr = 0: input should be greater than 0"),
        ("lr", "0.1", "lr = '0.1': input should be a valid number"),
        ("lr", float("nan"), "lr = nan: input should be a finite number"),
        ("seed", -1, "seed = -1: input should be greater than or equal to 0"),
        ("seed", True, "seed = True: input should be a valid integer"),
        ("fetch.commit", "main", "fetch.commit = 'main': string should match pattern"),
        ("fetch.source", "", "fetch.source = '': string should have at least 1 character"),
        ("fetch.val_fraction", 0.6, "fetch.val_fraction = 0.6: input should be less than or equal to 0.5"),
        ("fetch.keep_negatives", "yes", "fetch.keep_negatives = 'yes': input should be a valid boolean"),
        ("fetch.aliases", {"a": 1}, "fetch.aliases.a = 1: input should be a valid string"),
        ("augment.size", 250, "augment.size = 250: input should be a multiple of 32"),
        ("augment.quality", 20, "augment.quality = 20: input should be greater than or equal to 50"),
        ("model.family", "yolo", "model.family = 'yolo': input should be 'compact', 'yolov8' or 'retinanet'"),
        ("train.epochs", 3.5, "train.epochs = 3.5: input should be a valid integer"),
        ("train.epochs", None, "train.epochs = None: input should be a valid integer"),
        ("train.momentum", 1, "train.momentum = 1: input should be less than 1"),
        ("train", 3, "train = 3: "),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(values, key, value, said):
    put(values, key, value)
    with pytest.raises(UserError, match=r"params\.yaml: ") as error:
        params.check(values)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("train.epoch", "train.epoch is not a known key; did you mean epochs?"),
        ("learning_rate", "learning_rate is not a known key; known: seed, lr, fetch"),
        ("augment.zzz", "augment.zzz is not a known key; known: size, copies"),
    ],
)
def test_an_unknown_key_is_an_error_and_the_known_ones_are_told(values, key, said):
    put(values, key, 1)
    with pytest.raises(UserError) as error:
        params.check(values)
    assert said in str(error.value)


def test_a_missing_key_is_named(values):
    del values["model"]["family"]
    with pytest.raises(UserError, match=r"model\.family is missing"):
        params.check(values)


def test_all_faults_are_told_at_once(values):
    put(values, "lr", -1)
    put(values, "train.epochs", 0)
    with pytest.raises(UserError, match=r"lr = -1: .*; train\.epochs = 0: "):
        params.check(values)


@pytest.mark.parametrize("written", ["1e-05", "1e-5", "0.00001", "1.0e-05"])
def test_small_numbers_are_numbers_however_dvc_writes_them(root, tmp_path, written):
    path = tmp_path / "params.yaml"
    path.write_text((root / "params.yaml").read_text().replace("lr: 0.1 ", f"lr: {written} ", 1))
    assert params.load(path).lr == 1e-5


def test_a_whole_number_passes_where_a_fraction_is_meant(values):
    put(values, "train.warmup_epochs", 1)
    assert params.check(values).train.warmup_epochs == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is not there: run this from the repository's root"),
        ("lr: [", "is not valid YAML"),
        ("lr: 1\nlr: 2\n", "is not valid YAML"),
        ("", "holds no keys"),
        ("- lr\n", "holds no keys"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path, text, said):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as error:
        params.load(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_is_changed_after_loading(root):
    loaded = params.load(root / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        loaded.train.epochs = 1


def test_every_line_says_what_it_means(root):
    section = None
    for number, line in enumerate((root / "params.yaml").read_text().splitlines(), 1):
        if not line.startswith(" "):
            section = line
        bare = not line.strip() or (line.endswith(":") and not line.startswith(" "))
        alias = line.startswith("    ") and section == "fetch:"
        assert bare or alias or "  # " in line, f"params.yaml:{number} has no comment with unit and range: {line}"


def test_sections_stand_in_stage_order(root):
    sections = [key for key, value in params.read(root / "params.yaml").items() if isinstance(value, dict)]
    stages = list(params.read(root / "dvc.yaml")["stages"])
    assert [s for s in sections if s in stages] == stages


@pytest.mark.parametrize("name", ["fetch", "augment", "train", "evaluate", "deploy"])
def test_every_stage_stops_at_a_typo_before_it_touches_anything(root, tmp_path, name):
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text().replace("epochs:", "epoch:", 1))
    command = [sys.executable, str(root / "src" / f"{name}.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name}: params.yaml: train.epoch")
    assert "did you mean epochs?" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_dvc_changes_the_one_line_it_is_asked_to(root, tmp_path):
    # What `dvc exp run -S lr=0.2` does to the file: its writer has a width and quotes of its own.
    from dvc.utils.serialize import modify_yaml

    path = tmp_path / "params.yaml"
    path.write_text((root / "params.yaml").read_text())
    with modify_yaml(path) as document:
        document["lr"] = 0.2
    before, after = (root / "params.yaml").read_text().splitlines(), path.read_text().splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert [line.split("#")[0].strip() for line in changed] == ["lr: 0.2"]
