"""Pictures for a pull request, on a branch of their own in the same repository, addressed by commit.

Only objects and one remote branch are written: neither the work tree nor the index nor a local branch changes.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from plantdoc.core import git
from plantdoc.core.errors import UserError

log = logging.getLogger("plantdoc")
BRANCH = "report-pictures"
_REF, _LOCAL = f"refs/heads/{BRANCH}", f"refs/remotes/origin/{BRANCH}"
_ATTEMPTS = 5
_PATIENCE = 300  # s for one exchange with the remote
# A dead line must end the command; what git says is read below.
_NETWORK = {"GIT_HTTP_LOW_SPEED_LIMIT": "1000", "GIT_HTTP_LOW_SPEED_TIME": "60", "LC_ALL": "C"}
_GITHUB = re.compile(r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?")
_OVERTAKEN = ("non-fast-forward", "fetch first", "cannot lock ref", "failed to update ref", "reference already exists")
_REFUSED = (
    "permission",
    "denied",
    "error: 403",
    "not granted",
    "protected",
    "declined",
    "authentication",
    "error: 401",
    "username",
)


def push(root: Path, files: Sequence[Path], commit: str) -> str:
    """Put files on the branch, in a folder named as `commit`, and return where they can be seen.

    Each call adds a commit to the branch, so that earlier addresses stay good; the same files add nothing.

    Returns:
        The address of the files' folder; a picture is at `address/NAME?raw=true`.

    Raises:
        UserError: there is no remote, it is not on GitHub, cannot be reached, or refuses.
    """
    server, name = address(root)
    blobs = [
        f"100644 blob {git.text('hash-object', '-w', '--no-filters', '--', str(path), root=root)}\t{path.name}"
        for path in sorted(files)
    ]
    pictures = _tree(root, blobs)
    for _ in range(_ATTEMPTS):
        tip = _fetch(root)
        entries = git.text("ls-tree", tip, root=root).splitlines() if tip else []
        others = [entry for entry in entries if not entry.endswith(f"\t{commit}")]
        tree = _tree(root, [*others, f"040000 tree {pictures}\t{commit}"])
        if tip and tree == git.text("rev-parse", f"{tip}^{{tree}}", root=root):
            log.info("the pictures are on %s already", BRANCH)
            return f"{server}/{name}/blob/{tip}/{commit}"
        made = _commit(root, tree, tip, commit)
        if _push(root, made):
            return f"{server}/{name}/blob/{made}/{commit}"
        log.info("somebody else wrote to %s in between; trying again", BRANCH)
    raise UserError(f"{BRANCH} was written to by others {_ATTEMPTS} times in a row: run this again")


def address(root: Path) -> tuple[str, str]:
    """GitHub's address and OWNER/NAME there, from GITHUB_SERVER_URL and GITHUB_REPOSITORY or from the remote."""
    done = git.run("remote", "get-url", "origin", root=root)
    if done.returncode:
        raise UserError("there is no git remote named origin to publish pictures to: `git remote add origin URL`")
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return os.environ.get("GITHUB_SERVER_URL", "https://github.com"), name
    match = _GITHUB.fullmatch(done.stdout.decode().strip())
    if not match:
        raise UserError(
            "the git remote origin is not on github.com, so pictures there would have no address in the report: "
            "set GITHUB_REPOSITORY to OWNER/NAME, or leave --publish out"
        )
    return "https://github.com", match[1]


def is_private() -> bool:
    """Whether GitHub says, in the event that started the workflow, that the repository is private; unknown is public.

    Raises:
        UserError: GITHUB_EVENT_PATH names a file that is no event.
    """
    path = os.environ.get("GITHUB_EVENT_PATH")
    if not path:
        return False
    try:
        event = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"GITHUB_EVENT_PATH={path} cannot be read as an event ({error}): unset it") from None
    return event.get("repository", {}).get("private") is True


def _fetch(root: Path) -> str:
    """Bring the branch and return its commit, empty where the remote has no such branch."""
    listed = _exchange(root, "ls-remote", "origin", _REF).stdout.split()
    if not listed:
        return ""
    _exchange(root, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "origin", f"+{_REF}:{_LOCAL}")
    return git.text("rev-parse", _LOCAL, root=root)


def _commit(root: Path, tree: str, tip: str, commit: str) -> str:
    # Name and date follow from the commit, so that two who publish the same make the same.
    date = git.text("show", "--no-patch", "--format=%cI", commit, root=root)
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", "report"), ("EMAIL", "report@localhost"), ("DATE", date))}  # fmt: skip
    parent = ["-p", tip] if tip else []
    return git.text(
        "commit-tree", tree, *parent, "-m", f"Pictures of the report on {commit}", root=root, environment=who
    )


def _push(root: Path, made: str) -> bool:
    """Whether the remote's branch is now at `made`; False where somebody else was faster."""
    done = _exchange(
        root, "push", "--no-verify", "--no-follow-tags", "--porcelain", "origin", f"{made}:{_REF}", check=False
    )
    if done.returncode == 0:
        return True
    said = (done.stdout + done.stderr).decode(errors="replace")
    if any(words in said for words in _OVERTAKEN):
        return False
    raise UserError(_explain(said))


def _exchange(root: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    done = git.run(*arguments, root=root, timeout=_PATIENCE, environment=_NETWORK)
    if check and done.returncode:
        raise UserError(_explain(done.stderr.decode(errors="replace")))
    return done


def _explain(said: str) -> str:
    said = git.without_password(said)
    reasons = [line.strip() for line in said.splitlines() if re.match(r"\s*(!|fatal|error|remote|ERROR)", line)]
    reason = "; ".join(reasons[:3]) or "no reason given"
    if any(word in said.lower() for word in _REFUSED):
        return (
            f"the git remote origin refuses the branch {BRANCH} ({reason}): in a workflow give the job "
            "`permissions: contents: write`; by hand use an account that may push there"
        )
    return f"the git remote origin cannot be used ({reason}): check its address and the network, then run this again"


def _tree(root: Path, entries: Sequence[str]) -> str:
    """The id of a new tree with these entries, in the form of `git ls-tree`."""
    return git.text("mktree", root=root, input=("\n".join(entries) + "\n").encode())
