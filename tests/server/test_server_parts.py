"""What keeps the server whole, each part by itself: admission, batches, health, slow and vanished clients, faults."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import threading
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import running_server
from PIL import Image
from server_in_process import PATIENCE, Front, answered, until

from plantdoc.registry.bundles import Bundle
from plantdoc.server.access_log import Lines
from plantdoc.server.admission import Admission
from plantdoc.server.batcher import Batcher
from plantdoc.server.callers import LOOPBACK, Callers
from plantdoc.server.health import Health
from plantdoc.server.limits import Limits
from plantdoc.server.local_backend import Local
from plantdoc.serving.handler.refusal import Refused
from plantdoc.serving.handler.request import Options
from plantdoc.serving.handler.uploaded_image import UploadedImage

LIMITS = Limits(
    body=1000,
    bodies=4,
    bytes=4000,
    waiting=3,
    wait_seconds=PATIENCE,
    first_bytes=0,
    idle_seconds=PATIENCE,
    hurry_seconds=PATIENCE,
)


def photos(*names: str, side: int = 16) -> list[UploadedImage]:
    return [UploadedImage(name.encode(), 1, side, side) for name in names]


# ------------------------------------------------------------------------------------------------ a gate


def test_a_gate_lets_in_so_much_and_the_rest_in_their_order():
    async def main() -> list:
        admission, order = Admission(slots=2, capacity=10, waiting=9, seconds=PATIENCE), []
        go = asyncio.Event()

        async def visit(name: str, weight: int) -> None:
            async with admission.slot(weight):
                order.append((name, admission.inside, admission.weight))
                await go.wait()

        tasks = [asyncio.create_task(visit(*each)) for each in (("a", 4), ("b", 4), ("c", 9), ("d", 1), ("e", 99))]
        while admission.waiting < 3:
            await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*tasks)
        assert (admission.inside, admission.weight, admission.waiting) == (0, 0, 0)
        return order

    order = asyncio.run(main())
    assert [name for name, _, _ in order] == list("abcde")
    assert all(inside <= 2 and weight <= 10 for _, inside, weight in order)


def test_who_gives_up_waiting_makes_room():
    async def main() -> None:
        admission = Admission(slots=1, capacity=10, waiting=2, seconds=PATIENCE)

        async def visit() -> None:
            async with admission.slot(1):
                pass

        async with admission.slot(1):
            waiting = [asyncio.create_task(visit()) for _ in range(2)]
            while admission.waiting < 2:
                await asyncio.sleep(0)
            with pytest.raises(Refused, match="more requests are waiting"):
                await visit()
            waiting[0].cancel()
            await asyncio.wait(waiting[:1])
            assert admission.waiting == 1
        await waiting[1]
        assert (admission.inside, admission.waiting) == (0, 0)

    asyncio.run(main())


def test_nobody_waits_for_ever():
    async def main() -> None:
        admission = Admission(slots=1, capacity=10, waiting=2, seconds=0.01)
        async with admission.slot(1):
            with pytest.raises(Refused) as refused:
                async with admission.slot(1):
                    pass
            assert refused.value.status == 429
        assert (admission.inside, admission.waiting) == (0, 0)

    asyncio.run(main())


# ------------------------------------------------------------------------------------------- a batcher


class Held:
    """A model that answers with the photos' bytes, when it is let go; it notes what it was asked."""

    def __init__(self):
        self.calls: list[list[bytes]] = []
        self.go, self.called = threading.Event(), threading.Event()

    def __call__(self, asked: list[UploadedImage]) -> list[bytes]:
        self.calls.append([photo.data for photo in asked])
        self.called.set()
        assert self.go.wait(PATIENCE)
        return self.calls[-1]


async def through(model: Held, groups: list[list[UploadedImage]], wait: float = PATIENCE, **options) -> list:
    """Ask about the first group; when the model is at it, about the others; then let the model go."""
    batcher = Batcher(model, **{"most": 4, "pixels": 10**9} | options, wait=wait)
    batcher.start()
    try:
        tasks = [asyncio.create_task(batcher.ask(groups[0]))]
        await asyncio.to_thread(model.called.wait, PATIENCE)
        tasks += [asyncio.create_task(batcher.ask(group)) for group in groups[1:]]
        await asyncio.sleep(0)
        model.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await batcher.stop()


FULL = photos("a", "b", "c", "d")  # is not waited with


def test_what_waits_is_asked_together_and_each_gets_its_own():
    model = Held()
    groups = [FULL, *([photo] for photo in photos(*"efgh")), FULL]
    answers = asyncio.run(through(model, groups))
    assert model.calls == [[b"a", b"b", b"c", b"d"], [b"e", b"f", b"g", b"h"], [b"a", b"b", b"c", b"d"]]
    assert answers == [[photo.data for photo in group] for group in groups]


def test_a_group_stays_together():
    model = Held()
    groups = [FULL, photos("e", "f", "g"), photos("h", "i"), photos("j", "k")]
    asyncio.run(through(model, groups))
    assert model.calls[1:] == [[b"e", b"f", b"g"], [b"h", b"i", b"j", b"k"]]


def test_without_merging_each_group_is_a_call():
    model = Held()
    asyncio.run(through(model, [photos("a"), photos("b"), photos("c", "d")], merge=False))
    assert model.calls == [[b"a"], [b"b"], [b"c", b"d"]]


def test_many_pixels_are_not_asked_together():
    model = Held()
    asyncio.run(through(model, [FULL, *([photo] for photo in photos(*"efg", side=100))], wait=0, pixels=20_000))
    assert model.calls[1:] == [[b"e", b"f"], [b"g"]]


def test_a_photo_does_not_wait_for_others_for_ever():
    model = Held()
    assert asyncio.run(through(model, [photos("a"), photos("b")], wait=0.001)) == [[b"a"], [b"b"]]


def test_a_photo_waits_for_others_to_share_its_call():
    async def main() -> None:
        model = Held()
        model.go.set()
        batcher = Batcher(model, most=2, wait=PATIENCE, pixels=10**9)
        batcher.start()
        first = asyncio.create_task(batcher.ask(photos("a")))
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert await batcher.ask(photos("b")) == [b"b"] and await first == [b"a"]
        assert model.calls == [[b"a", b"b"]]
        await batcher.stop()

    asyncio.run(main())


def test_who_has_gone_is_not_asked_for():
    async def main() -> None:
        model = Held()
        batcher = Batcher(model, most=4, wait=0, pixels=10**9)
        batcher.start()
        first = asyncio.create_task(batcher.ask(photos("a")))
        await asyncio.to_thread(model.called.wait, PATIENCE)
        stays, gone, also = (asyncio.create_task(batcher.ask(photos(name))) for name in "bcd")
        await asyncio.sleep(0)
        gone.cancel()
        first.cancel()  # it is being asked about: its answer is thrown away
        await asyncio.wait([gone, first])
        model.go.set()
        assert [await stays, await also] == [[b"b"], [b"d"]]
        assert model.calls == [[b"a"], [b"b", b"d"]]
        await batcher.stop()

    asyncio.run(main())


def test_a_failure_reaches_those_it_concerns_and_the_batcher_goes_on():
    async def main() -> None:
        def model(asked: list[UploadedImage]) -> list[bytes]:
            if asked[0].data == b"bad":
                raise MemoryError("planted")
            return [photo.data for photo in asked]

        batcher = Batcher(model, most=4, wait=0, pixels=10**9)
        batcher.start()
        with pytest.raises(MemoryError):
            await batcher.ask(photos("bad"))
        assert await batcher.ask(photos("good")) == [b"good"]
        await batcher.stop()

    asyncio.run(main())


# -------------------------------------------------------------------------------------------- its health


def test_health_asks_once_and_again_after_doubt():
    async def main() -> None:
        asked, broken = [], False

        async def check() -> None:
            asked.append(1)
            if broken:
                raise ValueError("planted")

        health = Health(check, fresh=PATIENCE)
        assert [await health.good(), await health.good()] == [True, True]
        assert len(asked) == 1
        broken = True
        health.doubt()
        assert [await health.good(), await health.good()] == [False, False]
        assert len(asked) == 2
        health.answered()
        assert await health.good() and len(asked) == 2
        stale = Health(check, fresh=0)
        assert not await stale.good() and not await stale.good() and len(asked) == 4

    asyncio.run(main())


def test_a_model_that_hangs_is_not_healthy():
    async def main() -> None:
        assert not await Health(asyncio.Event().wait, patience=0.01).good()

    asyncio.run(main())


# ------------------------------------------------------------------------------------- photos in parts


class Echo:
    """A model that finds nothing, and notes how many photos it was asked about."""

    def __init__(self):
        self.calls: list[int] = []

    def ask(self, asked: list[UploadedImage]) -> list[dict]:
        self.calls.append(len(asked))
        return [{"boxes": [], "scores": [], "class_ids": [], "class_names": []}] * len(asked)


def encoded(kind: str, side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, kind)
    return file.getvalue()


def local(model: Echo, most: int = 8) -> Local:
    about = {"threshold": 0.5, "max_pixels": 10_000}
    return Local(Bundle(Path(), "bundle-1", ["leaf"], about, "x"), model, LIMITS, most=most, wait=0)


def test_a_request_is_asked_in_parts_of_so_many_photos_and_pixels():
    async def main() -> None:
        model = Echo()
        service = local(model, most=3)
        await service.start()
        sides = [20, 20, 20, 20, 90, 90, 20, 200]
        body = running_server.instances(*(encoded("PNG", side) for side in sides))
        answer = await service.predict("application/json", body, Options())
        assert [each.get("width") for each in answer["predictions"]] == [*sides[:-1], None]
        assert answer["predictions"][-1]["error"]["code"] == "too_many_pixels"
        assert model.calls == [3, 2, 2], "90 × 90 twice is too much for one call"
        await service.stop()

    asyncio.run(main())


def test_converting_is_bounded_and_holds_nobody_else_up():
    async def main() -> None:
        service = local(Echo())
        await service.start()
        async with service._converting.slot(10**9):
            waiting = asyncio.create_task(service.predict("image/webp", encoded("WEBP", 20), Options()))
            await until(lambda: service._converting.waiting == 1)
            assert (await service.predict("image/png", encoded("PNG", 20), Options()))["width"] == 20
            assert not waiting.done()
        assert (await waiting)["width"] == 20
        await service.stop()

    asyncio.run(main())


# ------------------------------------------------------------------------------- the way of a request


def test_a_client_that_hangs_up_frees_its_place():
    async def main() -> None:
        async with Front(LIMITS) as front:
            one = [await front.connect(b"x") for _ in range(4)]
            await until(lambda: front.backend.asked == 4)
            reader, writer = await front.connect(b"waits")
            await until(lambda: front.waiting() == 1)
            one[0][1].close()
            await until(lambda: front.backend.cancelled == 1 and front.backend.asked == 5)
            assert (front.inside(), front.waiting()) == (4, 0)
            front.backend.go.set()
            assert await answered(reader) == (200, {"detections": [], "width": 5})
            for each in (*one[1:], (reader, writer)):
                each[1].close()
            await until(lambda: front.inside() == 0)
        assert sorted(json.loads(line)["status"] for line in front.lines) == [200, 200, 200, 200, 499]

    asyncio.run(main())


def test_a_client_that_hangs_up_in_the_middle_of_its_body_frees_its_place():
    async def main() -> None:
        async with Front(LIMITS) as front:
            _, writer = await front.connect(b"half", length=100)
            await until(lambda: front.inside() == 1)
            writer.close()
            await until(lambda: front.inside() == 0 and front.lines)
            assert json.loads(front.lines[0])["status"] == 499
            assert front.backend.asked == 0

    asyncio.run(main())


def test_too_many_are_told_to_come_again():
    async def main() -> None:
        async with Front(LIMITS) as front:
            clients = [await front.connect(b"x") for _ in range(7)]
            await until(lambda: front.inside() == 4 and front.waiting() == 3)
            async with httpx.AsyncClient() as client:
                response = await client.post(f"{front.url}/invocations", content=b"x")
                assert response.status_code == 429 and response.headers["retry-after"]
                assert response.json()["error"]["code"] == "busy"
                assert (await client.get(f"{front.url}/info")).status_code == 200, "the rest is answered meanwhile"
            front.backend.go.set()
            assert [(await answered(reader))[0] for reader, _ in clients] == [200] * 7

    asyncio.run(main())


def test_bodies_in_memory_are_bounded_by_their_size_too():
    async def main() -> None:
        async with Front(replace(LIMITS, bytes=1500)) as front:
            clients = [await front.connect(b"x" * 800) for _ in range(3)]
            await until(lambda: front.inside() == 1 and front.waiting() == 2)
            front.backend.go.set()
            assert [(await answered(reader))[0] for reader, _ in clients] == [200] * 3

    asyncio.run(main())


@pytest.mark.parametrize("limits", [{"idle_seconds": 0.05}, {"body_seconds": 0.05}])
def test_a_body_that_does_not_come_is_refused(limits):
    async def main() -> None:
        async with Front(replace(LIMITS, **limits)) as front:
            reader, writer = await front.connect(b"half", length=100)
            status, content = await answered(reader)
            assert (status, content["error"]["code"]) == (408, "too_slow")
            await until(lambda: front.inside() == 0)
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("said", [True, False])
def test_a_long_body_is_refused_before_its_end(said):
    """The client is answered though it goes on sending, and what it sends is thrown away."""

    async def main() -> None:
        async with Front(LIMITS) as front:
            pieces, piece = 100, b"x" * 65536
            if said:
                reader, writer = await front.connect(piece, length=(pieces + 1) * len(piece))
            else:
                reader, writer = await asyncio.open_connection(*front.address)
                writer.write(b"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
                piece = b"10000\r\n" + piece + b"\r\n"
                writer.write(piece)
            status, content = await answered(reader)
            assert (status, content["error"]["code"]) == (413, "too_long")
            assert front.inside() == 0
            for _ in range(pieces):
                writer.write(piece)
                await writer.drain()
            writer.write(b"" if said else b"0\r\n\r\n")
            assert await reader.read() == b"", "then the connection is closed"
            assert json.loads(front.lines[0])["received"] > 6_000_000

    asyncio.run(main())


def test_an_unexpected_fault_is_500_and_logged_and_shows_nothing(caplog):
    async def main() -> None:
        async with Front(LIMITS) as front, httpx.AsyncClient() as client:
            front.backend.error = RuntimeError("/secret/path and a key")
            with caplog.at_level(logging.ERROR, "plantdoc"):
                response = await client.post(f"{front.url}/invocations", content=b"x")
            assert response.status_code == 500
            error = response.json()["error"]
            assert error["code"] == "failed" and "secret" not in response.text
            assert response.headers["x-request-id"] in error["message"]
            assert any(response.headers["x-request-id"] in record.getMessage() for record in caplog.records)
            assert not any(record.name.startswith("uvicorn") for record in caplog.records), "it was dealt with"
            front.backend.error = None
            front.backend.go.set()
            assert (await client.post(f"{front.url}/invocations", content=b"x")).status_code == 200

    asyncio.run(main())


@pytest.mark.parametrize("error", [RuntimeError("planted"), Refused(502, "no_answer", "planted")])
def test_ping_takes_an_answer_for_health_and_a_fault_for_doubt(error):
    async def main() -> None:
        async with Front(LIMITS) as front, httpx.AsyncClient() as client:
            front.backend.go.set()
            await client.post(f"{front.url}/invocations", content=b"x")
            assert (await client.get(f"{front.url}/ping")).status_code == 200
            assert front.backend.checked == 0
            front.backend.error = error
            await client.post(f"{front.url}/invocations", content=b"x")
            assert (await client.get(f"{front.url}/ping")).status_code == 200
            assert front.backend.checked == 1

    asyncio.run(main())


def test_who_meets_a_model_that_is_starting_is_told_when_to_come_again():
    async def main() -> None:
        async with Front(LIMITS) as front, httpx.AsyncClient() as client:
            front.backend.go.set()
            front.backend.error = Refused(503, "endpoint_starting", "planted")
            response = await client.post(f"{front.url}/invocations", content=b"x")
            assert response.status_code == 503 and int(response.headers["retry-after"]) > 0

    asyncio.run(main())


def test_other_addresses_and_methods_are_refused_in_json():
    async def main() -> None:
        async with Front(LIMITS) as front, httpx.AsyncClient() as client:
            missing = await client.get(f"{front.url}/<b>nothing")
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
            wrong = await client.delete(f"{front.url}/ping")
            assert (wrong.status_code, wrong.json()["error"]["code"], wrong.headers["allow"]) == (
                405,
                "wrong_method",
                "GET, HEAD",
            )

    asyncio.run(main())


# ---------------------------------------------------------------------------------------- the access log


def test_a_reader_that_does_not_read_does_not_hold_up_the_server():
    class Stuck(io.StringIO):
        held, go = threading.Event(), threading.Event()

        def write(self, text: str) -> int:
            self.held.set()
            self.go.wait(PATIENCE)
            return super().write(text)

    stream = Stuck()
    lines = Lines(stream, most=5)
    lines.start()
    lines.write("first")
    assert stream.held.wait(PATIENCE)
    for i in range(7):
        lines.write(str(i))
    assert lines.dropped == 2
    stream.go.set()
    lines.stop(PATIENCE)
    assert stream.getvalue().split() == ["first", "0", "1", "2", "3", "4"]


def test_a_closed_reader_does_not_end_the_log():
    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    stream = Closed()
    lines = Lines(stream)
    lines.start()
    for _ in range(3):
        lines.write("x")
    lines.stop(PATIENCE)
    assert lines.dropped == 3


def test_a_lone_caller_does_not_wait_for_others():
    async def main() -> None:
        model = Held()
        model.go.set()
        batcher = Batcher(model, most=2, wait=10 * PATIENCE, pixels=10**9)
        batcher.start()
        assert await batcher.ask(photos("a", "b")) == [b"a", b"b"]  # as many as go into a call: asked at once
        async with asyncio.timeout(PATIENCE):
            assert await batcher.ask(photos("c")) == [b"c"]
        await batcher.stop()

    asyncio.run(main())


# ---------------------------------------------------------------------------------- methods, files, callers


@pytest.mark.parametrize("path", ["/", "/ping", "/info", "/docs", "/examples", "/page/page.js", "/metrics", "/nothing"])
def test_head_is_answered_as_get_without_a_body(path):
    async def main() -> None:
        async with Front(LIMITS) as front, httpx.AsyncClient() as client:
            got, head = await client.get(front.url + path), await client.head(front.url + path)
            assert (head.status_code, head.content) == (got.status_code, b"")
            kept = ("content-type", "cache-control", "content-security-policy")
            assert [head.headers.get(name) for name in kept] == [got.headers.get(name) for name in kept]
            line = json.loads(front.lines[1])
            assert (line["method"], line["route"]) == ("HEAD", json.loads(front.lines[0])["route"])
            assert (await client.head(f"{front.url}/invocations")).status_code == 405

    asyncio.run(main())


def test_examples_that_are_deleted_while_it_runs_are_not_found_and_the_model_goes_on(tmp_path):
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(encoded("JPEG", 20))

    async def main() -> None:
        async with Front(LIMITS, examples=tmp_path) as front, httpx.AsyncClient(base_url=front.url) as client:
            assert (await client.get("/examples/2.jpg")).content == encoded("JPEG", 20)
            for gone in (tmp_path / "1.jpg", tmp_path / "2.jpg", tmp_path):
                gone.unlink() if gone.is_file() else gone.rmdir()
                answer = await client.get("/examples/1.jpg")
                assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
            assert (await client.get("/examples")).json() == []
            front.backend.go.set()
            assert (await client.post("/invocations", content=b"x")).status_code == 200

    asyncio.run(main())


OURS = Callers((*LOOPBACK, "leaves.example"), ("https://page.example", "http://localhost:3000"))
HERE = {"host": "localhost:8080"}
CALLS = {
    "a program": (HERE, None),
    "by number": ({"host": "127.0.0.1:8080"}, None),
    "by the number of IPv6": ({"host": "[::1]:8080"}, None),
    "with a final dot": ({"host": "LOCALHOST.:8080"}, None),
    "a proxy that passes the Host on": ({"host": "leaves.example"}, None),
    "another name": ({"host": "evil.example:8080"}, "other_name"),
    "a name that begins alike": ({"host": "localhost.evil.example"}, "other_name"),
    "no name": ({}, "other_name"),
    "the page": (HERE | {"origin": "http://localhost:8080", "sec-fetch-site": "same-origin"}, None),
    "typed by a person": (HERE | {"sec-fetch-site": "none"}, None),
    "a page of another site": (HERE | {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, "cross_site"),
    "a page on another port": (HERE | {"origin": "http://localhost:9", "sec-fetch-site": "same-site"}, "cross_site"),
    "a page without an origin": (HERE | {"origin": "null", "sec-fetch-site": "cross-site"}, "cross_site"),
    "a form of an old browser": (HERE | {"origin": "https://evil.example"}, "cross_site"),
    "a file in an old browser": (HERE | {"origin": "null"}, "cross_site"),
    "the page in an old browser": (HERE | {"origin": "http://localhost:8080"}, None),
    "the page behind a proxy": (
        HERE | {"origin": "https://leaves.example", "sec-fetch-site": "same-origin"},
        None,
    ),
    "the page behind a proxy, old browser": (
        HERE | {"origin": "https://leaves.example", "x-forwarded-host": "leaves.example"},
        None,
    ),
    "a page that may": (HERE | {"origin": "https://page.example", "sec-fetch-site": "cross-site"}, None),
    "one on another port that may": (HERE | {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"}, None),
    "one that may, over http": (HERE | {"origin": "http://page.example", "sec-fetch-site": "cross-site"}, "cross_site"),
}


@pytest.mark.parametrize("case", CALLS)
def test_who_may_ask(case):
    headers, code = CALLS[case]
    with contextlib.nullcontext() if code is None else pytest.raises(Refused) as refused:
        OURS.admit(headers)
    assert code is None or (refused.value.status, refused.value.code) == (403, code)


@pytest.mark.parametrize("origin", ["https://page.example", "https://evil.example"])
def test_a_page_elsewhere_reads_answers_where_its_origin_may_ask(origin):
    async def main() -> tuple:
        async with (
            Front(LIMITS, callers=Callers((), ("https://page.example",))) as front,
            httpx.AsyncClient() as client,
        ):
            front.backend.go.set()
            asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
            url = f"{front.url}/invocations"
            before = await client.options(url, headers={"Origin": origin} | asked)
            answer = await client.post(url, content=b"x", headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"})
            named = [each.headers.get("access-control-allow-origin") for each in (before, answer)]
            return before.status_code, answer.status_code, named

    allowed = "https://page.example"
    assert asyncio.run(main()) == ((200, 200, [allowed] * 2) if origin == allowed else (400, 403, [None] * 2))
