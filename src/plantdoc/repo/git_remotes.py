"""References of this clone's git remotes, asked without fetching."""

from __future__ import annotations

from pathlib import Path

from plantdoc.core import git

PATIENCE = 30.0  # seconds


def names(root: Path | str = ".") -> list[str]:
    """The git remotes of this clone, `origin` first."""
    return sorted(git.text("remote", root=root).split(), key=lambda name: (name != "origin", name))


def refs(remote: str, *patterns: str, root: Path | str = ".") -> dict[str, str]:
    """Full name → object id of the remote's refs that match.

    Raises:
        UserError: the remote gives no answer.
    """
    listed = git.text("ls-remote", "--refs", remote, *patterns, root=root, timeout=PATIENCE)
    return {ref: commit for commit, ref in (line.split("\t") for line in listed.splitlines())}
