"""Files that DVC keeps for a revision: from its cache, or else from the remote."""

from __future__ import annotations

import functools
import json
import logging
import subprocess
import sys
from pathlib import Path

from plantdoc.core.errors import UserError
from plantdoc.repo import commands
from plantdoc.repo.revisions import Revision

log = logging.getLogger("plantdoc")
_PATIENCE = 900  # s for what is brought from the remote


def files(revision: Revision, out: str, scratch: Path, part: str = "") -> dict[str, Path]:
    """Local paths of an output's files, by their names in it; of one `part` of it alone, where that is given.

    Args:
        revision: whose.
        out: as dvc.lock has it, like data/raw.
        scratch: a folder for what comes from the remote.
        part: a file or folder in `out`, like test; names are then relative to where it lies, or to it.

    Raises:
        UserError: dvc.lock has no such output, or it is neither in the cache nor in the remote.
    """
    if not revision.md5(out):
        raise UserError(f"dvc.lock of {revision.name} has no {out}: run `dvc repro` there")
    cached = in_cache(revision, out)
    if cached is not None:
        if part in cached:
            return {Path(part).name: cached[part]}
        prefix = f"{part}/" if part else ""
        return {name.removeprefix(prefix): path for name, path in cached.items() if name.startswith(prefix)}
    path = scratch / (revision.commit or revision.name) / (part or Path(out).name)
    _get(revision, f"{out}/{part}" if part else out, path)
    if path.is_file():
        return {path.name: path}
    return {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}


def in_cache(revision: Revision, out: str) -> dict[str, Path] | None:
    """The cache's own files of an output by their names in it, None where one of them is missing."""
    md5 = revision.md5(out) or ""
    top = _cached(revision.root, md5)
    if not md5 or not top.is_file():
        return None
    if not md5.endswith(".dir"):
        return {Path(out).name: top}
    entries = json.loads(top.read_bytes())
    found = {entry["relpath"]: _cached(revision.root, entry["md5"]) for entry in entries}
    return found if all(path.is_file() for path in found.values()) else None


def _cached(root: Path, md5: str) -> Path:
    return _cache(root) / "files" / "md5" / md5[:2] / md5[2:]


@functools.cache
def _cache(root: Path) -> Path:
    return Path(commands.dvc("cache", "dir", root=root))


def _get(revision: Revision, path: str, to: Path) -> None:
    log.info("%s of %s is not in the cache; asking the remote", path, revision.name)
    to.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dvc", "get", str(revision.root), path, "--out", str(to), "--force"]
    command += ["--rev", revision.commit] if revision.commit else []
    try:
        done = subprocess.run(command, cwd=revision.root, capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        raise UserError(f"{path} of {revision.name} did not come from the remote in {_PATIENCE} s") from None
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if line.startswith("ERROR: ")), done.stderr)
        if "[Errno 2]" not in said:  # the remote was not asked, or gave no answer
            why = said.strip().removeprefix("ERROR: ")
            raise UserError(f"{path} of {revision.name} is not in the cache and did not come from the remote: {why}")
        raise UserError(
            f"{path} of {revision.name} is neither in the cache nor in the remote: `dvc push` where it was made"
        )
