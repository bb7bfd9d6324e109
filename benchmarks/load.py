"""Load on the local server: many clients for a while, with and without merging requests into calls of the model.

    python benchmarks/load.py                                       models/bundle, 32 clients, 60 s each way, twice
    python benchmarks/load.py detector@v1.2.0 --seconds 10 --rounds 1
    python benchmarks/load.py --clients 8 --pictures ~/photos

It starts scripts/serve.py itself, in turns: merging, alone, merging, alone. Each server is asked for a fifth of the
time first, which does not count; the memory then is held against that at the end. Clients ask one photo after another,
those of the bundle's examples or of a folder, each on a connection that it keeps. They run on the cores that the server
runs on: what they take is part of the figures. Prints a table, and writes it to results/benchmarks/load.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc import stage
from plantdoc.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
OUT = "results/benchmarks/load.json"
WAYS = {"merging": [], "alone": ["--no-merging"]}
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
    rounds = []
    for number in range(arguments.rounds):
        for way in WAYS:
            rounds.append({"round": number + 1, "way": way} | measure(way, arguments))
            print_table(rounds[-1:], header=len(rounds) == 1)
    summary = [{"way": way} | summed([row for row in rounds if row["way"] == way]) for way in WAYS]
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "model": rounds[0]["model"],
        "clients": arguments.clients,
        "seconds": arguments.seconds,
    }
    with stage.replacing(arguments.out, folder=False) as path:
        path.write_text(json.dumps(about | {"summary": summary, "rounds": rounds}, indent=1) + "\n")
    print(f"written to {arguments.out}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="models/bundle", help="as scripts/serve.py takes it")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0, help="that count, each way and round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pictures", type=Path, help="folder of photos; default: the bundle's examples")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the model")
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--max-wait-ms", type=int, default=5)
    parser.add_argument("--out", default=OUT, help=f"default: {OUT}")
    return parser.parse_args()


def measure(way: str, arguments: argparse.Namespace) -> dict:
    """Start a server, warm it up, and ask it for a while."""
    options = ["--threads", str(arguments.threads), "--max-batch", str(arguments.max_batch)]
    options += ["--max-wait-ms", str(arguments.max_wait_ms), *WAYS[way]]
    with server(arguments.model, options) as (url, pid):
        photos = pictures(url, arguments.pictures)
        asyncio.run(load(url, photos, arguments.clients, arguments.seconds * WARM))
        before, batches = memory(pid), batch_sizes(url)
        started, cpu = time.perf_counter(), processor(pid)
        counts = asyncio.run(load(url, photos, arguments.clients, arguments.seconds))
        took = time.perf_counter() - started
        model = json.loads(get(url, "/info"))["model"]
        sizes = [after - early for after, early in zip(batch_sizes(url), batches, strict=True)]
        if not counts.seconds:
            raise UserError(f"the server answered nothing in {took:.0f} s: {counts.errors}")
        hundredths = statistics.quantiles(counts.seconds, n=100) if len(counts.seconds) > 1 else counts.seconds * 99
        return {
            "model": model,
            "answers": len(counts.seconds),
            "errors": counts.errors,
            "per_second": round(len(counts.seconds) / took, 1),
            "p50_ms": round(1000 * hundredths[49], 1),
            "p99_ms": round(1000 * hundredths[98], 1),
            "pictures_per_call": round(sizes[1] / sizes[0], 2) if sizes[0] else None,
            "server_cores": round((processor(pid) - cpu) / took, 2),
            "mb_warm": round(before / 1e6, 1),
            "mb_end": round(memory(pid) / 1e6, 1),
        }


def summed(rows: list[dict]) -> dict:
    """The median over the rounds of each figure; the errors of all."""
    figures = ("per_second", "p50_ms", "p99_ms", "mb_warm", "mb_end")
    errors: dict[str, int] = {}
    for row in rows:
        for what, count in row["errors"].items():
            errors[what] = errors.get(what, 0) + count
    return {name: round(statistics.median(row[name] for row in rows), 1) for name in figures} | {"errors": errors}


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


def pictures(url: str, folder: Path | None) -> list[tuple[str, bytes]]:
    """Content type and bytes of the photos to send."""
    if folder:
        files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in TYPES]
        found = [(TYPES[file.suffix.lower()], file.read_bytes()) for file in files]
    else:
        listed = json.loads(get(url, "/examples"))
        found = [(TYPES[Path(each["name"]).suffix.lower()], get(url, each["url"])) for each in listed]
    if not found:
        raise UserError("there is no photo to send: name a folder with --pictures")
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
    import urllib.request

    with urllib.request.urlopen(url + path, timeout=60) as response:
        return response.read()


def batch_sizes(url: str) -> tuple[float, float]:
    """Calls of the model so far, and pictures in them."""
    text = get(url, "/metrics").decode()
    return tuple(float(re.search(rf"^plantdoc_batch_size_{name} (\S+)$", text, re.M)[1]) for name in ("count", "sum"))


def memory(pid: int) -> int:
    """Bytes resident of a process."""
    import psutil

    return psutil.Process(pid).memory_info().rss


def processor(pid: int) -> float:
    """Seconds of processor time that a process took so far."""
    import psutil

    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def print_table(rows: list[dict], header: bool) -> None:
    columns = [
        ("way", "way", 8),
        ("per_second", "answers/s", 9),
        ("p50_ms", "p50 ms", 8),
        ("p99_ms", "p99 ms", 8),
        ("pictures_per_call", "per call", 8),
        ("server_cores", "cores", 6),
        ("mb_warm", "MB warm", 8),
        ("mb_end", "MB end", 8),
        ("errors", "errors", 6),
    ]
    if header:
        print("  ".join(f"{title:>{width}}" for _, title, width in columns))
    for row in rows:
        cells = row | {"errors": sum(row["errors"].values())}
        print("  ".join(f"{cells[name]!s:>{width}}" for name, _, width in columns), flush=True)


if __name__ == "__main__":
    stage.run(main)
