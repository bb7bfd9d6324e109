"""The named override sets, and the command that puts one into params.yaml."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess

import pytest
import script_runner

from plantdoc.core import params
from plantdoc.core.errors import UserError
from plantdoc.core.flatten import flat
from plantdoc.settings import migration
from plantdoc.settings.all_params import Params

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
        return script_runner.run(tmp_path, "python", root / "scripts" / "recipe.py", *arguments, check=False)

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
    params.load(Params, tmp_path / "params.yaml")
    assert run("sample").returncode == 0
    assert (tmp_path / "params.yaml").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_changes_of_ones_own_go_on_top(run, root, tmp_path):
    source = "../a folder/x: y"
    done = run("plantdoc-laptop", "train.epochs=3", "lr=1e-5", f"fetch.source={source}", "fetch.keep_negatives=false")
    assert done.returncode == 0, done.stdout
    loaded = params.load(Params, tmp_path / "params.yaml")
    assert (loaded.train.epochs, loaded.lr, loaded.fetch.source) == (3, 1e-5, source)
    assert loaded.fetch.keep_negatives is False
    assert loaded.train.half_size == 0.6
    before = params.load(Params, root / "params.yaml").train.epochs
    assert f"train.epochs: {before} → 3" in done.stdout


@pytest.mark.parametrize(
    "source",
    [
        "2024-05-01",
        "1234",
        "~",
        "null",
        "yes",
        "../leaves #1",
        "../a: b",
        "../it's",
        '../"a"',
        "../Blätter (1)",
        "{a}",
        " x",
    ],
)
def test_a_path_is_taken_as_it_is_typed(run, tmp_path, source):
    done = run("sample", f"fetch.source={source}", "fetch.licence=2.0", "fetch.attribution=#1")
    assert done.returncode == 0, done.stdout
    fetch = params.load(Params, tmp_path / "params.yaml").fetch
    assert (fetch.source, fetch.licence, fetch.attribution) == (source, "2.0", "#1")
    assert run("sample", "fetch.licence=", "fetch.attribution=").returncode == 0
    fetch = params.load(Params, tmp_path / "params.yaml").fetch
    assert (fetch.source, fetch.licence, fetch.attribution) == ("sample", "", "")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("2024-05-01", "datetime.date(2024, 5, 1): input should be a valid string: write it in quotes, '2024-05-01'"),
        ("1234", "1234: input should be a valid string: write it in quotes, '1234'"),
        ("~", "None: input should be a valid string: write it in quotes, like '~'"),
        ("[a]", "['a']: input should be a valid string"),
    ],
)  # fmt: skip
def test_a_path_that_yaml_takes_for_something_else_asks_for_quotes(written, said, root, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text((root / "params.yaml").read_text().replace("  source: sample ", f"  source: {written} "))
    with pytest.raises(UserError) as raised:
        params.load(Params, path)
    assert str(raised.value).endswith(f"fetch.source = {said}")


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


# As in version 7b9b9a6, and as a user has made them: values, a comment and a list of their own.
AUGMENT = """  workers: 3                   # processes, ≥ 0; 0 = one per core; does not change the result
  engine: beam                 # local | beam: Apache Beam, also on a cluster
"""
SERVE = """  # What follows changes no result, so nothing runs again for it: `make deploy` and `make api` read it.
  min_map50: 0.35              # 0..1; a model with less test mAP@50 is not deployed
  # agreed with the growers in May
  api_rate: 2  # per second
  api_origins:
    # two pages
    - https://one.example  # the shop
# which may move

    - https://two.example
"""


def as_earlier(text: str) -> str:
    """The committed params.yaml with the keys that 7b9b9a6 had, those of AUGMENT and SERVE set by a user."""
    before, serve, runner = (*text.partition("\nserve:")[::2], "")
    serve, _, runner = serve.partition("\nrunner:")
    own = ("min_map50", "api_rate", "api_origins")
    rest = [line for line in serve.splitlines()[1:] if line.strip() and line.split(":")[0].strip() not in own]
    before = before.replace("\n\nmodel:", f"\n{AUGMENT}\nmodel:")
    runner = "".join(line for line in runner.splitlines(keepends=True) if not line.startswith("  augment_"))
    return f"{before}{SERVE}" + "\n".join(rest) + f"\n\nrunner:{runner}"


def test_a_file_of_an_earlier_version_is_brought_to_the_names_of_now(run, root, tmp_path):
    path, committed = tmp_path / "params.yaml", (root / "params.yaml").read_text()
    path.write_text(as_earlier(committed))
    before = dict(flat(params.read(path)))
    done = run("sample")
    assert done.returncode == 1 and "python scripts/recipe.py --migrate" in done.stdout
    done = run("--migrate")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[0] == "augment.workers is runner.augment_workers now"
    assert done.stdout.count(" now\n") == len(Params.MOVED)
    assert flat(params.read(path)) == {Params.MOVED.get(key, key): value for key, value in before.items()}
    text = path.read_text()
    own = SERVE.replace("\n# which", "\n  # which")
    assert own in text.partition("\nserve:")[2], "order, comments and the way it is written go with the keys"
    assert "  augment_workers: 3           # processes, " in text, "the comment stays in its column"
    assert re.search(r"shard_mb.*\n\nmodel:", text) and re.search(r"target: none .*\n\nserve:  ", text)
    assert not set(committed.partition("\nserve:")[0].splitlines()) - set(text.splitlines()), "all else is as it was"
    done = run("--migrate")
    assert (done.returncode, path.read_text()) == (0, text)
    assert done.stdout.startswith("params.yaml has no key of an earlier version\n")
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("runner:  ", "serve:\n  min_map50: 0.2\nrunner:  "),
            "both deploy.min_map50 = 0.35 and serve.min_map50 = 0.2",
        ),
        (("lr: 0.1 ", "lr: 0 "), "lr = 0: input should be greater than 0"),
        ((AUGMENT, "  ? workers\n  : 3\n  engine: local\n"), "not written with each key on a line of its own"),
    ],
)
def test_a_file_that_cannot_be_brought_to_the_names_of_now_stays(run, root, tmp_path, change, said):
    path = tmp_path / "params.yaml"
    path.write_text(as_earlier((root / "params.yaml").read_text()).replace(*change))
    before = path.read_bytes()
    done = run("--migrate")
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert said in done.stdout
    assert path.read_bytes() == before


def test_a_section_in_braces_is_left_to_its_writer():
    text = "seed: 1\nlr: 1\naugment: {size: 64, workers: 2}\nrunner:\n  kind: local\n"
    with pytest.raises(UserError, match=r"params\.yaml: augment is not written with each key on a line of its own"):
        migration.migrate(text, Params.MOVED)


def test_a_key_under_both_names_with_one_value_is_kept_once():
    text = "augment:\n  size: 64\n  workers: 2\n\nrunner:\n    augment_workers: 2  # mine"
    moved = migration.migrate(text, Params.MOVED)
    assert moved == (
        "augment:\n  size: 64\n\nrunner:\n    augment_workers: 2  # mine\n",
        ["augment.workers is runner.augment_workers now"],
    )
