"""The named override sets, and the command that puts one into params.yaml."""

from __future__ import annotations

import runpy
import shutil
import subprocess

import cli
import pytest

from plantdoc import params
from plantdoc.errors import UserError

NAMES = ["plantdoc-gpu-retinanet", "plantdoc-gpu-yolov8", "plantdoc-laptop", "sample"]


@pytest.fixture(scope="module")
def recipe(root) -> dict:
    """The functions of scripts/recipe.py by name."""
    return runpy.run_path(str(root / "scripts" / "recipe.py"))


@pytest.fixture
def run(root, tmp_path):
    """Run the command in a folder with a copy of params.yaml; returns the finished process."""
    shutil.copy(root / "params.yaml", tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return cli.run(tmp_path, "python", root / "scripts" / "recipe.py", *arguments, check=False)

    return run


def test_every_recipe_is_known_here(recipe):
    assert sorted(recipe["names"]()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_tells_its_command_its_cost_and_its_score(recipe, name):
    told = recipe["docstring"](name)
    assert f"python scripts/recipe.py {name} && " in told
    assert "\n  Cost: " in told
    assert "\n  Score: " in told
    assert any(word in told for word in ("measured", "Expected")), "say whether a figure was measured or is expected"


@pytest.mark.parametrize("name", NAMES)
def test_all_recipes_set_the_same_keys_so_that_one_replaces_another(recipe, name):
    leaves, read = recipe["leaves"], recipe["read"]
    assert [key for key, _ in leaves(read(name))] == [key for key, _ in leaves(read("sample"))]


def test_the_sample_is_what_is_committed(recipe, root):
    committed = dict(recipe["leaves"](params.read(root / "params.yaml")))
    for key, value in recipe["leaves"](recipe["read"]("sample")):
        assert committed[key] == value, key


def test_the_laptop_trains_what_was_measured(recipe, root):
    """Its cost and score are those of benchmarks/quality/60.yaml, which differs in pictures and precision alone."""
    laptop = dict(recipe["leaves"](recipe["read"]("plantdoc-laptop")))
    measured = dict(recipe["leaves"](params.read(root / "benchmarks/quality/60.yaml")))
    assert laptop.pop("fetch.source") == "plantdoc"
    assert measured.pop("train.precision") == "mixed_bfloat16"
    assert laptop == measured


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_goes_in_and_comes_out_without_a_trace(run, root, tmp_path, name):
    before = (root / "params.yaml").read_bytes()
    done = run(name)
    assert done.returncode == 0, done.stdout
    lines = (tmp_path / "params.yaml").read_text().splitlines()
    changed = [line for line, old in zip(lines, before.decode().splitlines(), strict=True) if line != old]
    assert all(" # " in line for line in changed), "comments stay on their lines"
    assert len(changed) == done.stdout.count(" → ")
    params.load(tmp_path / "params.yaml")
    assert run("sample").returncode == 0
    assert (tmp_path / "params.yaml").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_changes_of_ones_own_go_on_top(run, root, tmp_path):
    source = "../a folder/x: y"
    done = run("plantdoc-laptop", "train.epochs=3", "lr=1e-5", f"fetch.source={source}", "fetch.keep_negatives=false")
    assert done.returncode == 0, done.stdout
    loaded = params.load(tmp_path / "params.yaml")
    assert (loaded.train.epochs, loaded.lr, loaded.fetch.source) == (3, 1e-5, source)
    assert loaded.fetch.keep_negatives is False
    assert loaded.train.half_size == 0.6
    before = params.load(root / "params.yaml").train.epochs
    assert f"train.epochs: {before} → 3" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["laptop"], "there is no recipe laptop; there are: sample, "),
        (["sample", "train.epoch=3"], "train.epoch is not a known key; did you mean epochs?"),
        (["sample", "trian.epochs=3"], "trian.epochs is not a known key: params.yaml has no section trian"),
        (["sample", "train.epochs=0"], "train.epochs = 0: input should be greater than or equal to 1"),
        (["sample", "train.epochs"], "train.epochs: write key=value"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(run, root, tmp_path, arguments, said):
    done = run(*arguments)
    assert done.returncode == 1
    assert said in done.stdout
    assert done.stdout.count("\n") == 1
    assert (tmp_path / "params.yaml").read_bytes() == (root / "params.yaml").read_bytes()


def test_without_params_it_says_where_to_run_it(run, tmp_path):
    (tmp_path / "params.yaml").unlink()
    done = run("sample")
    assert done.returncode == 1
    assert "params.yaml is not there: run this from the repository's root" in done.stdout


def test_alone_it_lists_them_all(run):
    done = run()
    assert done.returncode == 0
    assert all(f"{name}\n" in done.stdout for name in NAMES)


def test_an_unknown_recipe_is_not_a_path(recipe):
    with pytest.raises(UserError, match="there is no recipe"):
        recipe["read"]("../params")
