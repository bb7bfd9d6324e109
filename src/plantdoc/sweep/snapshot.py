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

from plantdoc.core import git, workspace
from plantdoc.core.errors import UserError
from plantdoc.repo import revisions
from plantdoc.sweep import runner_options

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
        return git.text("diff-tree", "-r", "--name-only", self.commit, self.tree, root=self.root).splitlines()

    def state(self) -> str:
        """A short hash of the code, params and data, empty where they are those of the commit."""
        differs = git.text("diff-tree", "-r", self.commit, self.tree, "--", *_CODE, root=self.root)
        now, then = (revisions.Revision(self.root, name, name) for name in (self.tree, self.commit))
        if runner_options.without(now.params) != runner_options.without(then.params):
            differs += json.dumps(runner_options.without(now.params), sort_keys=True, default=str)
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
            git.text(
                "clone",
                "--quiet",
                "--shared",
                "--no-checkout",
                "--no-tags",
                str(self.root),
                str(folder),
                root=self.root,
            )
            # A clone of a shallow clone is no shared one, and lacks what no branch holds: the tree with the changes.
            objects = self.root / git.text("rev-parse", "--git-path", "objects", root=self.root)
            (folder / ".git/objects/info/alternates").write_text(f"{objects}\n", encoding="utf-8")
            git.text("update-ref", "--no-deref", "HEAD", self.commit, root=folder)
            git.text("read-tree", "-u", "--reset", self.tree, root=folder)
            for line in git.text(
                "config", "--local", "--get-regexp", "^user[.]", empty_code=1, root=self.root
            ).splitlines():
                git.text("config", *line.split(" ", 1), root=folder)
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
    commit = git.text("rev-parse", "HEAD", root=root)
    with tempfile.TemporaryDirectory(dir=root / ".dvc/tmp") as scratch:
        # With its time: git looks into files once more that were changed in the moment of the index, and in no other.
        index = {
            "GIT_INDEX_FILE": shutil.copy2(root / git.text("rev-parse", "--git-path", "index", root=root), scratch)
        }
        git.text("add", "--update", root=root, environment=index)
        if (root / "dvc.lock").exists():
            git.text("add", "dvc.lock", root=root, environment=index)
        tree = git.text("write-tree", root=root, environment=index)
    done = subprocess.run(["dvc", "cache", "dir"], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"dvc cache dir: {done.stderr.strip()}")
    return Snapshot(root, commit, tree, done.stdout.strip())
