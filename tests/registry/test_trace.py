"""Which revision made a model: found by its hash in git's history, and its own record held against that revision."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import fake_repo
import folder_deps
import pytest
import script_runner
import small_repo
from ruamel.yaml import YAML

from plantdoc.core import hashing, params
from plantdoc.core.errors import UserError
from plantdoc.deploy import bundle
from plantdoc.registry import provenance, shipped
from plantdoc.repo import dvc_hash, revisions
from plantdoc.train import lineage, train_params


def commit(folder: Path, message: str) -> str:
    """Commit everything; returns the commit's id as trace.py prints it."""
    small_repo.git(folder, "add", "-A")
    small_repo.git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return small_repo.git(folder, "rev-parse", "HEAD").strip()[:10]


def trace(folder: Path, *arguments: str | Path, check: bool = True) -> str:
    """What trace.py prints; `check=False` expects it to refuse."""
    done = script_runner.run(folder, "python", "scripts/trace.py", *map(str, arguments), check=check)
    assert done.returncode == (0 if check else 1), done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def lines(text: str, title: str) -> list[str]:
    """The values that were printed under a title."""
    return [line[11:] for line in text.splitlines() if line.startswith(f"{title:<11}")]


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> Path:
    """A repository whose first commit with results made lr = 0.1, and a later one lr = 0.3.

    Between them lie a commit that changes nothing of the model, and a version's tag.
    """
    folder = tmp_path_factory.mktemp("history")
    fake_repo.make(folder)
    for name, more in {"train": fake_repo.RECORD, "deploy": fake_repo.PACK}.items():
        path = folder / f"src/{name}.py"
        path.write_text(path.read_text() + more)
    (folder / ".dvc/config").write_text("[cache]\n    type = copy\n")
    commit(folder, "record what a model is made from")
    script_runner.run(folder, "dvc", "repro")
    commit(folder, "first results")
    small_repo.git(folder, "tag", "-a", "detector@v1.0.0", "-m", "first")
    shutil.copytree(folder / "models/detector", folder.with_name("first"))
    (folder / "NOTES").write_text("nothing of the model\n")
    commit(folder, "a note")
    small_repo.set_params(folder, lr=0.3)
    script_runner.run(folder, "dvc", "repro")
    commit(folder, "another rate")
    return folder


@pytest.fixture
def repository(history, tmp_path) -> Path:
    """A copy to be changed."""
    return shutil.copytree(history, tmp_path / "repository", symlinks=True)


@pytest.fixture(scope="module")
def lately(history) -> Path:
    """A copy with a model at lr = 0.7, made and not committed."""
    folder = shutil.copytree(history, history.with_name("lately"), symlinks=True)
    small_repo.set_params(folder, lr=0.7)
    script_runner.run(folder, "dvc", "repro")
    return folder


@pytest.fixture
def retrained(lately, tmp_path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(lately, tmp_path / "retrained", symlinks=True)


@pytest.fixture(scope="module")
def first(history) -> Path:
    """The first model, outside of the repository."""
    return history.with_name("first")


def commits(folder: Path) -> dict[str, str]:
    """Message → id as trace.py prints it."""
    rows = (line.partition(" ") for line in small_repo.git(folder, "log", "--all", "--format=%H %s").splitlines())
    return {message: commit[:10] for commit, _, message in rows}


def test_hashes_are_those_of_dvc(history):
    lock = revisions.find(root=history)
    outs = ["data/raw", "data/tfrecords", "models/detector", "models/bundle", "results/evaluate/predictions.json"]
    assert [dvc_hash.of(history / out) for out in outs] == [lock.md5(out) for out in outs]


@pytest.mark.full
def test_a_folder_with_folders_and_odd_names_has_the_hash_that_dvc_gives_it(repository):
    folder = repository / "models/odd"
    for name in ("b/deep/x", "a", "b.txt", "Übung 1", "b-1"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    folder_deps.leave_ignored(folder)
    script_runner.run(repository, "dvc", "add", "models/odd")
    assert f"md5: {dvc_hash.of(folder)}\n" in (repository / "models/odd.dvc").read_text()


def rule_of_7b9b9a6(folder: Path, listed: list[str]) -> dict:
    """The record of a model then: the hash over the deps that end with .py, and that of the one lock there was."""
    code = [dep for dep in listed if dep.endswith(".py")]
    data = [dep for dep in listed if dep not in code]
    values = YAML(typ="safe").load(folder / "params.yaml")
    return {
        **{name: values[name] for name in ("seed", "lr", "model", "train")},
        "data": {dep: hashing.of_files([folder / dep], root=folder / dep) for dep in data},
        "code": hashing.of_files([folder / dep for dep in code], root=folder),
        "environment": hashing.of_file(folder / "requirements.txt"),
        "weights": None,
    }


def test_models_of_all_forms_of_the_record_are_proved(tmp_path, monkeypatch):
    """Of 7b9b9a6; of later commits, where the lock has a name; and of a commit where the code lies in folders."""
    files = ["src/train.py", "src/room/__init__.py", "src/room/feed.py", "data/tfrecords"]
    folder = folder_deps.make(tmp_path / "clone", files)
    first = rule_of_7b9b9a6(folder, files)
    second = first | {"environment": {"requirements-train.txt": hashing.of_file(folder / "requirements-train.txt")}}
    made = {}

    def train(name: str, record: dict) -> None:
        folder_deps.train(folder, record, weights=name)
        shutil.copytree(folder / "models/detector", tmp_path / name)
        made[name] = folder_deps.commit(folder, name)

    train("first", first)
    train("second", second)
    monkeypatch.chdir(folder)
    folder_deps.list_deps(folder, folder_deps.DEPS)
    folder_deps.commit(folder, "folders")
    train("third", lineage.made_from("train", params.load(train_params.Params), None, gpu=False))
    folder_deps.write(folder / "src/room/feed.py", "BATCH = 9\n")
    (folder / "src/room/__init__.py").unlink()
    folder_deps.write(folder / "requirements-train.txt", "one==2.0\n")
    folder_deps.commit(folder, "other code, not trained")
    for name, commit in made.items():
        model = shipped.read(tmp_path / name)
        maker = provenance.holders(model.md5, folder)[0]
        assert maker.commit == commit
        lock = "requirements.txt" if name == "first" else "requirements-train.txt"
        found = list(provenance.compare(model, maker))
        assert found == [
            ("same", "params and seed"),
            ("same", "code of the train stage"),
            ("same", lock),
            ("same", "data/tfrecords"),
        ]
        assert provenance.code(provenance.claimed(model.made_from, folder), "train") == model.made_from["code"]
    changed = revisions.find("HEAD", folder)
    verdicts = dict(reversed(one) for one in provenance.compare(shipped.read(tmp_path / "third"), changed))
    assert verdicts["code of the train stage"] == "differs"


def test_the_oldest_commit_that_holds_a_model_made_it(history, first):
    text = trace(history, first)
    ids = commits(history)
    assert lines(text, "made by")[0].startswith(f"commit {ids['first results']} (")
    assert "first results" in lines(text, "made by")[0]
    assert lines(text, "version") == ["detector@v1.0.0"]
    assert lines(text, "also in") == ["detector@v1.0.0", "1 more commit"]
    assert lines(text, "again") == [f"git checkout {ids['first results']} && dvc repro"]


def test_params_data_and_scores_are_those_of_the_model_and_not_of_the_workspace(history, first):
    text = trace(history, first)
    made = revisions.find("detector@v1.0.0", history)
    assert {"lr = 0.1", "seed = 42", "train.epochs = 3", "augment.size = 64", "fetch.limit = 24"} <= set(
        lines(text, "param")
    )
    assert not [line for line in lines(text, "param") if line.startswith(("evaluate", "deploy"))]
    assert lines(text, "data") == [f"{out} {made.md5(out)}" for out in ("data/raw", "data/tfrecords")]
    # By tiny's formula at lr = 0.1 and three epochs.
    assert lines(text, "score") == [
        "val mAP@50 0.540, mAP 0.270 (epoch 1 of 1)",
        "test mAP@50 0.486 (0.446–0.526), mAP 0.243",
    ]


def test_a_model_of_the_workspace_that_is_committed_is_said_to_be_in_both(history):
    text = trace(history, "models/detector")
    assert "another rate" in lines(text, "made by")[0]
    assert lines(text, "also in") == ["main", "workspace"]
    assert "lr = 0.3" in lines(text, "param")


@pytest.mark.full
def test_an_experiment_is_found_by_its_model_and_makes_it_again(repository):
    base = commits(repository)["a note"]
    small_repo.git(repository, "checkout", "-q", base)
    script_runner.run(repository, "dvc", "exp", "run", "--temp", "-n", "fast", "-S", "lr=0.2")
    small_repo.git(repository, "checkout", "-q", "main")
    script_runner.run(repository, "dvc", "exp", "apply", "fast")
    copy = shutil.copytree(repository / "models/detector", repository / "copy")
    wanted = dvc_hash.of(copy)
    small_repo.git(repository, "checkout", "-q", "-f", "main")
    script_runner.run(repository, "dvc", "checkout")
    text = trace(repository, "copy", "--check")
    assert lines(text, "made by")[0].startswith("experiment fast (")
    assert lines(text, "also in") == []
    [again] = lines(text, "again")
    assert again == f"git checkout {base} && dvc exp apply fast && dvc repro"
    small_repo.run(repository, "bash", "-c", f"rm -r copy models && git checkout models && {again}")
    assert dvc_hash.of(repository / "models/detector") == wanted


def test_a_model_that_only_the_workspace_has_is_found(lately):
    text = trace(lately, "models/detector", "--check")
    assert lines(text, "made by") == ["the workspace; its dvc.lock is not committed"]
    assert "lr = 0.7" in lines(text, "param")
    assert lines(text, "again") == ["dvc repro"]


@pytest.mark.parametrize("form", ["folder", "archive under another name", "unpacked"])
def test_a_bundle_is_traced_in_each_form(history, tmp_path, form):
    archive = history / "models/bundle/model.tar.gz"
    path = {"folder": archive.parent, "unpacked": tmp_path / "unpacked"}.get(form, tmp_path / "downloaded.tar.gz")
    if form == "unpacked":
        bundle.unpack(archive, path)
    elif form != "folder":
        shutil.copy(archive, path)
    text = trace(history, path, "--check")
    made = revisions.find("main", history)
    assert lines(text, "model") == [f"models/bundle {made.md5('models/bundle')}"]
    assert "another rate" in lines(text, "made by")[0]
    assert f"models/detector {made.md5('models/detector')}" in lines(text, "data")
    assert "same: code of the train stage" in lines(text, "check")


def test_check_says_what_it_compared(history):
    assert lines(trace(history, "models/detector", "--check"), "check") == [
        "same: 2 files, against dvc.lock",
        "same: params and seed",
        "same: code of the train stage",
        "same: requirements-train.txt",
        "same: data/tfrecords",
    ]


def test_check_holds_an_older_model_against_its_own_commit(repository, first):
    (repository / "src/train.py").write_text("raise SystemExit\n")
    commit(repository, "other code")
    verdicts = lines(trace(repository, first, "--check"), "check")
    assert "same: code of the train stage" in verdicts
    assert "same: params and seed" in verdicts


@pytest.mark.full
def test_a_fresh_clone_with_the_pulled_model_is_enough(repository, tmp_path):
    storage = tmp_path / "storage"
    script_runner.run(repository, "dvc", "remote", "add", "-d", "storage", str(storage))
    commit(repository, "a remote")
    script_runner.run(repository, "dvc", "push")
    small_repo.git(tmp_path, "clone", "-q", str(repository), "clone")
    clone = tmp_path / "clone"
    script_runner.run(clone, "dvc", "pull", "train", "deploy")
    for model in ("models/detector", "models/bundle"):
        text = trace(clone, model, "--check")
        assert "another rate" in lines(text, "made by")[0]
        assert {"main", "origin/main", "workspace"} <= set(lines(text, "also in"))
        [unchecked] = [line for line in lines(text, "check") if line.startswith("not checked")]
        assert "data/tfrecords is not here" in unchecked


@pytest.mark.full
def test_data_of_another_revision_is_not_taken_for_the_models_own(repository, first):
    small_repo.set_params(repository, augment__size=96)
    script_runner.run(repository, "dvc", "repro", "augment")
    verdicts = lines(trace(repository, first, "--check"), "check")
    assert "not checked: data/tfrecords here is that of another revision" in verdicts


def test_another_lock_of_packages_at_that_commit_is_a_note_and_no_failure(retrained):
    with open(retrained / "requirements-train.txt", "a") as file:
        file.write("# newer\n")
    commit(retrained, "a newer lock, with the model of the older one")
    verdicts = lines(trace(retrained, "models/detector", "--check"), "check")
    assert [line for line in verdicts if line.startswith("note: requirements-train.txt is another")]


def test_check_fails_where_the_commit_has_other_params_than_the_model(retrained):
    small_repo.set_params(retrained, train__epochs=9)
    commit(retrained, "not what was run")
    told = trace(retrained, "models/detector", "--check", check=False)
    assert "train.epochs is 3 in the model and 9 in params.yaml" in told.splitlines()[-1]


def test_check_fails_where_the_commit_has_other_code_than_the_model(retrained):
    with open(retrained / "src/train.py", "a") as file:
        file.write("# changed after the training\n")
    commit(retrained, "not what was run")
    told = trace(retrained, "models/detector", "--check", check=False)
    assert "differs: code of the train stage" in told
    assert "; " not in told.splitlines()[-1].partition("does not agree")[2]


@pytest.mark.full
def test_check_fails_where_stages_of_the_lock_do_not_fit_together(history, tmp_path):
    folder = shutil.copytree(history, tmp_path / "alone", symlinks=True)
    small_repo.set_params(folder, augment__size=96)
    script_runner.run(folder, "dvc", "repro", "augment")
    shutil.rmtree(folder / ".git")
    small_repo.git(folder, "init", "-q", "-b", "main")
    commit(folder, "records of one size, a model of another")
    told = trace(folder, "models/detector", "--check", check=False)
    assert "dvc.lock: stage train read another data/tfrecords than is there" in told.splitlines()[-1]


@pytest.mark.parametrize("name", ["config.json", pytest.param("detector.weights.h5", marks=pytest.mark.full)])
def test_a_changed_byte_is_noticed_and_its_file_named(repository, name):
    path = repository / "models/detector" / name
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b"corn", b"Corn") if name == "config.json" else content[:-1] + bytes([content[-1] ^ 1])
    )
    for more in ([], ["--check"]):
        told = trace(repository, "models/detector", *more, check=False)
        assert f"{name} differs" in told
        assert "another rate" in told
        assert "dvc checkout models/detector" in told
    script_runner.run(repository, "dvc", "checkout", "--force", "models/detector")
    trace(repository, "models/detector", "--check")


def test_a_changed_byte_is_noticed_where_the_cache_does_not_tell_the_file(repository):
    path = repository / "models/detector/detector.weights.h5"
    path.write_bytes(b"x" + path.read_bytes()[1:])
    shutil.rmtree(repository / ".dvc/cache")
    told = trace(repository, "models/detector", "--check", check=False)
    assert "another rate" in told
    assert "dvc fetch models/detector" in told


def test_a_damaged_bundle_is_noticed(repository):
    archive = repository / "models/bundle/model.tar.gz"
    archive.write_bytes(archive.read_bytes()[:5000])
    assert "is damaged" in trace(repository, "models/bundle", "--check", check=False)


def test_a_bundle_whose_config_is_a_folder_is_refused(tmp_path):
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        folder = tarfile.TarInfo("config.json")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    with pytest.raises(UserError, match="no `made_from` that can be read"):
        _ = shipped.read(archive).made_from


def test_a_model_of_nowhere_tells_its_hash_and_what_was_searched(history, first, tmp_path):
    copy = shutil.copytree(first, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["made_from"]["train"]["epochs"] = 99
    (copy / "config.json").write_text(json.dumps(config))
    told = trace(history, copy, check=False)
    assert dvc_hash.of(copy) in told
    assert f"{len(provenance.commits(history))} commits, 0 experiments and the workspace" in told
    assert "git fetch --all --tags" in told and "dvc exp pull" in told


def test_a_shallow_clone_says_that_it_knows_a_part_of_the_history(history, first, tmp_path):
    small_repo.git(tmp_path, "clone", "-q", "--depth", "1", f"file://{history}", "clone")
    assert "git fetch --unshallow" in trace(tmp_path / "clone", first, check=False)
    shutil.copytree(history / "models/detector", tmp_path / "clone/models/detector")
    assert "git fetch --unshallow" in lines(trace(tmp_path / "clone", "models/detector"), "note")[0]


def test_what_is_no_model_is_refused(history, tmp_path):
    assert "nowhere is not there" in trace(history, "nowhere", check=False)
    assert "data/raw holds no model" in trace(history, "data/raw", check=False)
    assert "README.md is no model" in trace(history, "README.md", check=False)


def test_outside_of_a_repository_it_says_so(history, first, tmp_path):
    script = history / "scripts/trace.py"
    done = small_repo.run(
        tmp_path, "python", str(script), str(first), check=False, GIT_CEILING_DIRECTORIES=str(tmp_path)
    )
    assert done.returncode == 1
    assert "is in no git repository" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_lock_that_nobody_can_read_is_no_obstacle(repository, first):
    (repository / "dvc.lock").write_text("<<<<<<< HEAD\n" + (repository / "dvc.lock").read_text())
    commit(repository, "conflict committed by mistake")
    assert "first results" in lines(trace(repository, first), "made by")[0]


def test_it_starts_without_tensorflow(history):
    code = (
        "import sys, runpy; sys.argv = ['trace.py', 'models/detector', '--check']\n"
        "try: runpy.run_path('scripts/trace.py', run_name='__main__')\n"
        "except SystemExit: raise\n"
        "sys.exit(', '.join({'tensorflow', 'keras', 'dvc', 'wandb'} & set(sys.modules)) or 0)"
    )
    assert small_repo.run(history, "python", "-c", code).returncode == 0


@pytest.mark.slow
def test_a_thousand_commits_are_searched(repository, first):
    """Each with a dvc.lock of its own; git's own importer makes them."""
    lock = (repository / "dvc.lock").read_text()
    head = small_repo.git(repository, "rev-parse", "HEAD").strip()
    stream = []
    for i in range(1000):
        content = f"{lock}# {i}\n"
        size = len(content.encode())
        stream.append(
            f"commit refs/heads/long\ncommitter T <t@example.org> {1_900_000_000 + i} +0000\ndata 1\nx\n"
            + (f"from {head}\n" if i == 0 else "")
            + f"M 100644 inline dvc.lock\ndata {size}\n{content}\n"
        )
    (repository / "stream").write_text("".join(stream))
    small_repo.run(repository, "bash", "-c", "git fast-import --quiet < stream")
    text = trace(repository, "models/detector")
    assert "999 more commits" in lines(text, "also in")  # the last one is named, by its branch
    assert "another rate" in lines(text, "made by")[0]
    assert provenance.output(revisions.find("long", repository), shipped.read(repository / "models/detector").md5)
