"""params.yaml: what stops a run, and how clearly."""

from __future__ import annotations

import copy
import re
import subprocess
import sys

import pytest

from plantdoc.augment import augment_params
from plantdoc.core import params
from plantdoc.core.errors import UserError
from plantdoc.deploy import deploy_params
from plantdoc.evaluate import evaluate_params
from plantdoc.fetch import fetch_params
from plantdoc.settings import runner_params, serve_params
from plantdoc.settings.all_params import Params
from plantdoc.train import train_params


@pytest.fixture
def values(root) -> dict:
    return copy.deepcopy(params.read(root / "params.yaml"))


def put(values: dict, key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        values = values[section]
    values[last] = value


def test_the_committed_file_is_right(root):
    assert params.load(Params, root / "params.yaml").train.threads == 2


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
        ("serve.max_instances", 0, "serve.max_instances = 0: input should be greater than or equal to 1"),
        ("serve.endpoint", "leaves", "serve.endpoint = 'leaves': string should match pattern"),
        ("runner.kind", "ecw", "runner.kind = 'ecw': input should be 'local' or 'ec2'"),
        ("runner.augment_workers", -1, "runner.augment_workers = -1: input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(values, key, value, said):
    put(values, key, value)
    with pytest.raises(UserError, match=r"params\.yaml: ") as error:
        params.check(Params, values)
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
        params.check(Params, values)
    assert said in str(error.value)


def test_a_missing_key_is_named(values):
    del values["model"]["family"]
    with pytest.raises(UserError, match=r"model\.family is missing"):
        params.check(Params, values)


def test_all_faults_are_told_at_once(values):
    put(values, "lr", -1)
    put(values, "train.epochs", 0)
    with pytest.raises(UserError, match=r"lr = -1: .*; train\.epochs = 0: "):
        params.check(Params, values)


@pytest.mark.parametrize("written", ["1e-05", "1e-5", "0.00001", "1.0e-05"])
def test_small_numbers_are_numbers_however_dvc_writes_them(root, tmp_path, written):
    path = tmp_path / "params.yaml"
    path.write_text((root / "params.yaml").read_text().replace("lr: 0.1 ", f"lr: {written} ", 1))
    assert params.load(Params, path).lr == 1e-5


def test_a_whole_number_passes_where_a_fraction_is_meant(values):
    put(values, "train.warmup_epochs", 1)
    assert params.check(Params, values).train.warmup_epochs == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is not there: run this from the repository's root"),
        ("lr: [", "is not valid YAML"),
        ("lr: 1\nlr: 2\n", "is not valid YAML"),
        ("<<<<<<< HEAD\nlr: 1\n=======\nlr: 2\n>>>>>>> main\n", "has a merge conflict: keep one side"),
        ("", "holds no keys"),
        ("- lr\n", "holds no keys"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path, text, said):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as error:
        params.load(Params, path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_is_changed_after_loading(root):
    loaded = params.load(Params, root / "params.yaml")
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
    keys = tuple(params.read(root / "params.yaml"))
    stages = list(params.read(root / "dvc.yaml")["stages"])
    assert [key for key in keys if key in stages] == stages
    assert keys == params.SECTIONS == tuple(Params.model_fields)


# What reads params.yaml → the sections of which it checks every key.
READERS = {
    fetch_params: {"fetch"},
    augment_params: {"augment"},
    train_params: {"model", "train"},
    evaluate_params: {"evaluate"},
    deploy_params: {"deploy"},
    serve_params: {"deploy", "serve"},
    runner_params: {"runner"},
}


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_checks_its_own_sections_and_the_names_of_the_others(values, reader):
    sections = {key for key in values if isinstance(values[key], dict)}
    for section in sections - READERS[reader]:
        put(values, f"{section}.added", 1)
    params.check(reader.Params, values)
    for section in READERS[reader]:
        put(values, f"{section}.added", 1)
    values["added"] = 1
    with pytest.raises(UserError) as error:
        params.check(reader.Params, values)
    unknown = re.findall(r"([\w.]+) is not a known key", str(error.value))
    assert sorted(unknown) == sorted(["added", *(f"{section}.added" for section in READERS[reader])])


def as_earlier(values: dict) -> dict:
    """The same values under the keys that version 7b9b9a6 had."""
    for old, new in Params.MOVED.items():
        section, _, key = new.partition(".")
        put(values, old, values[section].pop(key))
    del values["serve"]
    return values


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (augment_params, "augment.workers is runner.augment_workers now, augment.engine is runner.augment_engine now"),
        (runner_params, "augment.workers is runner.augment_workers now, augment.engine is runner.augment_engine now"),
        (deploy_params, "deploy.min_map50 is serve.min_map50 now, deploy.endpoint is serve.endpoint now, "),
        (serve_params, "deploy.min_map50 is serve.min_map50 now, deploy.endpoint is serve.endpoint now, "),
    ],
)
def test_a_moved_key_is_told_by_its_new_name_and_nothing_else_is(values, reader, said):
    with pytest.raises(UserError) as error:
        params.check(reader.Params, as_earlier(values))
    text = str(error.value)
    assert text.startswith(f"params.yaml: {said}")
    assert text.endswith("; `python scripts/recipe.py --migrate` rewrites params.yaml")
    assert text.count(";") == 1, "that new keys are missing says the same again"


def test_stages_that_no_moved_key_is_for_run_as_before(values):
    for reader in (fetch_params, train_params, evaluate_params):
        params.check(reader.Params, copy.deepcopy(as_earlier(copy.deepcopy(values))))


def test_a_moved_key_that_dvc_adds_is_told_too(root, tmp_path):
    """`dvc exp run -S deploy.min_map50=0.3` is refused by DVC itself, and with a `+` before it by the stage."""
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    path = tmp_path / "params.yaml"
    path.write_text((root / "params.yaml").read_text())
    with pytest.raises(DvcException) as refused:
        apply_overrides(path, ["deploy.min_map50=0.3"])
    assert "deploy.min_map50" in str(refused.value.__cause__)
    apply_overrides(path, ["+deploy.min_map50=0.3"])
    with pytest.raises(UserError, match=r"deploy\.min_map50 is serve\.min_map50 now; "):
        params.load(deploy_params.Params, path)


@pytest.mark.parametrize(
    ("name", "key", "typo"),
    [
        ("fetch", "min_box", "fetch.min_boxes"),
        ("augment", "copies", "augment.copy"),
        ("train", "epochs", "train.epoch"),
        ("evaluate", "bootstrap", "evaluate.bootstraps"),
        ("deploy", "examples", "deploy.example"),
    ],
)
def test_every_stage_stops_at_a_typo_before_it_touches_anything(root, tmp_path, name, key, typo):
    text = (root / "params.yaml").read_text().replace(f"  {key}: ", f"  {typo.partition('.')[2]}: ", 1)
    (tmp_path / "params.yaml").write_text(text + "learning_rate: 0.1\n")
    command = [sys.executable, str(root / "src" / f"{name}.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name}: params.yaml: learning_rate is not a known key; known: seed, lr, fetch")
    assert f"{name}.{key} is missing; {typo} is not a known key; did you mean {key}?" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_another_runner_than_there_is_stops_train_before_it_starts_anything(root, tmp_path):
    """The stage reads that it is not to train itself; the process that it starts checks the rest of `runner`."""
    for name in ("src", "scripts", "dvc.yaml"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text().replace("kind: local ", "kind: ecw ", 1))
    done = subprocess.run([sys.executable, "src/train.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "ec2: params.yaml: runner.kind = 'ecw': input should be 'local' or 'ec2'\n"


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
