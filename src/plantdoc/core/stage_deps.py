"""The deps of a stage in dvc.yaml: code and data told apart, and the files of the code.

Code is what lies below src/: a file, or a folder with the files that git tracks in it. All else is data.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from plantdoc.core import git, hashing, params
from plantdoc.core.errors import UserError

CODE = "src"


def of(stage: str, root: Path | str = ".") -> list[str]:
    """All deps of a stage, as dvc.yaml lists them."""
    return params.read(Path(root, "dvc.yaml"))["stages"][stage]["deps"]


def code(listed: Iterable[str]) -> list[str]:
    """The code among deps."""
    return [dep for dep in listed if PurePosixPath(dep).is_relative_to(CODE)]


def data(listed: Iterable[str]) -> list[str]:
    """The deps that are no code."""
    listed = list(listed)
    return [dep for dep in listed if dep not in code(listed)]


def files(listed: Iterable[str], root: Path | str = ".") -> list[str]:
    """The files of the code among deps, sorted; of a folder those that git tracks and that are there."""
    root, found = Path(root), set()
    for dep in code(listed):
        found.update(tracked(dep, root) if (root / dep).is_dir() else [dep])
    return sorted(found)


def tracked(folder: str, root: Path | str = ".") -> list[str]:
    """The files of a folder that git tracks, sorted.

    Without a repository, as on a training machine that is sent tracked files alone, all but those of hashing.IGNORED.
    """
    root = Path(root)
    if not _has_git(root):
        return [path.relative_to(root).as_posix() for path in hashing.files(root / folder)]
    return [name for name in _listed(root, "--cached", "--", folder) if (root / name).is_file()]


def untracked(listed: Iterable[str], root: Path | str = ".") -> list[str]:
    """The files in folders of code among deps that DVC hashes and git does not track, sorted."""
    root = Path(root)
    folders = [dep for dep in code(listed) if (root / dep).is_dir()]
    if not folders or not _has_git(root):
        return []
    # Not by .gitignore: DVC hashes what that leaves out.
    return _listed(root, "--others", "--exclude-per-directory=.dvcignore", "--", *folders)


def refuse_untracked(listed: Iterable[str], root: Path | str = ".") -> None:
    """Stop where a folder of code has files that git does not track.

    Raises:
        UserError: with the files and what to do.
    """
    if found := untracked(listed, root):
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise UserError(
            f"{', '.join(found[:5])}{more}: not tracked by git, and in a folder that a stage depends on: DVC would run "
            f"the stage for it, and no clone could repeat the result; `git add` what belongs to the code, and move the "
            f"rest out of {CODE}/"
        )


def _has_git(root: Path) -> bool:
    return (root / ".git").exists()


def _listed(root: Path, *options: str) -> list[str]:
    names = git.text("ls-files", "-z", *options, root=root).split("\0")
    return sorted({name for name in names if name and not hashing.is_ignored(name)})
