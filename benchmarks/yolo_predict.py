"""`yolo predict`, clocked from outside: by the line that it writes for each picture.

What Ultralytics says of its own speed leaves reading and decoding out, and the time of its process has its start in
it: seconds of importing. The time between two of its lines has all that a picture takes, and nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import load
import measure
import psutil
from measure import Row
from yolo_cli import MODEL, PEER

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core.errors import UserError

PATIENCE = 120  # s, to start
MOST = 1000  # pictures per second, to link enough of them


@dataclass
class Lines:
    """What a process has written: when each picture was done, and the last of its other lines."""

    process: subprocess.Popen
    done: list[float] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def read(self) -> None:
        for line in self.process.stdout:
            if re.match(r"image \d+/\d+ ", line):
                self.done.append(time.perf_counter())
            else:
                self.others = [*self.others[-20:], line]

    def processor(self) -> float:
        """Seconds of processor time so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system


def rate(source: Path, size: int, seconds: float, batch: int, processes: int) -> Row:
    """Pictures per second of so many processes side by side, milliseconds of a batch, and the cores it kept busy.

    Raises:
        UserError: it is not installed, or does not run.
    """
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as running:
        folder = linked(source, Path(scratch) / "pictures", int(seconds * (1 + load.WARM) * MOST))
        sides = [running.enter_context(started(folder, size, batch, Path(scratch))) for _ in range(processes)]
        wait_for(sides)
        time.sleep(seconds * load.WARM)
        begin, cpu = time.perf_counter(), sum(side.processor() for side in sides)
        time.sleep(seconds)
        end, cpu = time.perf_counter(), sum(side.processor() for side in sides) - cpu
        wait_for(sides)
        per_second = [spans(side.done, batch, begin, end) for side in sides]
    took = [each for side in per_second for each in side]
    if not took:
        raise UserError(f"{PEER} finished no two batches in {seconds:g} s: take more --seconds")
    # Of whole batches, so that one cut off at an end of the time does not count as none or as one.
    total = sum(batch / statistics.fmean(side) for side in per_second if side)
    p50, p99 = (1000 * load.percentile(took, percent) for percent in (50, 99))
    return {"pictures/s": total, "p50 ms": p50, "p99 ms": p99, "cores": cpu / (end - begin)}


def spans(done: list[float], batch: int, begin: float, end: float) -> list[float]:
    """Seconds of each batch, from the end of the one before, of those that began and ended between the two times."""
    ends = [when for when in done[batch - 1 :: batch] if begin <= when <= end]
    return [after - before for before, after in itertools.pairwise(ends)]


def linked(source: Path, folder: Path, count: int) -> Path:
    """A folder of so many links to the photos in `source`, again and again."""
    files = load.photo_files(source)
    folder.mkdir()
    for number in range(count):
        file = files[number % len(files)].resolve()
        (folder / f"{number:06}{file.suffix.lower()}").symlink_to(file)
    return folder


@contextlib.contextmanager
def started(folder: Path, size: int, batch: int, scratch: Path) -> Iterator[Lines]:
    """`yolo predict` on a folder; ended when this is left."""
    words = [f"model={MODEL}", f"source={folder}", f"imgsz={size}", f"batch={batch}", "device=cpu", "save=False"]
    # Its settings go into the scratch folder; it asks nobody on the network; each line comes when it is written.
    own = {"YOLO_CONFIG_DIR": str(scratch), "YOLO_OFFLINE": "true", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [str(Path(measure.peer(PEER)).with_name("yolo")), "detect", "predict", *words, f"project={scratch}"],
        cwd=scratch,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        lines = Lines(process)
        reader = threading.Thread(target=lines.read, daemon=True)
        reader.start()
        try:
            yield lines
        finally:
            process.kill()
            reader.join()


def wait_for(sides: list[Lines]) -> None:
    """Until each has done a picture; raises UserError when one has ended, or takes too long."""
    until = time.monotonic() + PATIENCE
    while True:
        for side in sides:
            if side.process.poll() is not None or time.monotonic() > until:
                raise UserError(f"{PEER} does not run: {''.join(side.others).strip()[-1500:]}")
        if all(side.done for side in sides):
            return
        time.sleep(0.05)
