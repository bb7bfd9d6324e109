"""What every stage and script does around its own work: run, report errors, and move outputs into place at the end."""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from plantdoc import guard
from plantdoc.errors import UserError

log = logging.getLogger("plantdoc")


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main` and end the process: 0 when done, 1 with one message on a user's mistake, 130 on Ctrl-C.

    A stage whose dvc is killed ends too.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    name = Path(sys.argv[0]).stem
    started = time.monotonic()
    guard.die_with_dvc()
    try:
        main()
    except UserError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted; nothing of the earlier outputs was lost", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(f"{name}: the disk is full ({error.filename or 'while writing'}): free some space and run it again")
    log.info("%s: done in %.0f s", name, time.monotonic() - started)


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
