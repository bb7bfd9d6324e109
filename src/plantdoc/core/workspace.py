"""Location of the main repository: `dvc exp run --temp` and `--queue` run a stage in a copy of it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

_COPIES = (".dvc", "tmp", "exps")


def main_root(cwd: Path | str | None = None) -> Path:
    """The main repository's root, seen from its root or from one of DVC's copies under `.dvc/tmp/exps/`.

    Relative paths to what is outside the repository, and what must outlive a copy (checkpoints), start from here.
    """
    cwd = Path(cwd or Path.cwd()).absolute()
    parts = cwd.parts
    for i in range(len(parts) - len(_COPIES), 0, -1):
        if parts[i : i + len(_COPIES)] == _COPIES:
            return Path(*parts[:i])
    return cwd


@contextlib.contextmanager
def scratch(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder at `path` that is gone afterwards; what a killed run left there is cleared."""
    path = Path(path)
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)
