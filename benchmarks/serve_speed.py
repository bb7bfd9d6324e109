"""The local server against Ultralytics' predict and against the bare SavedModel, on the same pictures and cores.

    python benchmarks/serve_speed.py                            models/bundle on data/raw/test
    python benchmarks/serve_speed.py detector@v1.2.0 --source ~/photos --rounds 1 --seconds 3

Each side is a process of its own, started anew each round, in turns. What each of them does for a picture:
- *ours*: scripts/serve.py with its defaults. HTTP on loopback, the check of the header, the EXIF orientation, JPEG
  decoding as Pillow's, resizing to the bundle's square, the network, suppression per class down to the bundle's score
  floor, boxes in the pixels of the picture, JSON. Clients keep their connections and run on the server's cores; what
  they take is named. One client alone, then 32 at once.
- *bare*: the bundle's signature called in a row with 1 and with 8 pictures: the same from decoding to boxes, without
  HTTP, header, orientation and JSON.
- *Ultralytics*: `yolo predict` with YOLOv8n's network, random weights and its defaults, on a folder of links to the
  same pictures at the bundle's size: reading files, decoding by OpenCV, resizing, the network, suppression above a
  score of 0.25, a line of text per picture; no HTTP. It pads a picture to multiples of 32 where we pad to the square,
  and random weights leave suppression nothing to do: both in its favour. Its time is that between its lines, so that
  starting does not count. It takes one thread less than there are cores, so it is also run as a process per core.

Milliseconds are those of a call: with 8 pictures they are those of all eight. A fifth of the time before is not
counted. Nine minutes on two cores; needs `make bench-peers`. Writes results/benchmarks/serve_speed.json.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import load
import measure
import yolo_predict
from measure import ROOT, Row

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import processes, stage
from plantdoc.core.errors import UserError
from plantdoc.registry import bundles

CLIENTS = 32
OURS, ALONE = f"ours, {CLIENTS} clients", "ours, 1 client"
EACH = "Ultralytics, 8, a process per core"
FASTER, SPREAD = 1.5, 3.0


def main() -> None:
    arguments = parse()
    processes.end_on_terminate()  # what it has started ends with it
    cores = pin(arguments.cores)
    bundle = bundles.find(arguments.model)
    size = json.loads((bundle.folder / "config.json").read_text())["image_size"]
    load.photo_files(arguments.source)  # that there are some is said before anything is started
    served = functools.partial(ours, arguments.model, arguments.source, cores, arguments.seconds)
    called = functools.partial(bare, bundle.model, arguments.source, cores, arguments.seconds)
    predicted = functools.partial(yolo_predict.rate, arguments.source, size, arguments.seconds)
    sides = {
        ALONE: functools.partial(served, 1),
        OURS: functools.partial(served, CLIENTS),
        "bare, 1": functools.partial(called, 1),
        "bare, 8": functools.partial(called, 8),
        "Ultralytics, 1": functools.partial(predicted, 1, 1),
        "Ultralytics, 8": functools.partial(predicted, 8, 1),
        EACH: functools.partial(predicted, 8, cores),
    }
    rounds = measure.in_turns(sides, arguments.rounds)
    rows = {name: {"side": name} | measure.medians(found) for name, found in rounds.items()}
    plain = max(rows[name]["pictures/s"] for name in ("Ultralytics, 1", "Ultralytics, 8"))
    for row in rows.values():
        clients = row.setdefault("clients' cores", None)
        row["CPU ms a picture"] = 1000 * (row["cores"] + (clients or 0)) / row["pictures/s"]
        row["of Ultralytics"] = row["pictures/s"] / plain
    under_load = rows[OURS]
    spread = under_load["p99 ms"] / under_load["p50 ms"]
    against = "pictures/s of ours under load, of Ultralytics' predict"
    targets = [
        measure.target(f"{against}, as it comes, at its better batch size", under_load["of Ultralytics"], FASTER),
        measure.target(f"{against}, a process per core", under_load["pictures/s"] / rows[EACH]["pictures/s"], FASTER),
        measure.target(f"p99 of p50 with {CLIENTS} clients", spread, at_most=SPREAD),
    ]
    measure.write(
        "serve_speed",
        list(rows.values()),
        targets,
        peers=[yolo_predict.PEER],
        model=f"{bundle.version}, {size} px",
        pictures=f"{len(load.photo_files(arguments.source))} of {arguments.source.name}",
        cores=cores,
        seconds=arguments.seconds,
        profile=profile(bundle.model, arguments.source, cores, rows[ALONE]["p50 ms"]),
        rounds=rounds,
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="models/bundle", help="as scripts/serve.py takes it")
    parser.add_argument("--source", type=Path, default=Path("data/raw/test"), help="folder of photos (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="that count, each side and round (%(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="that everything shares (%(default)s)")
    return parser.parse_args()


def pin(wanted: int) -> int:
    """Keep this process, and all it starts, on so many cores, where the system can; returns how many they are."""
    if not hasattr(os, "sched_setaffinity"):
        return min(wanted, os.cpu_count() or 1)
    cores = sorted(os.sched_getaffinity(0))[:wanted]
    os.sched_setaffinity(0, cores)
    return len(cores)


def ours(model: str, source: Path, cores: int, seconds: float, clients: int) -> Row:
    """scripts/serve.py, asked by so many clients."""
    with load.server(model, ["--threads", str(cores)]) as (url, pid):
        photos = load.from_folder(source)
        asyncio.run(load.load(url, photos, clients, seconds * load.WARM))
        found = load.asked(url, pid, photos, clients, seconds)
    if found["errors"]:
        raise UserError(f"{found['errors']} requests were not answered; python benchmarks/load.py shows which")
    return {name: found[name] for name in ("pictures/s", "p50 ms", "p99 ms")} | {
        "cores": found["server's cores"],
        "clients' cores": found["clients' cores"],
    }


def bare(model: Path, source: Path, cores: int, seconds: float, batch: int) -> Row:
    """The SavedModel, asked by a process of its own."""
    found = _bare(model, source, cores, "--batch", str(batch), "--seconds", str(seconds))
    calls = found["calls"]
    return {
        "pictures/s": batch * len(calls) / found["seconds"],
        "p50 ms": 1000 * load.percentile(calls, 50),
        "p99 ms": 1000 * load.percentile(calls, 99),
        "cores": found["processor"] / found["seconds"],
    }


def profile(model: Path, source: Path, cores: int, alone: float) -> dict:
    """Milliseconds a picture of the parts of an answer, in calls of 1 and of 8; what is left is HTTP and threads."""
    found = {
        f"calls of {batch}, ms a picture": _bare(model, source, cores, "--batch", str(batch), "--parts")
        for batch in (1, 8)
    }
    inside = sum(found["calls of 1, ms a picture"][name] for name in ("check of the header", "answer as JSON"))
    rest = alone - inside - found["calls of 1, ms a picture"]["call as served"]
    return found | {"HTTP and threads, ms a request of one client": rest}


def _bare(model: Path, source: Path, cores: int, *options: str) -> dict:
    command = [
        sys.executable,
        str(ROOT / "benchmarks/saved_model_client.py"),
        str(model),
        str(source),
        "--threads",
        str(cores),
    ]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    )
    if done.returncode:
        raise UserError(f"the SavedModel cannot be asked: {done.stderr.strip()[-1500:]}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    stage.run(main)
