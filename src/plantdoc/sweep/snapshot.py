"""The repository at one moment, uncommitted changes included, and copies of it in which experiments run."""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plantdoc import revisions, workspace
from plantdoc.errors import UserError
from plantdoc.sweep import place

_CODE = ("src", "dvc.yaml")  # with the params and the data, what an experiment's result follows from
_DATA = ("data/raw", "data/tfrecords")


@dataclass(frozen=True)
class Snapshot:
    """`commit` is HEAD, `tree` the git tree with the tracked files as they were, `cache` DVC's cache."""

    root: Path
    commit: str
    tree: str
    cache: str

    def changes(self) -> list[str]:
        """The tracked files that are not as in the commit, sorted."""
        return git(self.root, "diff-tree", "-r", "--name-only", self.commit, self.tree).splitlines()

    def state(self) -> str:
        """A short hash of the code, params and data, empty where they are those of the commit."""
        differs = git(self.root, "diff-tree", "-r", self.commit, self.tree, "--", *_CODE)
        now, then = (revisions.Revision(self.root, name, name) for name in (self.tree, self.commit))
        if place.without(now.params) != place.without(then.params):
            differs += json.dumps(place.without(now.params), sort_keys=True, default=str)
        differs += "".join(f"{now.md5(out)}\n" for out in _DATA if now.md5(out) != then.md5(out))
        return differs and hashlib.sha256(differs.encode()).hexdigest()[:6]

    @contextlib.contextmanager
    def copy(self, folder: Path) -> Iterator[Path]:
        """Yield `folder` as a clone in this state, with the same cache, that is gone afterwards.

        `dvc exp run --temp` does not do: while it prepares, it holds the uncommitted changes in a git stash, where they
        stay when it is killed; trials that start later get what was edited meanwhile; and two processes at once fail
        on DVC's lock or take each other's trial.
        """
        with workspace.scratch(folder):
            git(self.root, "clone", "--quiet", "--shared", "--no-checkout", "--no-tags", str(self.root), str(folder))
            # A clone of a shallow clone is no shared one, and lacks what no branch holds: the tree with the changes.
            objects = self.root / git(self.root, "rev-parse", "--git-path", "objects").strip()
            (folder / ".git/objects/info/alternates").write_text(f"{objects}\n", encoding="utf-8")
            git(folder, "update-ref", "--no-deref", "HEAD", self.commit)
            git(folder, "read-tree", "-u", "--reset", self.tree)
            for line in git(self.root, "config", "--local", "--get-regexp", "^user[.]", check=False).splitlines():
                git(folder, "config", *line.split(" ", 1))
            self._configure(folder)
            yield folder

    def _configure(self, folder: Path) -> None:
        config = configparser.RawConfigParser()
        config.read(self.root / ".dvc/config.local")
        if not config.has_section("cache"):
            config.add_section("cache")
        config.set("cache", "dir", self.cache)
        # It may hold what opens a remote.
        with open(os.open(folder / ".dvc/config.local", os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            config.write(file)


def take(root: Path) -> Snapshot:
    """The repository as it is now. Untracked files are left out, except for a new dvc.lock."""
    commit = git(root, "rev-parse", "HEAD").strip()
    with tempfile.TemporaryDirectory(dir=root / ".dvc/tmp") as scratch:
        # With its time: git looks into files once more that were changed in the moment of the index, and in no other.
        index = {"GIT_INDEX_FILE": shutil.copy2(root / git(root, "rev-parse", "--git-path", "index").strip(), scratch)}
        git(root, "add", "--update", **index)
        if (root / "dvc.lock").exists():
            git(root, "add", "dvc.lock", **index)
        tree = git(root, "write-tree", **index).strip()
    done = subprocess.run(["dvc", "cache", "dir"], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"dvc cache dir: {done.stderr.strip()}")
    return Snapshot(root, commit, tree, done.stdout.strip())


def git(folder: Path, *arguments: str, check: bool = True, **environment: str) -> str:
    """What a git command in `folder` prints; a UserError with what it complains about when it fails."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}
    )
    if check and done.returncode:
        raise UserError(f"git {arguments[0]} in {folder}: {done.stderr.strip()}")
    return done.stdout
