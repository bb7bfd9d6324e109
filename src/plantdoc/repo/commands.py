"""dvc as a person would type it, with its failures as messages; and what it needs of git."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from plantdoc.core import git
from plantdoc.core.errors import UserError


def dvc(*words: str, root: Path | str = ".") -> str:
    """Run a dvc command of this Python's environment; returns its output, raises UserError with what dvc said."""
    environment = git.SILENT | {"DVC_NO_ANALYTICS": "1"} | os.environ
    command = [sys.executable, "-m", "dvc", *words]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise UserError(f"dvc {words[0]} failed: {git.without_password((done.stderr or done.stdout).strip())}")
    return done.stdout.rstrip("\n")


def repository(root: Path | str = ".") -> None:
    """Refuse where git does not work on the repository at `root`.

    Raises:
        UserError: there is none, with the remedy; or git's own words, as where the folder belongs to another user.
    """
    if not Path(root, ".git").exists():
        raise UserError(
            f"{Path(root).absolute()} is not the root of a git repository, and DVC and its experiments are kept in one "
            "(a ZIP of it has no .git): `git clone` it, or begin a history of your own with "
            '`git init && git add -A && git commit -m "first"`'
        )
    git.text("rev-parse", "--git-dir", root=root)


def identity(root: Path | str = ".") -> None:
    """Refuse where git does not know who commits, as DVC does in the middle of an experiment.

    Git itself would make up a name from the user's and the machine's; DVC, which writes the commit, does not.

    Raises:
        UserError: name or address is set neither in the environment nor in git's settings.
    """
    lacking = [
        key
        for key in ("name", "email")
        for who in ("AUTHOR", "COMMITTER")
        if not os.environ.get(f"GIT_{who}_{key.upper()}") and not _setting(f"user.{key}", root)
    ]
    if lacking:
        commands = " and ".join(
            f'`git config --global user.{key} "{example}"`'
            for key, example in (("name", "Your Name"), ("email", "you@example.org"))
            if key in lacking
        )
        raise UserError(f"git does not know who you are, and each experiment is a commit: {commands}")


def _setting(key: str, root: Path | str) -> str:
    """A setting of git's; empty where there is none."""
    return git.text("config", "--get", key, root=root, empty_code=1)
