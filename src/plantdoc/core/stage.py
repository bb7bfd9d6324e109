"""Frame around a stage or script: run, report errors, and move outputs into place at the end."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from plantdoc.core import entry, foreign_packages, processes, workspace
from plantdoc.core.errors import UserError

log = logging.getLogger("plantdoc")
RESTORE = "`git checkout -- dvc.lock results && dvc checkout`"
OUT_OF_MEMORY = "out of memory: free some, or raise the limit of this shell (`ulimit -v`) or container"


def run(main: Callable[[], None]) -> None:
    """Run the `main` of a stage or script and end the process.

    The exit code is 0 when done, 1 with one message on a user's mistake, 130 on Ctrl-C. The current folder is then the
    root of the tree that the script is in; see `entry` for paths that a person types. A stage whose dvc is killed ends
    too.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    name = Path(sys.argv[0]).stem
    started = time.monotonic()
    program = sys.modules[main.__module__].__file__
    assert program is not None  # a stage or script is a file
    folder = entry.start(program)
    processes.die_with_dvc()
    try:
        with entry.whole_output():
            if folder == "src":
                foreign_packages.refuse_foreign()
            main()
    except UserError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted{_lost()}", file=sys.stderr)
        sys.exit(130)
    except MemoryError:
        sys.exit(f"{name}: {OUT_OF_MEMORY}{_lost()}")
    except OSError as error:
        if error.errno == errno.ENOMEM:
            sys.exit(f"{name}: {OUT_OF_MEMORY}{_lost()}")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename or "while writing"
            sys.exit(f"{name}: the disk is full ({where}): free some space and run it again{_lost()}")
        if not (why := entry.unwritable(error)):
            raise
        sys.exit(f"{name}: {why}")
    log.info("%s: done in %.0f s", name, time.monotonic() - started)


def _lost() -> str:
    """Message about a stage's earlier outputs, and how to restore them.

    DVC deletes them before it starts the stage. In one of DVC's copies (`--temp`, `--queue`) nothing of a person's is
    lost.
    """
    if "DVC_STAGE" not in os.environ or workspace.main_root() != Path.cwd():
        return ""
    return (
        f"; DVC had removed this stage's earlier outputs. {RESTORE} brings back those of the last commit; to have "
        "those of a later run, undo the change and run `dvc repro`, which takes them from DVC's cache"
    )


@contextlib.contextmanager
def replacing(path: Path | str, *, folder: bool = True) -> Iterator[Path]:
    """Yield a fresh path beside `path` to write to; on success it takes the place of `path`, on an error it goes.

    `folder` says whether the caller gets an empty folder or the name of a file yet to be written.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.partial")
    _remove(beside)
    beside.parent.mkdir(parents=True, exist_ok=True)
    if folder:
        beside.mkdir()
    try:
        yield beside
        if folder or path.is_dir():
            _remove(path)
        beside.replace(path)  # a file takes the place of a file at one blow
    finally:
        _remove(beside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
