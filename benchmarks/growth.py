"""How fetch, augment and evaluate grow with the number of pictures: time, which should be linear, and memory, flat.

    python benchmarks/growth.py                          120, 480 and 1,920 drawn pictures, 5 rounds
    python benchmarks/growth.py --pictures 30 --rounds 1
    python benchmarks/growth.py --times 1 4 16 64        to 64 times as many

The pictures are drawn by plantdoc/fetch/sample/generator.py (about 300 px), each its own, so that none leaves as a
near-duplicate; a larger set holds the smaller ones. In a copy of this repository each stage runs as a process, as DVC
runs it, on these pictures at 320 px with one variant each; evaluate has a detector with random weights, which finds as
many boxes as a picture may have, so the most there is to score. A folder as `fetch.source`, no DVC, no W&B.

    wall, cpu    seconds of a stage with the processes that it starts, start-up included
    peak         the most memory of all these processes together: looked at 20 times a second; pages that processes
                 share count once (Linux; elsewhere each time)
    exponent     k of time ~ start-up + n^k, from the steps between three sizes: log(step 2 / step 1) / log(ratio)

About 9 minutes on two cores, of which 1 draws pictures. Writes results/benchmarks/growth.json.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import measure
import psutil
from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.coco import dataset
from plantdoc.core import parallel, params, stage
from plantdoc.core.errors import UserError
from plantdoc.fetch import fetch_params
from plantdoc.fetch.sample import generator

STAGES = ("fetch", "augment", "evaluate")
TRAIN = 0.8  # of the pictures; the rest is test
EVERY = 0.05  # seconds
SETTINGS = {"augment": {"size": 320, "copies": 1}, "runner": {"augment_workers": 2}}


def main() -> None:
    arguments = parse()
    sizes = [arguments.pictures * times for times in arguments.times]
    with tempfile.TemporaryDirectory(prefix="growth-") as made:
        folder = Path(made)
        draw(folder / "all", max(sizes), params.load(fetch_params.Params).seed)
        for count in sizes:
            workspace(folder, count)
        sides = {
            f"{name} {count}": partial(run, name, count, folder / f"at-{count}")
            for count in sizes
            for name in STAGES
            if name in arguments.stages
        }
        rounds = measure.in_turns(sides, arguments.rounds)
    rows = [measure.medians(found) for found in rounds.values()]
    names = [name for name in STAGES if name in arguments.stages]
    growth = [grown(name, [row for row in rows if row["stage"] == name], arguments.times) for name in names]
    measure.write("growth", sorted(rows, key=lambda row: STAGES.index(row["stage"])), growth=growth, rounds=rounds)
    for row in growth:
        print(", ".join(f"{key} {measure.text(value)}" for key, value in row.items()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=120, help="of the smallest set")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="each needs those before it")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def draw(folder: Path, count: int, seed: int) -> None:
    """Draw the largest set into `folder`, on all cores."""
    splits = {"train": round(TRAIN * count), "test": count - round(TRAIN * count)}
    for split, number in splits.items():
        (folder / split).mkdir(parents=True)
        drawn = parallel.imap(partial(one, folder, seed, split), range(number), 0)
        dataset.save(dataset.Split(generator.CLASSES, tuple(drawn)), folder / split)


def one(folder: Path, seed: int, split: str, index: int) -> dataset.Picture:
    """Draw one picture of the sample into a file."""
    image, boxes, quality = generator.draw(seed, split, index)
    name = f"drawn-{index:05d}.jpg"
    image.save(folder / split / name, quality=quality)
    return dataset.Picture(index + 1, name, image.width, image.height, boxes)


def workspace(folder: Path, count: int) -> None:
    """`folder`/at-`count`: a copy of the repository that takes the first pictures of `folder`/all."""
    there = folder / f"at-{count}"
    shutil.copytree(measure.ROOT / "src", there / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(measure.ROOT / "params.yaml", there)
    for split, number in (("train", round(TRAIN * count)), ("test", count - round(TRAIN * count))):
        (there / "pictures" / split).mkdir(parents=True)
        kept = dataset.load(folder / "all" / split).pictures[:number]
        for picture in kept:
            os.link(folder / "all" / split / picture.file_name, there / "pictures" / split / picture.file_name)
        dataset.save(dataset.Split(generator.CLASSES, kept), there / "pictures" / split)
    yaml = YAML()
    values = yaml.load(there / "params.yaml")
    for section, changes in (SETTINGS | {"fetch": {"source": str(there / "pictures"), "limit": 0}}).items():
        values[section] |= changes
    yaml.dump(values, there / "params.yaml")


def run(name: str, count: int, folder: Path) -> measure.Row:
    """Run a stage; what it takes.

    Raises:
        UserError: it fails, or fetch leaves pictures out.
    """
    if name == "evaluate" and not (folder / "models/detector").exists():
        random_detector(folder)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    process = start(folder, f"src/{name}.py")
    with watched(process.pid) as peak:
        said = process.communicate()[0]
    took = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise UserError(f"{name} with {count} pictures fails: {said.strip()[-2000:]}")
    if name == "fetch" and (kept := fetched(folder)) != count:
        raise UserError(f"fetch kept {kept} of {count} pictures, so what it took says nothing")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"stage": name, "pictures": count, "wall s": took, "cpu s": cpu, "peak MB": max(peak) / 1e6}


def fetched(folder: Path) -> int:
    """The pictures that the fetch stage has kept."""
    return sum(len(dataset.load(split).pictures) for split in (folder / "data/raw").iterdir() if split.is_dir())


def start(folder: Path, *command: str) -> subprocess.Popen:
    """Python in a workspace, what it says in a pipe."""
    environment = os.environ | {"WANDB_MODE": "disabled", "DVC_NO_ANALYTICS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, text=True, **pipes)


def random_detector(folder: Path) -> None:
    """models/detector for the records of a workspace: what params.yaml asks for, untrained."""
    code = """
import sys; sys.path.insert(0, "src")
from pathlib import Path
from plantdoc.core import params
from plantdoc.records import shards
from plantdoc.detector import tf_setup
from plantdoc.train import train_params
settings = params.load(train_params.Params); tf_setup.configure(settings.train.threads, settings.seed)
from plantdoc.detector import detector
meta = shards.meta("data/tfrecords"); Path("models/detector").mkdir(parents=True)
form = detector.Config.of(settings.model, meta.size, meta.classes, {})
detector.save(detector.Detector(form), "models/detector")
"""
    process = start(folder, "-c", code)
    said = process.communicate()[0]
    if process.returncode:
        raise UserError(f"no detector could be made: {said.strip()[-2000:]}")


@contextlib.contextmanager
def watched(pid: int):
    """A list that grows by the bytes that a process and its descendants hold, several times a second."""
    seen, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(EVERY):
            with contextlib.suppress(psutil.Error):
                top = psutil.Process(pid)
                seen.append(sum(held(process) for process in (top, *top.children(recursive=True))))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def held(process: psutil.Process) -> int:
    """The bytes of a process: its share of the pages it has, where the system tells; 0 when it has ended."""
    try:
        full = process.memory_full_info()
        return getattr(full, "pss", None) or full.rss
    except psutil.Error:
        return 0


def grown(name: str, rows: list[measure.Row], times: list[int]) -> measure.Row:
    """How a stage grew from the smallest to the largest number of pictures."""
    row: measure.Row = {"stage": name}
    for key in ("wall s", "cpu s"):
        row[f"exponent of {key[:-2]}"] = exponent([each[key] for each in rows], times)
        row[f"ms of {key[:-2]} per more picture"] = (
            1000 * (rows[-1][key] - rows[0][key]) / (rows[-1]["pictures"] - rows[0]["pictures"])
        )
    return row | {f"peak at {times[-1]}× / at {times[0]}×": rows[-1]["peak MB"] / rows[0]["peak MB"]}


def exponent(seconds: list[float], times: list[int]) -> float | None:
    """k of seconds = a + b n^k, from the last three sizes, each the same multiple of the one before; None if noise."""
    if len(times) < 3 or times[-1] * times[-3] != times[-2] ** 2:
        return None
    steps = seconds[-2] - seconds[-3], seconds[-1] - seconds[-2]
    return math.log(steps[1] / steps[0]) / math.log(times[-1] / times[-2]) if min(steps) > 0 else None


if __name__ == "__main__":
    stage.run(main)
