"""git and dvc as a person would type them, with their failures as messages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from plantdoc.errors import UserError

# No question in the middle of a script: git and ssh fail instead.
_SILENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes", "DVC_NO_ANALYTICS": "1"}


def git(*words: str, root: Path | str = ".", timeout: float | None = None) -> str:
    """What a git command prints, without the last line's end.

    Raises:
        UserError: it failed, or took longer than `timeout` seconds; the text has what git said.
    """
    return _run(["git", *words], f"git {words[0]}", root, timeout)


def dvc(*words: str, root: Path | str = ".") -> str:
    """What a dvc command of this Python's environment prints; raises UserError with what dvc said."""
    return _run([sys.executable, "-m", "dvc", *words], f"dvc {words[0]}", root, None)


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
    git("rev-parse", "--git-dir", root=root)


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
    done = subprocess.run(["git", "config", "--get", key], cwd=root, capture_output=True, text=True)
    return done.stdout.strip()


def _run(line: list[str], name: str, root: Path | str, timeout: float | None) -> str:
    try:
        done = subprocess.run(
            line, cwd=root, env=_SILENT | os.environ, capture_output=True, text=True, errors="replace", timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{name} gave no answer in {timeout:.0f} s") from None
    except FileNotFoundError:
        raise UserError(f"{line[0]} is not installed, or not on PATH: install it") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        # A remote's URL may have a password in it.
        raise UserError(f"{name} failed: " + re.sub(r"://[^/@\s]+@", "://", said))
    return done.stdout.rstrip("\n")
