"""Packages of another project that would be imported in place of this environment's, as by PYTHONPATH."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from plantdoc.core.errors import UserError

_ROOT = Path(__file__).resolve().parents[3]
_SUFFIXES = (".py", ".so")


def foreign() -> dict[str, str]:
    """Name → folder of the packages on Python's path that stand before this environment's own of the same name."""
    ours = [os.path.realpath(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    installed = set().union(*map(_names, ours))
    # Python's own library, and the folders of this repository.
    library = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    passed = {os.path.realpath(path) for path in (*library, f"{library[1]}/lib-dynload", _ROOT)}
    passed |= {os.path.realpath(_ROOT / name) for name in ("benchmarks", "scripts", "src", "tests/support")}
    found: dict[str, str] = {}
    for path in map(os.path.realpath, sys.path):
        if path in ours:
            break
        if path not in passed:
            found |= {name: path for name in sorted(_names(path) & installed) if name not in found}
    return found


def refuse_foreign() -> None:
    """Stop where results would come from packages that no lock of this project names.

    Raises:
        UserError: it names the packages, where they are, and what brings them in.
    """
    if found := foreign():
        raise UserError(explained(found))


def explained(found: dict[str, str]) -> str:
    """Message about packages that are `foreign`."""
    names = list(found)
    few = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    by_variable = bool(os.environ.get("PYTHONPATH"))
    return (
        f"{few} would be imported from {found[names[0]]} in place of this environment's own, as "
        f"{'PYTHONPATH' if by_variable else 'a .pth file or sitecustomize'} has it: "
        + ("`unset PYTHONPATH`, or use make, which leaves it out" if by_variable else "remove that file")
    )


def _names(folder: str) -> set[str]:
    """The top-level packages and modules in a folder."""
    try:
        entries = list(os.scandir(folder))
    except OSError:  # not there, or a zip file, which holds Python's own library at most
        return set()
    found = set()
    for entry in entries:
        name, _, rest = entry.name.partition(".")
        if Path(entry.name).suffix in _SUFFIXES if rest else entry.is_dir() and _holds_code(entry.path):
            found.add(name)
    return found


def _holds_code(folder: str) -> bool:
    """Whether a folder is a package, and no folder of data that happens to have such a name."""
    return any(Path(folder, f"__init__{suffix}").exists() for suffix in _SUFFIXES)
