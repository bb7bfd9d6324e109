"""Commits, experiments and the workspace, as their own files tell them; read from git without a checkout."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from plantdoc.core import git, hashing, stage_deps
from plantdoc.core.errors import UserError
from plantdoc.core.flatten import flat

WORKSPACE = "workspace"
# The files under a stage's `metrics:` that a person compares, by the name before the colon: `train:val_map50`.
METRICS = {
    "train": "results/train/metrics.json",
    "evaluate": "results/evaluate/metrics.json",
    "cost": "results/cost.json",
}
_EXPERIMENTS = "refs/exps/"
_INTERNAL = ("stash", "celery", "exec", "apply", "temp")  # refs of DVC's own beside those of experiments


@dataclass(frozen=True)
class Revision:
    """One state of the repository.

    `name` is what a person calls it: a branch, tag, commit, experiment or `workspace`; `commit` its full id, empty for
    the workspace; `base` the commit that an experiment started from, empty for others.
    """

    root: Path
    name: str
    commit: str
    base: str = ""

    def read(self, path: str) -> bytes | None:
        """A file that git tracks (in the workspace: any file), None where there is none."""
        if not self.commit:
            file = self.root / path
            return file.read_bytes() if file.is_file() else None
        done = git.run("cat-file", "blob", f"{self.commit}:{path}", root=self.root)
        return done.stdout if done.returncode == 0 else None

    def files(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Name → content of the files that git tracks at or below `paths`; a path that is not there has none.

        In the workspace a path that is itself a file counts whether or not git tracks it.
        """
        paths = list(paths)
        if not paths:
            return {}
        if not self.commit:
            folders = [path for path in paths if (self.root / path).is_dir()]
            names = [path for path in paths if (self.root / path).is_file()]
            names += [name for folder in folders for name in stage_deps.tracked(folder, self.root)]
            return {name: (self.root / name).read_bytes() for name in names}
        listed = git.text("ls-tree", "-r", "-z", self.commit, "--", *paths, root=self.root)
        entries = [entry.split("\t", 1) for entry in listed.split("\0") if entry]
        blobs = {name: about.split()[2] for about, name in entries if about.split()[1] == "blob"}
        return {
            name: content
            for name, content in zip(blobs, git.blobs(blobs.values(), self.root), strict=True)
            if not hashing.is_ignored(name)
        }

    @cached_property
    def params(self) -> dict[str, Any]:
        """params.yaml, flat: `train.epochs`; keys of earlier versions by their names now."""
        from plantdoc.settings.all_params import Params  # takes longer to import than the rest

        return {Params.MOVED.get(key, key): value for key, value in flat(self.parsed("params.yaml")).items()}

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The files of METRICS, flat: `train:val_map50`, `cost:train.minutes`."""
        found = {}
        for name, path in METRICS.items():
            found |= {f"{name}:{key}": value for key, value in flat(self.parsed(path)).items()}
        return found

    @cached_property
    def lock(self) -> dict[str, dict]:
        """dvc.lock's stages; empty where there is no lock."""
        return self.parsed("dvc.lock").get("stages") or {}

    def md5(self, out: str) -> str | None:
        """The hash that dvc.lock has for an output; a folder's ends with `.dir`."""
        for stage in self.lock.values():
            for entry in stage.get("outs", ()):
                if entry["path"] == out:
                    return entry["md5"]
        return None

    def parsed(self, path: str) -> dict:
        """The values of a YAML or JSON file, empty where there is none; raises UserError where it cannot be read."""
        text = self.read(path) or b""
        try:
            return (json.loads(text or "{}") if path.endswith(".json") else YAML(typ="safe").load(text)) or {}
        except (YAMLError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path} of {self.name} cannot be read; is there a merge conflict? {reason}") from None


def find(name: str = WORKSPACE, root: Path | str = ".") -> Revision:
    """The revision that a person names: `workspace`, an experiment, or anything git understands.

    Of experiments with one name, that on the current commit is meant, as with DVC.

    Raises:
        UserError: git knows nothing of that name, several experiments on other commits have it, or `root` is in no
            repository.
    """
    root = Path(root).absolute()
    if name == WORKSPACE:
        return Revision(root, name, "")
    if named := [experiment for experiment in experiments(root) if experiment.name == name]:
        return _one(named)
    done = git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", root=root)
    if done.returncode:
        raise UserError(
            f"{name} is no commit, branch, tag or experiment here: `dvc exp list --all-commits` and `git tag` list "
            "what there is; `git fetch --tags` and `dvc exp pull` bring what others have"
        )
    return Revision(root, name, done.stdout.decode().strip())


def changed_files(before: Revision, after: Revision, paths: Iterable[str]) -> dict[str, list[str]]:
    """Of each path the files at or below it that differ between two revisions, as git knows them.

    The path itself where git knows of none, as of files that it does not track.
    """
    paths, names = list(paths), []
    commits = [revision.commit for revision in (before, after) if revision.commit]
    if paths and commits:  # with one of them git compares it with the work tree
        options = ("--name-only", "--no-renames", "-z", *commits, "--", *paths)
        names = git.text("diff", *options, root=after.root).split("\0")
    return {path: [name for name in names if name == path or name.startswith(f"{path}/")] or [path] for path in paths}


def experiments(root: Path | str = ".") -> list[Revision]:
    """All experiments that have ended well, in the order of their names."""
    root = Path(root).absolute()
    listed = git.text("for-each-ref", "--format=%(refname) %(objectname)", _EXPERIMENTS, root=root)
    found = []
    for line in listed.splitlines():
        ref, commit = line.split()
        first, *rest = ref.removeprefix(_EXPERIMENTS).split("/")
        if first not in _INTERNAL and len(rest) == 2:
            found.append(Revision(root, rest[1], commit, base=first + rest[0]))
    return sorted(found, key=lambda revision: (revision.name, revision.commit))


def _one(named: list[Revision]) -> Revision:
    head = git.text("rev-parse", "HEAD", root=named[0].root)
    here = [experiment for experiment in named if experiment.base == head] or named
    if len(here) > 1:
        ids = ", ".join(f"{experiment.commit[:10]} (on {experiment.base[:10]})" for experiment in here)
        raise UserError(
            f"{len(here)} experiments are called {here[0].name}: give the commit of the one you mean, {ids}"
        )
    return here[0]
