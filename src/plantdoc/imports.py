"""Packages of another project that would be imported in place of this environment's, as by PYTHONPATH."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from plantdoc.errors import UserError

_ROOT = Path(__file__).resolve().parent.parent.parent
_SUFFIXES = (".py", ".so")


def foreign() -> dict[str, str]:
    """Name → folder of the packages on Python's path that stand before this environment's own of the same name."""
    ours = [os.path.realpath(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    installed = set().union(*map(_names, ours))
    # Python's own library, and the folders of this repository.
    library = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    passed = {os.path.realpath(path) for path in (*library, f"{library[1]}/lib-dynload", _ROOT)}
    passed |= {os.path.realpath(_ROOT / name) for name in ("benchmarks", "scripts", "src", "tests")}
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
    if not (found := foreign()):
        return
    names = list(found)
    few = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    raise UserError(
        f"{few} would be imported from {found[names[0]]} in place of this environment's own: "
        f"{'PYTHONPATH' if os.environ.get('PYTHONPATH') else 'a .pth file or sitecustomize'} puts it there; run it "
        "again with `env -u PYTHONPATH`, or by make, which leaves that variable out"
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
        if name.isidentifier() and name != "__pycache__":
            if rest and Path(entry.name).suffix in _SUFFIXES:
                found.add(name)
            elif not rest and entry.is_dir() and _holds_code(entry.path):
                found.add(name)
    return found


def _holds_code(folder: str) -> bool:
    """Whether a folder is a package, and no folder of data that happens to have such a name."""
    return any(Path(folder, f"__init__{suffix}").exists() for suffix in _SUFFIXES)
