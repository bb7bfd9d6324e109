"""Squares made in an Apache Beam pipeline, on this machine or on a cluster; the shards are those of `augment.write`.

The order of the squares is known before any is made, but where a shard ends follows from the bytes of all before it:

    ranges  a row of pictures (`RANGE` of them) each; which ones stands in a file that the workers read
    parts   a worker makes the squares of a range, writes them to one file and tells their sizes
    shards  from the sizes of a group alone follows which bytes of which parts are a shard; a worker copies them

Through the runner go names and sizes, 4 bytes a square, and never pictures or squares: neither it nor this process nor
a worker holds more of them than one, whatever the size of the data set. Parts cost twice the bytes of the records on
disk for as long as the pipeline runs, and one reading.

PLANTDOC_BEAM holds the options of the runner: see runner.py and docs/scaling.md.
"""

# Beam is installed with `make setup BEAM=1` alone.
# pyright: reportMissingImports=false
from __future__ import annotations

import bisect
import contextlib
import functools
import itertools
import pickle
import shutil
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import apache_beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners import PipelineRunner
from tqdm import tqdm

from plantdoc.augment.beam import runner
from plantdoc.augment.beam.files import create, listed, picture, reading, scratch
from plantdoc.augment.examples import ShardGroup
from plantdoc.core.errors import UserError

RANGE = 500  # squares in a part
_BLOCK = 1 << 20

Work = Callable[..., bytes]  # takes an ExampleTask and `opened`, which opens a picture by its id


# On their way through a runner these may turn into plain tuples.
class Range(NamedTuple):
    """The pictures of a part: `length` bytes from `start` on of the file with the tasks of the group."""

    group: str
    number: int
    start: int
    length: int


class Part(NamedTuple):
    """The squares of a range: their file, and the bytes of a uint32 [N], their sizes."""

    number: int
    path: str
    sizes: bytes


class Piece(NamedTuple):
    """Bytes `start` to `end` of a part."""

    path: str
    start: int
    end: int


class Shard(NamedTuple):
    """A file to be, as pieces of parts."""

    name: str
    pieces: list[Piece]


def write(
    groups: list[ShardGroup], work: Work, seed: int, raw: Path, folder: Path, limit: int, workers: int
) -> list[tuple[str, ...]]:
    """Write the squares of each group as shards; returns the shards' names by group.

    Args:
        work: makes a square; takes `opened`, which opens a picture by its id.
        limit: bytes at which a shard is closed.
        workers: processes, where the runner is one on this machine; 0: one per core.

    Raises:
        UserError: what `work` raised, or PLANTDOC_BEAM names no runner.
    """
    options, engine = runner.create(workers)
    folders = options.view_as(runner.FolderOptions)
    work = functools.partial(work, opened=functools.partial(picture, folders.raw or str(raw.absolute())))
    with scratch(folders.work or str(folder.absolute())) as work_folder:
        ranges = [each for group in groups for each in _ranges(group, seed, work_folder)]
        with _progress(work_folder, len(ranges)):
            _run(options, engine, ranges, work_folder, work, limit)
        return [_collect(group.name, work_folder, folder) for group in groups]


def _run(
    options: PipelineOptions, engine: PipelineRunner, ranges: list[Range], work_folder: str, work: Work, limit: int
) -> None:
    try:
        with apache_beam.Pipeline(engine, options) as pipeline:
            _ = (
                pipeline
                | "Ranges" >> apache_beam.Create(ranges)
                | "Spread" >> apache_beam.Reshuffle()
                | "Parts" >> apache_beam.Map(part, work_folder, work)
                | "By group" >> apache_beam.GroupByKey()
                | "Cut" >> apache_beam.FlatMapTuple(lambda group, parts: cut(group, parts, limit))
                | "Spread shards" >> apache_beam.Reshuffle()
                | "Shards" >> apache_beam.Map(shard, work_folder)
            )
    except Exception:
        for path in sorted(listed(f"{work_folder}/failed/*")):
            with reading(path) as file:
                raise UserError(file.read().decode()) from None
        raise


def part(each: Range, work_folder: str, work: Work) -> tuple[str, Part]:
    """Make the squares of a range; returns the part under its group's name."""
    each = Range(*each)
    with reading(f"{work_folder}/tasks/{each.group}") as file:
        file.seek(each.start)
        tasks = pickle.loads(file.read(each.length))
    # A runner may do the same work twice, even at a time: each has a file of its own, and one of them is taken.
    path, sizes = f"{work_folder}/parts/{each.group}-{each.number:06d}-{uuid.uuid4().hex}", []
    with create(path) as file:
        for task in tasks:
            try:
                framed = work(task)
            except UserError as error:
                # Each runner reports in a way of its own what its workers raise: the message goes by a file.
                with create(f"{work_folder}/failed/{each.group}-{each.number:06d}") as failed:
                    failed.write(str(error).encode())
                raise
            file.write(framed)
            sizes.append(len(framed))
    return each.group, Part(each.number, path, np.array(sizes, np.uint32).tobytes())


def cut(group: str, parts: Iterable[Part], limit: int) -> Iterator[Shard]:
    """The shards of a group: as in `tfrecord.ShardWriter`, one is closed when it has reached `limit` bytes."""
    parts = sorted(Part(*each) for each in parts)
    sizes = [np.frombuffer(each.sizes, np.uint32) for each in parts]
    ends = np.cumsum(np.concatenate(sizes), dtype=np.int64)  # of each square, in all parts one after another
    edges = [0, *np.cumsum([each.sum(dtype=np.int64) for each in sizes]).tolist()]  # of each part
    start = 0
    for number in itertools.count():
        end = int(ends[min(np.searchsorted(ends, start + limit), len(ends) - 1)])
        touched = range(bisect.bisect_right(edges, start) - 1, bisect.bisect_left(edges, end))
        pieces = [
            Piece(parts[i].path, max(start, edges[i]) - edges[i], min(end, edges[i + 1]) - edges[i]) for i in touched
        ]
        yield Shard(f"{group}-{number:05d}.tfrecord", pieces)
        start = end
        if start == edges[-1]:
            return


def shard(each: Shard, work_folder: str) -> str:
    """Put a shard together; returns its path."""
    each = Shard(*each)
    path, done = f"{work_folder}/shards/{uuid.uuid4().hex}", f"{work_folder}/done/{each.name}"
    with create(path) as to:
        for piece in map(Piece._make, each.pieces):
            with reading(piece.path) as file:
                file.seek(piece.start)
                left = piece.end - piece.start
                while block := file.read(min(left, _BLOCK)):
                    to.write(block)
                    left -= len(block)
                if left:
                    raise OSError(f"{piece.path} is {left} bytes too short")
    FileSystems.rename([path], [done])
    return done


def _ranges(group: ShardGroup, seed: int, work_folder: str) -> Iterator[Range]:
    """Write the tasks of a group to a file, a range after the other."""
    tasks = group.tasks(seed)
    with create(f"{work_folder}/tasks/{group.name}") as file:
        start = 0
        for number in itertools.count():
            some = pickle.dumps(list(itertools.islice(tasks, RANGE)))
            if number * RANGE >= len(group.pictures):
                return
            file.write(some)
            yield Range(group.name, number, start, len(some))
            start += len(some)


def _collect(name: str, work_folder: str, folder: Path) -> tuple[str, ...]:
    """Bring the shards of a group into `folder`; returns their names, in order."""
    names = [path.rpartition("/")[2] for path in listed(f"{work_folder}/done/{name}-*")]
    names.sort(key=lambda each: (len(each), each))
    for each in names:
        source = Path(work_folder) / "done" / each
        if source.exists():
            source.replace(folder / each)
        else:
            with reading(f"{work_folder}/done/{each}") as file, open(folder / each, "wb") as to:
                shutil.copyfileobj(file, to, _BLOCK)
    return tuple(names)


@contextlib.contextmanager
def _progress(work_folder: str, count: int) -> Iterator[None]:
    """A bar, or now and then a line, of the parts that are there: each runner tells of its progress in its own way."""
    interval, over = 2 if sys.stderr.isatty() else 30, threading.Event()
    with tqdm(total=count, desc="augment", unit=" parts", mininterval=0) as bar:

        def show() -> None:
            bar.update(min(len(listed(f"{work_folder}/parts/*")), count) - bar.n)

        def watch() -> None:
            while not over.wait(interval):
                show()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            show()
