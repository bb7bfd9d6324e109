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


@pytest.fixture(scope="module")
def updated(earlier) -> Path:
    """The same after the commands that CHANGELOG.md gives for an update; `log` beside it names the stages that ran."""
    merged = small_repo.run(earlier, "git", "merge", "-q", "update", check=False)
    assert merged.returncode == 1 and "params.yaml" in merged.stdout and "dvc.lock" in merged.stdout
    refused = script_runner.run(earlier, "python", "scripts/recipe.py", "--migrate", check=False)
    assert "params.yaml has a merge conflict: keep one side" in refused.stdout
    told = type_commands(earlier, 0, TINY_LOG=str(earlier.with_name("log")))
    assert "deploy.min_map50 is serve.min_map50 now" in told
    return earlier


@pytest.fixture
def repository(updated, tmp_path) -> Path:
    return shutil.copytree(updated, tmp_path / "repository", symlinks=True)


def type_commands(folder: Path, block: int, **extra: str) -> str:
    """Run the commands of a block in CHANGELOG.md's section on updates; returns what they print."""
    text = (small_repo.ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("### Updating a repository")[2]
    commands = re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[block]
    return small_repo.run(folder, "bash", "-e", "-c", commands, **extra).stdout


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.full
def test_an_update_runs_train_again_and_keeps_own_params(updated):
    assert "train lr=0.1" in updated.with_name("log").read_text()
    params = revisions.find(root=updated).params
    assert params["serve.min_map50"] == 0.1 and params["runner.augment_workers"] == 1
    assert small_repo.git(updated, "status", "--porcelain") == ""


@pytest.mark.full
def test_an_experiment_made_before_is_listed_and_runs_with_the_code_of_now(repository, tmp_path):
    rows = script_runner.run(repository, "dvc", "exp", "show", "-A", "--csv").stdout
    assert f"\n{EXPERIMENT}," in rows
    log = tmp_path / "log"
    type_commands(repository, 1, TINY_LOG=str(log))
    ran = [line.rpartition(" ")[0] for line in log.read_text().splitlines()]
    assert ran == ["train lr=0.2", "evaluate lr=0.2", "deploy lr=0.2"]
    assert not (repository / "src/plantdoc/feed.py").exists()  # it is code of then
    then = revisions.find(EXPERIMENT, repository)
    script_runner.run(repository, "dvc", "get", ".", WEIGHTS, "--rev", then.commit, "-o", "then.h5")
    assert md5(repository / WEIGHTS) == md5(repository / "then.h5")


@pytest.mark.full
def test_a_version_made_before_is_fetched_traced_served_and_followed_by_the_next(repository, monkeypatch):
    script_runner.run(repository, "dvc", "artifacts", "get", ".", "detector", "--rev", "v1.0.0", "-o", "got")
    checked = script_runner.run(repository, "python", "scripts/trace.py", "got", "--check").stdout
    assert [line.split(maxsplit=1)[1] for line in checked.splitlines() if line.startswith("check")] == [
        "same: 2 files, against dvc.lock",
        "same: params and seed",
        "same: code of the train stage",
        "same: requirements.txt",
        "same: data/tfrecords",
    ]
    monkeypatch.chdir(repository)
    served = bundles.find(VERSION)
    assert served.version == VERSION and served.classes == ["apple scab", "corn rust"]

    script_runner.run(repository, "dvc", "exp", "run", "--temp", "-n", "new-try", "-S", "lr=0.2")
    promoted = script_runner.run(repository, "python", "scripts/promote.py", "train:val_map50").stdout
    assert "new-try has the highest train:val_map50 of 2" in promoted and "detector@v1.1.0 is commit" in promoted
    listed = script_runner.run(repository, "python", "scripts/models.py").stdout
    assert VERSION in listed and "detector@v1.1.0" in listed
