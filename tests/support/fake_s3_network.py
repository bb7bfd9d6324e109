"""A network before an S3 server: it passes requests on until a test says that one is to go wrong, and how.

    with s3_faults.running(swift) as network:
        network.fail("503", at=7)                         the seventh request from now
        network.fail("cut", where=lambda r: r.method == "PUT", times=3)
        network.down(), network.up()                      out for good, and back

What can go wrong: "500", "503" (S3 says so), "cut" (the connection ends before S3 hears of the request), "lost" (S3 did
it, its answer is lost on the way), "short" (half of the answer's body, then the connection ends). And "409" for writes
with a condition alone: S3 has another request for the same key under way, and wants this one again.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import random
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

# AWS lets one of several writers of a new object in; Swift, asked at the same moment, more: here they come in turn.
CONDITIONAL = threading.Lock()
KINDS = ("500", "503", "cut", "lost", "short")
CONFLICT = "409"
CODES = {"500": "InternalError", "503": "SlowDown", CONFLICT: "ConditionalRequestConflict"}


@dataclass(frozen=True)
class Request:
    """A request as it came in: `key` is bucket and key, unquoted; `conditional` says that it is for a new object."""

    method: str
    key: str
    query: str
    size: int
    conditional: bool = False


@dataclass
class Fault:
    """One thing to go wrong: the requests of `where`, from the `at`th of them on, `left` times (None: for good)."""

    kind: str
    where: Callable[[Request], bool]
    at: int
    left: int | None
    seen: int = 0

    def hits(self, request: Request) -> bool:
        if self.left == 0 or not self.where(request) or (self.kind == CONFLICT and not request.conditional):
            return False
        self.seen += 1
        if self.seen < self.at:
            return False
        self.left = None if self.left is None else self.left - 1
        return True


@dataclass
class Network:
    """What the requests go through."""

    server: tuple[str, int]
    settings: dict[str, str]
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    harmed: list[tuple[str, Request]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def environment(self) -> dict[str, str]:
        """What points the AWS tools to S3 through here."""
        return self.settings | {"AWS_ENDPOINT_URL_S3": self.url}

    def fail(
        self,
        kind: str,
        at: int = 1,
        times: int | None = 1,
        where: Callable[[Request], bool] = lambda request: True,
    ) -> Fault:
        """Let requests go wrong: `times` of those of `where`, from the `at`th from now on."""
        assert kind in (*KINDS, CONFLICT), kind
        self.faults.append(Fault(kind, where, at, times))
        return self.faults[-1]

    def fail_some(self, draw: random.Random, share: float, kinds: tuple[str, ...] = KINDS) -> None:
        """Let about `share` of all requests from now on go wrong, as drawn."""
        for kind in kinds:
            self.fail(kind, times=None, where=lambda request: draw.random() < share / len(kinds))

    def down(self) -> None:
        """S3 cannot be reached any more."""
        self.fail("cut", times=None)

    def up(self) -> None:
        """Nothing goes wrong any more."""
        self.faults.clear()

    def fate(self, request: Request) -> str | None:
        """What is to happen to a request that has come in; None: nothing."""
        with self._lock:
            self.requests.append(request)
            hits = [fault.kind for fault in self.faults if fault.hits(request)]
            if hits:
                self.harmed.append((hits[0], request))
            return hits[0] if hits else None


@contextlib.contextmanager
def running(swift) -> Iterator[Network]:
    """Stand before `swift` (swift_server.Swift, or anything with .url and .environment()) on a port of its own."""
    address = urllib.parse.urlsplit(swift.url)
    network = Network((address.hostname, address.port), swift.environment())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.network = network
    network.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield network
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection from a client, and one from here to the server."""

    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.network: Network = self.server.network
        self.onward = http.client.HTTPConnection(*self.network.server, timeout=60)

    def finish(self) -> None:
        self.onward.close()
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def pass_on(self) -> None:
        """Take a request, decide what becomes of it, and answer, or do not."""
        body = self._body()
        path, _, query = self.path.partition("?")
        key, conditional = urllib.parse.unquote(path).lstrip("/"), "If-None-Match" in self.headers
        kind = self.network.fate(Request(self.command, key, query, len(body), conditional))
        if kind in CODES:
            text = f"<Error><Code>{CODES[kind]}</Code><Message>as the test says</Message></Error>"
            return self._respond(int(kind), [("Content-Type", "application/xml")], text.encode())
        if kind == "cut":
            return self._hang_up()
        with CONDITIONAL if conditional else contextlib.nullcontext():
            # The client's Host stays: it is part of what was signed.
            self.onward.request(self.command, self.path, body, dict(self.headers.items()))
            found = self.onward.getresponse()
            content = found.read()
        if kind == "lost" or (kind == "short" and self.command == "HEAD"):
            return self._hang_up()
        self._respond(found.status, found.getheaders(), content, short=kind == "short")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        del self.headers["Transfer-Encoding"]
        return b"".join(pieces)

    def _respond(self, status: int, headers: list[tuple[str, str]], content: bytes, short: bool = False) -> None:
        self.send_response_only(status)
        length = None
        for name, value in headers:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if short else content)
        if short:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_) -> None:
        """No line per request."""
