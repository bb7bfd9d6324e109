"""Bodies that nobody would think of: the server answers each of them, and none with 5xx."""

from __future__ import annotations

import http.client
import io
import json
import queue
import threading

import hypothesis
import pytest
import rectangle_bundles
import rectangle_detector
import running_server
from hypothesis import strategies as st
from PIL import Image

EXAMPLES, BODIES = 50, 20  # bodies in an example: hypothesis's own work is by example
CLIENTS = 4
GROWTH = 300_000_000  # bytes; a picture of the largest size allowed takes twice as much


def picture(kind: str, mode: str = "RGB", **options) -> bytes:
    file = io.BytesIO()
    image = rectangle_detector.picture(96, 64, {"red": (30, 10, 40, 30), "blue": (8, 44, 40, 14)})
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    image.convert(mode).save(file, kind, **({"exif": exif} if kind != "GIF" else {}), **options)
    return file.getvalue()


PICTURES = [
    picture("JPEG"),
    picture("JPEG", progressive=True),
    picture("JPEG", "CMYK"),
    picture("JPEG", "L"),
    picture("PNG"),
    picture("PNG", "P"),
    picture("PNG", "LA"),
    picture("PNG", "I;16"),
    picture("WEBP"),
    picture("WEBP", lossless=True),
    picture("GIF"),
    picture("TIFF"),
]
PICTURE_TYPES = ["image/jpeg", "image/png", "image/webp"]
FORM_TYPE = "multipart/form-data; boundary=b"
TYPES = [*PICTURE_TYPES, "application/json", FORM_TYPE, "text/plain", "", "multipart/form-data"]


def form(*pictures: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return b"".join(head + picture + b"\r\n" for picture in pictures) + b"--b--\r\n"


def mutated(seed: bytes, changes: list[tuple[str, float, bytes, int]]) -> bytes:
    """`seed` after some changes, each at a place 0..1 of its length."""
    for what, place, piece, size in changes:
        at = int(place * len(seed))
        before, after = seed[:at], seed[at:]
        seed = {
            "put": before + piece + after[len(piece) :],
            "insert": before + piece + after,
            "cut": before + after[size:],
            "repeat": before + after[:size] * 3 + after[size:],
            "end": before,
        }[what]
    return seed


PIECE = st.binary(max_size=12) | st.sampled_from(
    [b"\xff\xd8", b"\xff\xff\xff\xff", b"\x00" * 4, b"--b", b'{"b64":', b"["]
)
CHANGES = st.lists(
    # Many at the start, where the headers are.
    st.tuples(
        st.sampled_from(["put", "insert", "cut", "repeat", "end"]),
        st.floats(0, 1) | st.floats(0, 0.1),
        PIECE,
        st.integers(1, 400),
    ),
    max_size=4,
)
MUTATED = st.builds(mutated, st.sampled_from(PICTURES), CHANGES)
SEVERAL = st.lists(MUTATED | st.sampled_from(PICTURES), min_size=1, max_size=2)
JSON = st.builds(lambda pictures, wrapped: running_server.instances(*pictures, wrapped=wrapped), SEVERAL, st.booleans())
FORM = st.builds(lambda pictures: form(*pictures), SEVERAL)
ANYTHING = MUTATED | JSON | FORM | st.binary(max_size=200)
SENT = st.one_of(
    st.tuples(MUTATED, st.sampled_from(PICTURE_TYPES)),
    st.tuples(JSON, st.just("application/json")),
    st.tuples(FORM, st.just(FORM_TYPE)),
    st.tuples(st.builds(mutated, JSON, CHANGES), st.just("application/json")),
    st.tuples(st.builds(mutated, FORM, CHANGES), st.just(FORM_TYPE)),
    st.tuples(ANYTHING, st.sampled_from(TYPES)),
)
GOOD = ["", "", "", "threshold=0", "threshold=1e-3", "max=1"]
QUERY = st.sampled_from([*GOOD, *GOOD, *GOOD, *GOOD, "max=1&threshold=2", "x=%00", "max=%ff"])


class Clients:
    """Send bodies on some connections that are kept, and collect what is wrong with the answers."""

    def __init__(self, server: running_server.Served):
        self._host = server.url.removeprefix("http://")
        self._work: queue.Queue = queue.Queue()
        self._wrong: list[str] = []
        self.statuses: list[int] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def send(self, bodies: list[tuple[bytes, str, str]]) -> list[str]:
        for each in bodies:
            self._work.put(each)
        self._work.join()
        wrong, self._wrong = self._wrong, []
        return wrong

    def stop(self) -> None:
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join(running_server.PATIENCE)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=running_server.PATIENCE)
        while sent := self._work.get():
            body, kind, query = sent
            try:
                connection.request("POST", f"/invocations?{query}", body, {"Content-Type": kind})
                response = connection.getresponse()
                content = json.loads(response.read())
                self.statuses.append(response.status)
                if response.status >= 500 or (response.status != 200 and content["error"]["status"] != response.status):
                    self._wrong.append(f"{response.status} {content}")
            except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
                self._wrong.append(repr(error))
                connection.close()
            self._work.task_done()
        connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server.running(rectangle_bundles.rectangles(tmp_path_factory.mktemp("fuzzed"))) as process:
        yield process


@pytest.mark.full
@pytest.mark.large
def test_mutated_bodies(server, times):
    clients = Clients(server)
    clients.send([(picture, kind, "") for picture in PICTURES for kind in PICTURE_TYPES])
    before = server.forget_peak()
    clients.statuses.clear()

    @hypothesis.settings(
        max_examples=EXAMPLES * times,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.lists(st.tuples(SENT, QUERY), min_size=BODIES, max_size=BODIES))
    def fuzz(sent) -> None:
        assert clients.send([(*body_and_type, query) for body_and_type, query in sent]) == []
        assert server.process.poll() is None

    fuzz()
    clients.stop()
    assert len(clients.statuses) >= EXAMPLES * BODIES * times
    assert set(clients.statuses) >= {200, 400, 415, 422}, "each kind of answer was reached"
    assert clients.statuses.count(200) > len(clients.statuses) / 5, "the model was reached"
    assert server.peak() - before < GROWTH
    assert server.ask(PICTURES[0]).json()["detections"]
    assert server.client.get("/ping").status_code == 200
