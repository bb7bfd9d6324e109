"""Connections that send nothing, half a head, or a body by drops: bounded in number and time, and in nobody's way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import socket
from dataclasses import replace

import pytest
from server_in_process import CONNECTIONS, PATIENCE, Front, answered, until

from plantdoc.server import connections, limits
from plantdoc.server.limits import ConnectionLimits, Limits

HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: "
QUICK = replace(CONNECTIONS, head_seconds=0.1)
UPLOAD = b"x" * 50_000


async def drips(front: Front, first: bytes, drop: bytes = b"a") -> bytes:
    """Send `first`, then a drop again and again; returns what the server says until it closes the connection.

    By the socket itself: a stream throws away what was not read yet when its other side refuses what is sent.
    """
    loop, said = asyncio.get_running_loop(), bytearray()

    async def listen() -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await loop.sock_recv(client, 65536):
                said.extend(piece)

    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, front.address)
        await loop.sock_sendall(client, first)
        listening = asyncio.create_task(listen())
        async with asyncio.timeout(PATIENCE):
            while not listening.done():
                with contextlib.suppress(ConnectionError):
                    await loop.sock_sendall(client, drop)
                await asyncio.sleep(0.01)
    return bytes(said)


@pytest.mark.parametrize(
    ("first", "drop", "status"),
    [
        (b"", b"", None),
        (b"GET / HT", b"", 408),
        (b"GET / HTTP/1.1\r\nX: ", b"a", 408),
        (b"", b"\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n", 200),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\nGET /in", b"", 200),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"a", 200),
        (b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", 404),
    ],
    ids=[
        "nothing",
        "half a head",
        "head by drops",
        "line ends",
        "again line ends",
        "half a next head",
        "body",
        "chunks",
    ],
)
def test_a_connection_without_a_whole_head_is_closed(first, drop, status):
    async def main() -> bytes:
        async with Front(Limits(), replace(QUICK, keep_alive=1)) as front:
            said = await drips(front, first, drop)
            await until(lambda: front.open() == 0)
            return said

    said = asyncio.run(main())
    assert (int(said.split()[1]) if said else None) == status
    if status == 408:
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_slow"


def test_a_connection_is_kept_between_two_requests():
    async def main() -> None:
        async with Front(Limits(), QUICK) as front:
            reader, writer = await asyncio.open_connection(*front.address)
            for _ in range(2):
                writer.write(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await answered(reader))[0] == 200
                await asyncio.sleep(3 * QUICK.head_seconds)  # the time of a head; that of keep-alive is 75 s
            writer.close()

    asyncio.run(main())
    assert ConnectionLimits().keep_alive > 60, "proxies let go of theirs after 60 s"


@pytest.mark.parametrize("size", [1, 60_000])
def test_a_body_by_drops_is_refused_though_each_drop_comes_in_time(size):
    """60,000 bytes are over what is read before the body has a place."""

    async def main() -> None:
        async with Front(Limits(idle_seconds=0.2, linger_seconds=0.1), QUICK) as front:
            said = await drips(front, HEAD + b"100000\r\n\r\n" + bytes(size))
            assert int(said.split()[1]) == 408
            assert front.inside() == 0

    asyncio.run(main())


def test_a_client_that_does_not_read_its_answer_is_dropped():
    async def main() -> None:
        async with Front(Limits(), replace(QUICK, head_seconds=PATIENCE, write_seconds=0.1)) as front:
            front.metrics.text = lambda: bytes(30_000_000)
            _, writer = await asyncio.open_connection(*front.address, limit=1024)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: front.open() == 1)
            await until(lambda: front.open() == 0)
            writer.close()

    asyncio.run(main())


def test_the_connection_that_has_waited_longest_makes_room_and_no_answer_is_lost():
    async def main() -> None:
        async with Front(Limits(), replace(CONNECTIONS, most=4, of_one=4)) as front:
            asked = [await front.connect(UPLOAD) for _ in range(2)]
            await until(lambda: front.backend.asked == 2)
            idle = await asyncio.open_connection(*front.address)
            await until(lambda: front.open() == 3)
            sending = await front.connect(b"", length=100)
            await until(lambda: front.open() == 4)
            new = []
            for gone in (idle, sending):
                new.append(await front.connect(UPLOAD))
                with contextlib.suppress(ConnectionError):
                    assert await gone[0].read() == b""
            await until(lambda: front.backend.asked == 4)
            reader, _ = await asyncio.open_connection(*front.address)
            assert b" 503 " in (await reader.read()).splitlines()[0], "all are being answered"
            front.backend.go.set()
            assert [(await answered(reader))[0] for reader, _ in (*asked, *new)] == [200] * 4

    asyncio.run(main())


def test_one_address_cannot_have_all_connections():
    async def main() -> None:
        async with Front(Limits(), replace(CONNECTIONS, most=100, of_one=3)) as front:
            other = await asyncio.open_connection(*front.address, local_addr=("127.0.0.2", 0))
            many = [await asyncio.open_connection(*front.address) for _ in range(9)]
            for reader, _ in many[:6]:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            await until(lambda: front.open() == 4)
            other[1].write(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await answered(other[0]))[0] == 200

    asyncio.run(main())


def test_addresses_of_one_computer_are_one():
    assert connections.network("2001:db8:1:2:aaaa::1") == connections.network("2001:db8:1:2:bbbb::1")
    assert connections.network("2001:db8:1:3::1") != connections.network("2001:db8:1:2::1")
    assert connections.network("::ffff:192.0.2.1") == connections.network("192.0.2.1") == "192.0.2.1"
    assert connections.network("fe80::1%eth0") == connections.network("fe80::2")


@pytest.mark.parametrize(("files", "most"), [(64, 36), (1024, 672), (8192, 4096), (1_000_000, 4096)])
def test_connections_are_fewer_than_the_files_that_the_system_allows(monkeypatch, files, most):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (min(files, 100), files))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    found = limits.of_system(keep_alive=90)
    assert (found.most <= most, found.keep_alive) == (True, 90)
    assert found.most + found.backlog < files and found.of_one < found.most


async def beside(count: int, front: Front, first: bytes) -> tuple[int, dict]:
    """The answer to a photo that comes beside so many connections, a third of each kind, which are there till then."""
    rude = [await asyncio.open_connection(*front.address) for _ in range(count)]
    writers = [writer for _, writer in rude]
    for writer in writers[1::3]:
        writer.write(b"GET / HTTP/1.1\r\nX-Half: ")
    for writer in writers[2::3]:
        writer.write(HEAD + b"1000000\r\n\r\n" + first)
    await until(lambda: front.open() == count)

    async def drip() -> None:
        while True:
            for writer in (*writers[1::3], *writers[2::3]):
                if not writer.transport.is_closing():
                    writer.write(b"a")
            await asyncio.sleep(0.2)

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(PATIENCE):
            if first:
                await until(lambda: front.inside() > 100)  # and the others wait
            reader, writer = await front.connect(UPLOAD)
            answer = await answered(reader)
    finally:
        dripping.cancel()
        for each in (*writers, writer):
            each.transport.abort()
    return answer


LIMITS = Limits()


@pytest.mark.parametrize(
    ("count", "first"),
    [
        pytest.param(60, b"", id="few"),
        pytest.param(1000, b"", id="many", marks=pytest.mark.slow(3)),
        pytest.param(1000, bytes(20_000), id="many that begin like a photo", marks=pytest.mark.full),
    ],
)
def test_a_photo_is_answered_beside_rude_connections(count, first):
    """With the limits that scripts/serve.py has. Clients and server are this process: twice as many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        if hard < 4096:
            pytest.skip("this system lets a process open fewer than 4,096 files: raise `ulimit -Hn`")
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))

    async def main() -> None:
        async with Front(LIMITS, ConnectionLimits()) as front:
            front.backend.go.set()
            assert await beside(count, front, first) == (200, {"detections": [], "width": len(UPLOAD)})

    asyncio.run(main())


LONG = 10 * PATIENCE


def test_a_slow_body_gives_its_place_to_one_that_waits():
    async def main() -> None:
        hurried = Limits(bodies=2, body_seconds=LONG, idle_seconds=LONG, hurry_seconds=0.1, linger_seconds=0.1)
        async with Front(hurried) as front:
            front.backend.go.set()
            slow = [await front.connect(bytes(20_000), length=100_000) for _ in range(2)]
            await until(lambda: front.inside() == 2)
            reader, _ = await front.connect(UPLOAD)
            assert (await answered(reader))[0] == 200
            assert (await answered(slow[0][0]))[0] == 408

    asyncio.run(main())


def test_a_body_that_has_hardly_begun_takes_no_place():
    async def main() -> None:
        patient = Limits(bodies=1, body_seconds=LONG, idle_seconds=LONG, hurry_seconds=LONG)
        async with Front(patient) as front:
            front.backend.go.set()
            await front.connect(bytes(10_000), length=100_000)
            await until(lambda: front.open() == 1)
            reader, _ = await front.connect(UPLOAD)
            assert (await answered(reader))[0] == 200

    asyncio.run(main())


def test_a_server_that_stops_waits_for_no_rest_of_a_body_and_says_nothing_of_it(caplog):
    async def main() -> list[int]:
        front = Front(Limits(), CONNECTIONS)
        with caplog.at_level(logging.WARNING):
            async with front:
                half = await front.connect(b"half", length=100)
                placed = await front.connect(bytes(20_000), length=100_000)
                head = await asyncio.open_connection(*front.address)
                head[1].write(b"GET / HT")
                refused = await front.connect(b"x", length=10**9)
                assert (await answered(refused[0]))[0] == 413
                whole = await front.connect(UPLOAD)
                await until(lambda: front.backend.asked == 1 and front.inside() == 2)
                front.backend.go.set()
            assert (await answered(whole[0]))[0] == 200, "what came whole is answered"
            for reader, writer in (half, placed, head):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
        return sorted(json.loads(line)["status"] for line in front.lines)

    assert asyncio.run(main()) == [200, 413, 499, 499]
    assert caplog.records == []


def test_a_request_that_the_model_does_not_answer_in_time_is_told_that_the_server_stops(caplog):
    async def main() -> None:
        front = Front(Limits(), CONNECTIONS, grace=0.1)
        async with front:
            reader, _ = await front.connect(UPLOAD)
            await until(lambda: front.backend.asked == 1)
        status, content = await answered(reader)
        assert (status, content["error"]["code"]) == (503, "stopping")

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
