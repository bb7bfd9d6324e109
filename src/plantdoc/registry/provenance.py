"""Provenance of a model: the revisions whose dvc.lock holds its hash, and whether its own record agrees with them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from plantdoc.core import git, hashing, stage_deps, workspace
from plantdoc.core.errors import UserError
from plantdoc.core.flatten import flat
from plantdoc.registry.shipped import Model
from plantdoc.repo import dvc_hash, revisions
from plantdoc.repo.revisions import Revision
from plantdoc.train.lineage import PARAMS

_WHOLE = "requirements.txt"  # the one lock that there was until 7b9b9a6; records of then have its hash alone
_AT_ONCE = 5000  # commits in one command line


def root() -> Path:
    """The root of the git clone that the current directory is in.

    Raises:
        UserError: it is in none.
    """
    done = git.run("rev-parse", "--show-toplevel")
    said = done.stderr.decode(errors="replace")
    if "safe.directory" in said:  # the repository of another user: git says so, and what to do
        raise UserError(said.strip())
    if done.returncode:
        raise UserError(f"{Path.cwd()} is in no git repository, and the history is what is searched: run it in a clone")
    return Path(os.fsdecode(done.stdout).strip())


def is_shallow(root: Path) -> bool:
    """Whether the clone has a part of the history alone."""
    return git.text("rev-parse", "--is-shallow-repository", root=root) == "true"


def commits(root: Path) -> list[Revision]:
    """All commits of all branches and tags, oldest first; without those of experiments and stashes."""
    options = ("--reverse", "--date-order", "--exclude=refs/exps/*", "--exclude=refs/stash", "--all")
    ids = git.text("rev-list", *options, root=root).splitlines()
    return [Revision(root, commit[:10], commit) for commit in ids]


def holders(md5: str, root: Path) -> list[Revision]:
    """Revisions whose dvc.lock has an output of this hash: commits, oldest first, experiments, the workspace."""
    recorded = [*commits(root), *revisions.experiments(root)]
    ids = [revision.commit for revision in recorded]
    found = set()
    for start in range(0, len(ids), _AT_ONCE):
        searched = ids[start : start + _AT_ONCE]
        listed = git.text("grep", "-l", "-F", "-e", md5, *searched, "--", "dvc.lock", root=root, empty_code=1)
        found |= {line.partition(":")[0] for line in listed.splitlines()}
    holding = [revision for revision in recorded if revision.commit in found]
    here = revisions.find(root=root)
    if md5.encode() in (here.read("dvc.lock") or b""):
        holding.append(here)
    # A lock that merely reads such an output, or that nobody can read, made nothing.
    while holding and not output(holding[0], md5):
        holding.pop(0)
    return holding


def output(revision: Revision, md5: str) -> str | None:
    """The path of the output that has this hash in a revision's dvc.lock."""
    try:
        stages = revision.lock
    except YAMLError:
        return None
    outs = [out for stage in stages.values() for out in stage.get("outs", ())]
    return next((out["path"] for out in outs if out.get("md5") == md5), None)


def upstream(lock: dict[str, dict], out: str | None) -> list[str]:
    """The stages that led to an output, first to last, its own included; none where there is no output."""
    makers = {entry["path"]: name for name, stage in lock.items() for entry in stage.get("outs", ())}
    names: list[str] = []

    def visit(path: str | None) -> None:
        if (name := makers.get(path)) and name not in names:
            for dep in lock[name].get("deps", ()):
                visit(dep["path"])
            names.append(name)

    visit(out)
    return names


def claimed(made_from: dict, root: Path) -> Revision | None:
    """The oldest revision with the params and code that a model says it was made from, the workspace last."""
    recorded = [*commits(root), *revisions.experiments(root)]
    # Commits that share these three give the same answer: each set is looked at once.
    names = [f"{revision.commit}:{path}" for revision in recorded for path in ("params.yaml", "dvc.yaml", "src")]
    listed = git.text("cat-file", "--batch-check=%(objectname)", root=root, input="\n".join(names).encode())
    ids = listed.splitlines()
    seen = set()
    for i, revision in enumerate(recorded):
        state = tuple(ids[3 * i : 3 * i + 3])
        if state in seen:
            continue
        seen.add(state)
        if not other_params(made_from, revision) and code(revision, "train") == made_from.get("code"):
            return revision
    here = revisions.find(root=root)
    known = not other_params(made_from, here) and code(here, "train") == made_from.get("code")
    return here if known else None


def other_params(made_from: dict, revision: Revision) -> list[str]:
    """The params in which a revision's params.yaml is another than what a model was made with, as a person reads it."""
    mine = flat({key: made_from[key] for key in PARAMS if key in made_from})
    theirs = {key: value for key, value in _params(revision).items() if key.split(".")[0] in PARAMS}
    missing = "nothing"
    return [
        f"{key} is {mine.get(key, missing)} in the model and {theirs.get(key, missing)} in params.yaml"
        for key in [*mine, *(key for key in theirs if key not in mine)]
        if mine.get(key, missing) != theirs.get(key, missing)
    ]


def code(revision: Revision, stage: str) -> str | None:
    """The hash that plantdoc.train.lineage gives a stage's code, of a revision's files; None where a dep is not there.

    The deps are those of the revision's own dvc.yaml, files until the code was put into folders: a record holds the
    hash over the same files in both cases.
    """
    try:
        pipeline = YAML(typ="safe").load(revision.read("dvc.yaml") or b"") or {}
    except YAMLError:
        return None
    listed = stage_deps.code(pipeline.get("stages", {}).get(stage, {}).get("deps", ()))
    files = revision.files(listed)
    if any(dep not in files and not any(name.startswith(f"{dep}/") for name in files) for dep in listed):
        return None
    return hashing.of_value(sorted((name, hashlib.sha256(text).hexdigest()) for name, text in files.items()))


def stale(revision: Revision, stage: str) -> list[str]:
    """The outputs that a stage read in another state than the one in a revision's dvc.lock."""
    read = {dep["path"]: dep["md5"] for dep in revision.lock[stage].get("deps", ())}
    return [path for path, md5 in read.items() if revision.md5(path) not in (None, md5)]


def compare(model: Model, revision: Revision) -> Iterator[tuple[str, str]]:
    """Hold a model against the revision that made it, as (verdict, what was compared).

    Verdicts: `same`, `differs`, `note` (it differs, and DVC does not count it), `not checked`.
    """
    for stage in upstream(revision.lock, output(revision, model.md5)):
        for path in stale(revision, stage):
            yield "differs", f"dvc.lock: stage {stage} read another {path} than is there"
    made_from = model.made_from
    differing = other_params(made_from, revision)
    yield ("differs", "; ".join(differing)) if differing else ("same", "params and seed")
    yield "same" if code(revision, "train") == made_from.get("code") else "differs", "code of the train stage"
    yield from compare_environment(made_from, revision)
    for path, sha256 in sorted(made_from.get("data", {}).items()):
        yield _compare_data(path, sha256, revision)
    if made_from.get("weights"):
        yield _compare_weights(made_from["weights"], revision)


def compare_environment(made_from: dict, revision: Revision) -> Iterator[tuple[str, str]]:
    """Hold the locks that a model says it was trained with against those of a revision."""
    found = made_from.get("environment")
    for lock, sha256 in (found if isinstance(found, dict) else {_WHOLE: found}).items():
        text = revision.read(lock)
        if text is not None and hashlib.sha256(text).hexdigest() == sha256:
            yield "same", lock
        else:
            yield "note", f"{lock} is another than the model was trained with; a new lock alone retrains nothing"


def _compare_data(path: str, sha256: str, revision: Revision) -> tuple[str, str]:
    folder = revision.root / path
    if not folder.exists():
        return "not checked", f"{path} is not here: `dvc pull {path}` brings what the checked out commit has"
    if dvc_hash.of(folder) != revision.md5(path):
        return "not checked", f"{path} here is that of another revision"
    return "same" if hashing.of_files([folder], root=folder) == sha256 else "differs", path


def _compare_weights(sha256: str, revision: Revision) -> tuple[str, str]:
    source = str(_params(revision).get("model.weights"))
    path = workspace.main_root(revision.root) / Path(source).expanduser()
    if not path.is_file():
        return "not checked", f"model.weights = {source} is no file here"
    return "same" if hashing.of_file(path) == sha256 else "differs", f"model.weights = {source}"


def _params(revision: Revision) -> dict[str, object]:
    try:
        return revision.params
    except YAMLError:  # as of a commit made in the middle of a merge
        return {}
