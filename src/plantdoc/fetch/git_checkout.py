"""One commit of a git repository, without its history."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from plantdoc.core.errors import UserError

_NETWORK = ("could not resolve", "unable to access", "connection", "timed out", "unreachable", "rpc failed", "too slow")
_COMMIT = ("not our ref", "couldn't find remote ref", "unadvertised object", "bad object")
_REPOSITORY = ("does not appear to be a git repository", "repository not found", "not found", "authentication")


def checkout(url: str, commit: str, folder: Path) -> None:
    """Fetch `commit` from `url` and check it out in `folder`. Its id is a hash of the content, so it proves it.

    Raises:
        UserError: git is missing, the repository cannot be reached, or it does not have the commit.
    """
    _git(folder, url, commit, "init", "--quiet")
    _git(folder, url, commit, "fetch", "--progress", "--depth", "1", "--no-tags", "--", url, commit)
    got = _git(folder, url, commit, "rev-parse", "FETCH_HEAD^{commit}").strip()
    if got != commit:
        raise UserError(f"{url} answered with commit {got} in place of fetch.commit = {commit}: use another repository")
    _git(folder, url, commit, "checkout", "--quiet", "--detach", commit)


def _git(folder: Path, url: str, commit: str, *arguments: str) -> str:
    # Links could point out of the folder, and hooks and line endings are this machine's, not the content's.
    settings = ("core.symlinks=false", "core.hooksPath=/dev/null", "core.autocrlf=false", "core.fsmonitor=false")
    # A dead line must end the stage, not hang it.
    settings += ("http.lowSpeedLimit=1000", "http.lowSpeedTime=60")
    # Set by git while it runs a hook; they would lead to the wrong repository.
    drop = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")
    environment = {key: value for key, value in os.environ.items() if key not in drop}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    command = ["git", "-C", str(folder), *(part for setting in settings for part in ("-c", setting)), *arguments]
    try:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
        )
    except FileNotFoundError:
        raise UserError("fetch.source = plantdoc needs git, which is not installed") from None
    with process:
        assert process.stdout and process.stderr  # pipes, as asked for
        errors = ""
        while piece := process.stderr.read(64):
            sys.stderr.write(piece)
            errors = (errors + piece)[-4000:]
        output = process.stdout.read()
    if process.returncode:
        raise UserError(_explain(errors, url, commit))
    return output


def _explain(errors: str, url: str, commit: str) -> str:
    low = errors.lower()
    if any(words in low for words in _COMMIT):
        return f"{url} has no commit {commit}: check fetch.commit"
    if any(words in low for words in _REPOSITORY):
        return f"{url} is not a git repository that can be read: check fetch.repository"
    if any(words in low for words in _NETWORK):
        return f"{url} cannot be reached: check the network, or set fetch.source to a folder or archive of the data"
    lines = [line for line in errors.splitlines() if line.strip()]
    return f"git cannot fetch {commit} from {url}: {lines[-1] if lines else 'no reason given'}"
