"""A repository with an experiment and a version made at 7b9b9a6 takes up the code of now, as CHANGELOG.md says.

Then, each file of code was a dep, keys of `serve` stood in `deploy`, and a model named one lock by its hash alone.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import fake_repo
import pytest
import script_runner
import small_repo
from ruamel.yaml import YAML

from plantdoc.registry import bundles
from plantdoc.repo import revisions

RECORD = """
sys.path.insert(0, "src")
from plantdoc.core import hashing
deps = YAML(typ="safe").load(Path("dvc.yaml").read_text())["stages"]["train"]["deps"]
code = [dep for dep in deps if dep.endswith(".py")]
record = {name: params[name] for name in ("seed", "lr", "model", "train")}
record |= {"data": {dep: hashing.of_files([dep], root=dep) for dep in deps if dep not in code}, "weights": None}
record |= {"code": hashing.of_files(code, root="."), "environment": hashing.of_file("requirements.txt")}
write("models/detector/config.json", {"classes": ["apple scab", "corn rust"], "made_from": record})
"""
EXPERIMENT, VERSION = "old-try", "detector@v1.0.0"
WEIGHTS = "models/detector/detector.weights.h5"


def commit(folder: Path, message: str) -> None:
    small_repo.git(folder, "add", "-A")
    small_repo.git(folder, "commit", "-q", "-m", message)


def list_train(folder: Path, deps: list[str], params: list[str]) -> None:
    """Have dvc.yaml list these deps and params of train."""
    pipeline = YAML().load(folder / "dvc.yaml")
    pipeline["stages"]["train"] |= {"deps": [*deps, "data/tfrecords"], "params": params}
    YAML().dump(pipeline, folder / "dvc.yaml")


def make_earlier(folder: Path) -> None:
    """Bring code, dvc.yaml and params.yaml from their form of now to that of 7b9b9a6."""
    train = folder / "src/train.py"
    train.write_text(train.read_text().replace(fake_repo.RECORD, RECORD))
    (folder / "src/plantdoc/feed.py").write_text("BATCH = 8\n")
    list_train(folder, ["src/train.py", "src/plantdoc/feed.py"], ["seed", "lr", "model", "train"])
    path = folder / "params.yaml"
    text = re.sub(r"\nserve:.*\n", "", path.read_text())  # its keys come next to those of `deploy`
    moved = re.findall(r"(?m)^  augment_(.*\n)", text)
    text = re.sub(r"(?m)^  augment_.*\n", "", text)
    path.write_text(text.replace("\nmodel:", "".join(f"  {line}" for line in moved) + "\nmodel:"))
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> Path:
    """The repository of then with a version and an experiment; the code of now is the branch `update`."""
    folder = fake_repo.make(tmp_path_factory.mktemp("earlier") / "repository")
    for name, more in {"train": fake_repo.RECORD, "deploy": fake_repo.PACK}.items():
        path = folder / f"src/{name}.py"
        path.write_text(path.read_text() + more)
    list_train(folder, ["src/train.py", "src/plantdoc/train"], ["seed", "lr", "model", "model.size", "train"])
    (folder / "dvc.lock").write_text("# of now\nschema: '2.0'\nstages: {}\n")
    commit(folder, "now")
    now = small_repo.git(folder, "rev-parse", "HEAD^{tree}").strip()
    make_earlier(folder)
    small_repo.git(folder, "checkout", "-q", "--orphan", "own")
    commit(folder, "earlier")
    update = small_repo.git(folder, "commit-tree", now, "-p", "HEAD", "-m", "now").strip()
    small_repo.git(folder, "branch", "update", update)
    small_repo.set_params(folder, deploy__min_map50=0.1)
    script_runner.run(folder, "dvc", "repro")
    commit(folder, "results")
    small_repo.git(folder, "tag", "-a", VERSION, "-m", "first")
    script_runner.run(folder, "dvc", "exp", "run", "--temp", "-n", EXPERIMENT, "-S", "lr=0.2")
    return folder


@pytest.fixture
def repository(earlier, tmp_path) -> Path:
    return shutil.copytree(earlier, tmp_path / "repository", symlinks=True)


def recipe(folder: Path, *options: str, check: bool = True) -> str:
    return script_runner.run(folder, "python", "scripts/recipe.py", *options, check=check).stdout


def update(folder: Path) -> None:
    """Merge the code of now, as CHANGELOG.md says."""
    merged = small_repo.run(folder, "git", "merge", "-q", "update", check=False)
    assert merged.returncode == 1 and "params.yaml" in merged.stdout and "dvc.lock" in merged.stdout
    assert "params.yaml has a merge conflict: keep one side" in recipe(folder, "--migrate", check=False)
    small_repo.git(folder, "checkout", "--ours", "params.yaml", "dvc.lock", "results")
    assert "deploy.min_map50 is serve.min_map50 now" in recipe(folder, "--migrate")
    commit(folder, "update")


def run_of(folder: Path, log: Path) -> list[str]:
    """Run `dvc repro`; returns the stages that ran, each with the learning rate."""
    script_runner.run(folder, "dvc", "repro", TINY_LOG=str(log))
    return [line.rpartition(" ")[0] for line in log.read_text().splitlines()]


@pytest.mark.full
def test_an_experiment_made_before_is_listed_and_runs_with_the_code_of_now(repository, tmp_path):
    update(repository)
    rows = script_runner.run(repository, "dvc", "exp", "show", "-A", "--csv").stdout
    assert f"\n{EXPERIMENT}," in rows
    script_runner.run(repository, "dvc", "exp", "apply", EXPERIMENT)
    then = hashlib.md5((repository / WEIGHTS).read_bytes()).hexdigest()
    assert (repository / "src/plantdoc/feed.py").exists()  # the code of then has come, too
    small_repo.git(repository, "stash", "--include-untracked")
    small_repo.git(repository, "checkout", "stash@{0}", "--", "params.yaml")
    recipe(repository, "--migrate")
    assert not (repository / "src/plantdoc/feed.py").exists()
    assert revisions.find(root=repository).params["serve.min_map50"] == 0.1
    assert "train lr=0.2" in run_of(repository, tmp_path / "log")
    assert hashlib.md5((repository / WEIGHTS).read_bytes()).hexdigest() == then


@pytest.mark.full
def test_a_version_made_before_is_fetched_traced_served_and_followed_by_the_next(repository, tmp_path, monkeypatch):
    update(repository)
    script_runner.run(repository, "dvc", "artifacts", "get", ".", "detector", "--rev", "v1.0.0", "-o", "got")
    checked = script_runner.run(repository, "python", "scripts/trace.py", "got", "--check").stdout
    assert [line.split(maxsplit=1)[1] for line in checked.splitlines() if line.startswith("check")] == [
        "same: 2 files, against dvc.lock",
        "same: params and seed",
        "same: code of the train stage",
        "same: requirements.txt",
        "same: data/tfrecords",
    ]
    shutil.rmtree(repository / "got")
    monkeypatch.chdir(repository)
    served = bundles.find(VERSION)
    assert served.version == VERSION and served.classes == ["apple scab", "corn rust"]

    assert "train lr=0.1" in run_of(repository, tmp_path / "log")
    commit(repository, "results of now")
    script_runner.run(repository, "dvc", "exp", "run", "--temp", "-n", "new-try", "-S", "lr=0.2")
    promoted = script_runner.run(repository, "python", "scripts/promote.py", "train:val_map50").stdout
    assert "new-try has the highest train:val_map50 of 2" in promoted and "detector@v1.1.0 is commit" in promoted
    listed = script_runner.run(repository, "python", "scripts/models.py").stdout
    assert VERSION in listed and "detector@v1.1.0" in listed
