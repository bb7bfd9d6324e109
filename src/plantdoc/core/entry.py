"""Entry of every script and stage: drop what a shell must not decide, and go to the repository's root.

Needs the standard library alone, since `scripts/doctor.py` and `scripts/comment.py` run where nothing is installed.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import overload

# What `git rev-parse --local-env-vars` names, and what else points a git command at other objects or names. Git sets
# them while it runs a hook; inherited, they lead git and DVC to the repository of the hook in place of the one in the
# current folder. GIT_CONFIG_COUNT and GIT_CONFIG_PARAMETERS stay, as git itself leaves them to its submodules: they
# hold safe.directory and credentials on build machines.
GIT_LOCAL = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_ATTR_SOURCE",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
_WITH_ROOT = ("scripts", "src")  # the folders whose programs belong to the tree that they stand in
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_BROKEN_PIPE = 141  # what a shell reports for a program that SIGPIPE has ended

_caller: str | None = None
dropped: list[str] = []  # variables of git's that this process was started with


def start(program: str) -> str:
    """Prepare this process for `program`, the path of a script or stage: environment, current folder and output.

    From a sub-folder of the program's own tree it goes to the root of that tree; a copy of the tree, like those of
    `dvc exp run --temp`, is a tree of its own. From elsewhere it works on the current folder, which has to be a root
    too: in a sub-folder of another repository the program ends. Returns the name of the program's folder, which is
    `src` for a stage.
    """
    global _caller
    dropped[:] = [name for name in GIT_LOCAL if os.environ.pop(name, None) is not None]
    _caller = os.getcwd()
    folder = Path(os.path.abspath(program)).parent
    if folder.name in _WITH_ROOT and not _is_root(here := Path(_caller).resolve()):
        if here.is_relative_to(folder.parent.resolve()):
            os.chdir(folder.parent)
        elif other := next(filter(_is_root, here.parents), None):
            sys.exit(f"{Path(program).stem}: {here} is inside another repository, {other}: run this there")
    if sys.stdout is None:  # closed, as by `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # a stand-in for the output has no encoding
        sys.stdout.reconfigure(errors="replace")
    return folder.name


def _is_root(folder: Path) -> bool:
    return (folder / "dvc.yaml").is_file()


def given(path: str | Path) -> Path:
    """A path as a person typed it, relative to their folder, as it is called from the root."""
    if _caller in (None, os.getcwd()) or os.path.isabs(path):
        return Path(path)
    return Path(os.path.relpath(os.path.join(_caller, path)))


@overload
def given_or_name(text: str) -> str: ...
@overload
def given_or_name(text: None) -> None: ...
def given_or_name(text: str | None) -> str | None:
    """The same for what can be a path or the name of something else, like a version or a stage, or be left out."""
    return str(path) if text and (path := given(text)).exists() else text


@contextlib.contextmanager
def whole_output() -> Iterator[None]:
    """End the process quietly, as `git log | head` does, where nobody reads its output any longer."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        if not _is_cut_off():
            raise
        sys.exit(_BROKEN_PIPE)


def _is_cut_off() -> bool:
    """Whether the standard output has no reader. What is left to be written then goes nowhere."""
    try:
        looked = select.poll()
        looked.register(sys.stdout.fileno(), 0)
        if not any(state & (select.POLLERR | select.POLLHUP) for _, state in looked.poll(0)):
            return False
    except (OSError, ValueError):  # it is no file of the system's
        return False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return True


def unwritable(error: OSError) -> str | None:
    """Message for a checkout, or a file in it, that cannot be written or read; None for another error."""
    if error.errno not in _NOT_WRITABLE or not error.filename:
        return None
    return (
        f"{os.fsdecode(error.filename)}: {error.strerror}: it belongs to another user or is read-only; work in a clone "
        "of your own (`git clone`), or have its owner make it writable"
    )
