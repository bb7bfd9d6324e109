"""scripts/serve.py as a process, and ways to ask it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120  # seconds until a server that does not come or go is given up


class Served:
    """A running server: `url`, its `process`, the `client` to ask it with, and what it `said` to people."""

    def __init__(self, process: subprocess.Popen, url: str, lines: queue.Queue, said: list[str]):
        self.process, self.url, self._lines, self.said = process, url, lines, said
        self.client = httpx.Client(base_url=url, timeout=PATIENCE)

    def ask(self, body: bytes, kind: str = "image/jpeg", **options: object) -> httpx.Response:
        return self.client.post("/invocations", content=body, headers={"Content-Type": kind}, params=options)

    def logged(self, id: str) -> dict:
        """The line of the request with this id."""
        while True:
            line = json.loads(self._lines.get(timeout=PATIENCE))
            if line["id"] == id:
                return line

    def figure(self, name: str) -> float:
        """A value of /metrics, by its name with labels; 0 where it was never counted."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def peak(self) -> int:
        """Bytes: the most memory that it had since `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])

    def forget_peak(self) -> int:
        """Begin to look for the peak anew; returns the memory in use now, bytes."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.peak()


def start(*arguments: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.Popen:
    """Start scripts/serve.py at a free port."""
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts/serve.py", "--port", "0", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # pytest may have been started with SIGINT ignored, as shells do with their background jobs.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@contextlib.contextmanager
def running(*arguments: str | Path, cwd: Path = ROOT, **environment: str) -> Iterator[Served]:
    """Run scripts/serve.py until it answers, and end it."""
    process = start(*arguments, cwd=cwd, **environment)
    lines: queue.Queue = queue.Queue()
    url, said = "", []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"open (http://\S+)", line):
            url = found[1]
            break
    if not url:
        process.wait(PATIENCE)
        raise AssertionError("it does not serve: " + "".join(said))
    readers = [
        threading.Thread(target=lambda: [lines.put(line) for line in process.stdout], daemon=True),
        threading.Thread(target=lambda: said.extend(process.stderr), daemon=True),
    ]
    for reader in readers:
        reader.start()
    served = Served(process, url, lines, said)
    try:
        yield served
    finally:
        served.client.close()
        process.terminate()
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
        for reader in readers:
            reader.join(PATIENCE)
        process.stdout.close()
        process.stderr.close()


async def at_once(url: str, pictures: list[bytes]) -> list[httpx.Response]:
    """Ask about all of these JPEG pictures at the same time, each on a connection of its own."""
    host, port = url.removeprefix("http://").split(":")

    async def ask(picture: bytes) -> httpx.Response:
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /invocations HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: image/jpeg\r\n"
        writer.write(f"{head}Content-Length: {len(picture)}\r\n\r\n".encode() + picture)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return httpx.Response(int(head.split()[1]), content=body)

    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*map(ask, pictures))


def instances(*pictures: bytes, wrapped: bool = False) -> bytes:
    """TensorFlow Serving's JSON with these pictures."""
    rows: list[dict] = [{"b64": base64.b64encode(picture).decode()} for picture in pictures]
    return json.dumps({"instances": [{"image_bytes": row} for row in rows] if wrapped else rows}).encode()
