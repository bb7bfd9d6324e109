"""git as a person would type it, with its failures as messages."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from plantdoc.core.errors import UserError

# No question in the middle of a script: git and ssh fail instead.
SILENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}


def text(
    *words: str,
    root: Path | str = ".",
    input: bytes | None = None,
    timeout: float | None = None,
    empty_code: int = 0,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run git; returns its output without the last line's end, nothing where it ends with `empty_code`.

    Raises:
        UserError: it failed, or took longer than `timeout` seconds; the text has what git said.
    """
    done = run(*words, root=root, input=input, timeout=timeout, environment=environment)
    if done.returncode and done.returncode != empty_code:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise UserError(f"git {words[0]} failed: {without_password(said)}")
    return done.stdout.decode(errors="replace").rstrip("\n")


def run(
    *words: str,
    root: Path | str = ".",
    input: bytes | None = None,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a git command in `root`, whatever its exit code; `environment` adds variables.

    Raises:
        UserError: git is not installed, or took longer than `timeout` seconds.
    """
    try:
        return subprocess.run(
            ["git", *words],
            cwd=root,
            env={**SILENT, **os.environ, **(environment or {})},
            input=input,
            capture_output=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"git {words[0]} gave no answer in {timeout:.0f} s") from None
    except FileNotFoundError:
        raise UserError("git is not installed, or not on PATH: install it") from None


def blobs(ids: Iterable[str], root: Path | str = ".") -> list[bytes]:
    """The contents of blobs, in the order of their ids, by one process."""
    ids = list(ids)
    rest, found = run("cat-file", "--batch", root=root, input="".join(f"{id}\n" for id in ids).encode()).stdout, []
    for id in ids:
        head, _, rest = rest.partition(b"\n")
        if head.split()[1:2] != [b"blob"]:
            raise UserError(f"git has no blob {id} in {root}: `git fsck` says what is damaged")
        size = int(head.split()[2])
        found.append(rest[:size])
        rest = rest[size + 1 :]
    return found


def without_password(said: str) -> str:
    """Output of a program without the user and password of a remote's URL."""
    return re.sub(r"://[^/@\s]*@", "://", said)
