"""Read and write the progress file of a training, `.dvc/tmp/plantdoc/progress.json`.

Whatever shows a training reads this file: the worker on an EC2 instance, the command that watches it, a sweep. It lies
in the tree that the training runs in. A copy of the tree, as of `dvc exp run --temp` and `--queue` or of a sweep, has
its own, so that trainings side by side do not meet. Neither git nor DVC looks into `.dvc/tmp`: the file is no output,
in no hash and in no run id. It is replaced as a whole, so that a reader never sees half of it, at most once a second
and when the training begins and ends.

Schema, one JSON object:

    state         "starting", "training", "done", "failed" or "interrupted"; on EC2 also the phase of the instance:
                  "environment", "inputs", "outputs"
    run           id of the run (plantdoc.train.lineage)
    time          seconds since 1970 at which the file was written
    epoch         the epoch under way, from 1; the last one after the end; 0 before the first
    epochs        how many there are at most (train.epochs)
    step, steps   steps done and to be done, of all epochs together
    losses        terms of the loss at the last step: {"box": 3.1, "class": 0.7}
    history       one row for each finished epoch, the first one first: "box", "class", "lr", and where the epoch was
                  validated "val_map" and "val_map50"
    best_epoch    the epoch with the best val mAP, from 1; 0 where none was validated
    resumed       how many epochs an earlier process had finished
    seconds_left  seconds until the last epoch ends, as the pace until now has it; null where that is unknown
    message       why it failed; on EC2 what was last said of the run
    instance      on EC2 the instance that trains or that did last, else null: "id", "type", "zone", "spot", "price"
                  (dollars an hour), "launched" and, where it has ended, "ended" (seconds since 1970)
    minutes, dollars   on EC2 the instances before that one, together
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from plantdoc.core.errors import UserError

log = logging.getLogger("plantdoc")
PATH = Path(".dvc/tmp/plantdoc/progress.json")
INTERVAL = 1.0  # seconds between two writes
OVER = ("done", "failed", "interrupted")


@dataclass
class TrainingProgress:
    """The content of the file; see the schema above."""

    state: str = "starting"
    run: str = ""
    time: float = 0.0
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    resumed: int = 0
    seconds_left: float | None = None
    message: str = ""
    instance: dict | None = None
    minutes: float = 0.0
    dollars: float = 0.0

    @property
    def val_map50(self) -> float | None:
        """That of the last epoch that was validated."""
        return next((row["val_map50"] for row in reversed(self.history) if "val_map50" in row), None)


def of(values: dict) -> TrainingProgress:
    """A TrainingProgress with those of `values` that it knows: a newer or older writer may have others."""
    known = {each.name for each in fields(TrainingProgress)}
    return TrainingProgress(**{name: value for name, value in values.items() if name in known})


def read(folder: Path | str = ".") -> TrainingProgress | None:
    """The progress of the training in the tree `folder`; None where none has written any."""
    try:
        return of(json.loads((Path(folder) / PATH).read_bytes()))
    except FileNotFoundError:
        return None


def write(progress: TrainingProgress, folder: Path | str = ".") -> None:
    """Replace the file in the tree `folder`."""
    progress.time = time.time()
    path = Path(folder) / PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        beside.write_text(json.dumps(asdict(progress), indent=1) + "\n")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def line(history: list[dict[str, float]]) -> str:
    """One line on the last epoch of `history`."""
    *before, row = history
    text = f"epoch {len(history)}: box {row['box']:.3f}, class {row['class']:.3f}"
    if "val_map" not in row:
        return text
    text += f", val mAP {row['val_map']:.4f}, mAP@50 {row['val_map50']:.4f}"
    best = all(row["val_map"] > other["val_map"] for other in before if "val_map" in other)
    return text + (", the best so far" if best else "")


class Writer:
    """Keeps the file up to date while a training runs: change `now`, call `changed`.

    A failure to write is logged once and ends nothing: the training is worth more than its display.
    """

    def __init__(self, now: TrainingProgress, folder: Path | str = ".", clock: Callable[[], float] = time.monotonic):
        self.now, self.folder, self.clock = now, Path(folder).absolute(), clock
        self._written = -INTERVAL
        self._pending: threading.Timer | None = None
        self._lock = threading.RLock()  # whatever hears of a failed write may call `changed`
        self._failed = self._closed = False

    def changed(self) -> None:
        """Write now, or when a second has passed since the last time."""
        with self._lock:
            if self._pending or self._closed:
                return
            if (wait := self._written + INTERVAL - self.clock()) <= 0:
                self._write()
            else:
                self._pending = threading.Timer(wait, self._write_pending)
                self._pending.daemon = True
                self._pending.start()

    def close(self, state: str, message: str = "") -> None:
        """Write the last word; nothing is written after it."""
        with self._lock:
            self._closed = True
            if self._pending:
                self._pending.cancel()
            self.now.state, self.now.message = state, message or self.now.message
            self._write()

    def _write_pending(self) -> None:
        with self._lock:
            self._pending = None
            if not self._closed:
                self._write()

    def _write(self) -> None:
        self._written = self.clock()
        try:
            write(self.now, self.folder)
        except OSError as error:
            if not self._failed:
                log.warning("%s cannot be written: %s", self.folder / PATH, error)
            self._failed = True


@contextlib.contextmanager
def written(now: TrainingProgress, folder: Path | str = ".") -> Iterator[Writer]:
    """Yield a writer of `now`; the file ends as "done", or as how the block was left."""
    writer = Writer(now, folder)
    writer.changed()
    try:
        yield writer
    except UserError as error:
        writer.close("failed", str(error))
        raise
    except KeyboardInterrupt:
        writer.close("interrupted")
        raise
    except BaseException as error:
        writer.close("failed", f"{type(error).__name__}: {error}")
        raise
    writer.close("done")
