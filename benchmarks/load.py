"""Load on the local server: many clients for a while, with and without merging requests into calls of the model.

    python benchmarks/load.py                                       models/bundle, 32 clients, 60 s each way, twice
    python benchmarks/load.py detector@v1.2.0 --seconds 10 --rounds 1
    python benchmarks/load.py --clients 8 --source ~/photos

It starts scripts/serve.py itself, in turns: merging, alone, merging, alone. Each server is asked for a fifth of the
time first, which does not count; the memory then is held against that at the end. Clients ask one photo after another,
those of the bundle's examples or of a folder, each on a connection that it keeps. They run on the cores that the server
runs on: what they take is part of the figures, and named. Prints a table, and writes results/benchmarks/load.json.
Takes five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import measure
import psutil
from measure import ROOT, Row

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import processes, stage
from plantdoc.core.errors import UserError

MODES = {"merging": [], "alone": ["--no-merging"]}
TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
WARM = 0.2  # of the time


@dataclass
class Counts:
    """What the clients saw: seconds of each answer, and statuses that are none."""

    seconds: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    def error(self, what: str) -> None:
        self.errors[what] = self.errors.get(what, 0) + 1


def main() -> None:
    arguments = parse()
    processes.end_on_terminate()  # what it has started ends with it
    sides = {way: functools.partial(loaded, way, arguments) for way in MODES}
    rounds = measure.in_turns(sides, arguments.rounds)
    rows = [measure.medians(found) | {"errors": sum(row["errors"] for row in found)} for found in rounds.values()]
    measure.write("load", rows, clients=arguments.clients, seconds=arguments.seconds, rounds=rounds)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="models/bundle", help="as scripts/serve.py takes it")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0, help="that count, each way and round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--source", type=Path, help="folder of photos; default: the bundle's examples")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the model")
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--max-wait-ms", type=int, default=5)
    return parser.parse_args()


def loaded(way: str, arguments: argparse.Namespace) -> Row:
    """Start a server, warm it up, and ask it for a while."""
    options = ["--threads", str(arguments.threads), "--max-batch", str(arguments.max_batch)]
    options += ["--max-wait-ms", str(arguments.max_wait_ms), *MODES[way]]
    with server(arguments.model, options) as (url, pid):
        photos = from_folder(arguments.source) if arguments.source else examples(url)
        asyncio.run(load(url, photos, arguments.clients, arguments.seconds * WARM))
        before = memory(pid)
        row = {"way": way, "model": json.loads(get(url, "/info"))["model"]}
        row |= asked(url, pid, photos, arguments.clients, arguments.seconds)
        return row | {"MB warm": before / 1e6, "MB end": memory(pid) / 1e6}


def asked(url: str, pid: int, photos: list[tuple[str, bytes]], clients: int, seconds: float) -> Row:
    """Ask a server for so long: answers per second, how long they took, and who took how much of the processor.

    Raises:
        UserError: it answered nothing.
    """
    batches, server_cpu, own_cpu, started = batch_sizes(url), processor(pid), time.process_time(), time.perf_counter()
    counts = asyncio.run(load(url, photos, clients, seconds))
    took = time.perf_counter() - started
    server_cpu, own_cpu = processor(pid) - server_cpu, time.process_time() - own_cpu
    calls, in_them = (after - before for after, before in zip(batch_sizes(url), batches, strict=True))
    if not counts.seconds:
        raise UserError(f"the server answered nothing in {took:.0f} s: {counts.errors}")
    if counts.errors:
        print(f"errors: {counts.errors}", file=sys.stderr)
    return {
        "pictures/s": len(counts.seconds) / took,
        "p50 ms": 1000 * percentile(counts.seconds, 50),
        "p99 ms": 1000 * percentile(counts.seconds, 99),
        "per call": in_them / calls if calls else None,
        "server's cores": server_cpu / took,
        "clients' cores": own_cpu / took,
        "errors": sum(counts.errors.values()),
    }


def percentile(values: list[float], percent: int) -> float:
    """The value that so many percent of the values do not exceed, interpolated; the only one where there is one."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


@contextlib.contextmanager
def server(model: str, options: list[str]) -> Iterator[tuple[str, int]]:
    """scripts/serve.py with a model, until it answers: its URL and its process."""
    command = [sys.executable, str(ROOT / "scripts/serve.py"), model, "--port", "0", *options]
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said) as process,
    ):
        try:
            while True:
                said.seek(0)
                text = said.read()
                if found := re.search(r"open (http://\S+)", text):
                    yield found[1], process.pid
                    break
                if process.poll() is not None:
                    raise UserError(f"the server does not start: {text.strip()}")
                time.sleep(0.1)
        finally:
            process.terminate()


def examples(url: str) -> list[tuple[str, bytes]]:
    """Content type and bytes of the photos that the bundle offers.

    Raises:
        UserError: it offers none.
    """
    listed = json.loads(get(url, "/examples"))
    if not listed:
        raise UserError("the bundle has no examples to send: name a folder of photos with --source")
    return [(TYPES[Path(each["name"]).suffix.lower()], get(url, each["url"])) for each in listed]


def from_folder(folder: Path) -> list[tuple[str, bytes]]:
    """Content type and bytes of the photos in a folder."""
    return [(TYPES[file.suffix.lower()], file.read_bytes()) for file in photo_files(folder)]


def photo_files(folder: Path) -> list[Path]:
    """The photos in a folder, in the order of their names.

    Raises:
        UserError: there is none.
    """
    found = [file for file in sorted(folder.glob("*")) if file.suffix.lower() in TYPES]
    if not found:
        raise UserError(f"there is no photo in {folder}: name a folder of JPEG, PNG or WebP files with --source")
    return found


async def load(url: str, photos: list[tuple[str, bytes]], clients: int, seconds: float) -> Counts:
    """Let clients ask for so long, each its next question when it has its answer."""
    counts, until = Counts(), time.perf_counter() + seconds
    await asyncio.gather(*(client(url, photos, number, until, counts) for number in range(clients)))
    return counts


async def client(url: str, photos: list[tuple[str, bytes]], number: int, until: float, counts: Counts) -> None:
    host, port = url.removeprefix("http://").split(":")
    writer = None
    while time.perf_counter() < until:
        kind, photo = photos[number % len(photos)]
        number += 1
        about = f"Host: {host}\r\nContent-Type: {kind}\r\nContent-Length: {len(photo)}\r\n"
        head = f"POST /invocations HTTP/1.1\r\n{about}\r\n"
        started = time.perf_counter()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(head.encode() + photo)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            body = await reader.readexactly(int(re.search(r"content-length: (\d+)", answer)[1]))
        except (OSError, asyncio.IncompleteReadError) as error:
            counts.error(type(error).__name__)
            writer = None
            continue
        status = answer.split()[1]
        if status == "200" and b'"detections"' in body:
            counts.seconds.append(time.perf_counter() - started)
        else:
            counts.error(status)
            if "connection: close" in answer:
                writer = None
    if writer:
        writer.close()


def get(url: str, path: str) -> bytes:
    with urllib.request.urlopen(url + path, timeout=60) as response:
        return response.read()


def batch_sizes(url: str) -> tuple[float, float]:
    """Calls of the model so far, and pictures in them."""
    text = get(url, "/metrics").decode()
    return tuple(float(re.search(rf"^plantdoc_batch_size_{name} (\S+)$", text, re.M)[1]) for name in ("count", "sum"))


def memory(pid: int) -> int:
    """Bytes resident of a process."""
    return psutil.Process(pid).memory_info().rss


def processor(pid: int) -> float:
    """Seconds of processor time that a process took so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    stage.run(main)
