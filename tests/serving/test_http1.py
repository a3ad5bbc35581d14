"""The connection itself: heads that are known again, slow clients, clients that do not read, and the end."""

import itertools
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.runtime import http1
from serving.runtime.errors import RefusedError, unavailable
from serving.runtime.http1 import Connection, Exchange, Handler
from serving.runtime.listener import Limits, Server
from serving.runtime.resting import Resting
from tests.serving.conftest import Runtime, publish, running

BODY = json.dumps({"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [40, 12, 5]}]}).encode()
ID = "6f2c2a5e-8e0e-4a6e-9a51-0b8d7a7a7f10"


class Wire:
    """What a connection sees of the network."""

    server: socket.socket

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.aborted = self.ended = False
        self.reading = True

    def get_extra_info(self, name: str) -> socket.socket:
        assert name == "socket"
        return self.server

    def write(self, data: bytes) -> None:
        assert not self.ended, "a transport takes nothing after write_eof"
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Noted(Handler):
    """Notes what came, and answers when it is told to."""

    def __init__(self) -> None:
        self.seen: list[Exchange] = []
        self.refused: RefusedError | None = None

    def open(self, exchange: Exchange) -> None:
        if self.refused is not None:
            raise self.refused
        exchange.route = exchange.target

    def answer(self, exchange: Exchange) -> None:
        self.seen.append(exchange)


Opened = tuple[Connection, Wire, Noted, Server]


@pytest.fixture
def opened() -> Opened:
    return connect()


def connect(connections: int = 10) -> Opened:
    handler = Noted()
    limits = Limits(connections=connections, body_bytes=10_000, buffered_bytes=20_000)
    server = Server(lambda server: Connection(server, handler), limits)
    return (*join(server, handler), handler, server)


def join(server: Server, handler: Noted) -> tuple[Connection, Wire]:
    connection, wire = Connection(server, handler), Wire()
    connection.connection_made(wire)  # type: ignore[arg-type]
    return connection, wire


def ask(body: bytes, *headers: str) -> bytes:
    lines = ["POST /x HTTP/1.1", "Host: a", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


@settings(max_examples=200, deadline=None)
@given(
    requests=st.lists(
        st.tuples(st.binary(max_size=300), st.sampled_from([None, ID, ID.upper(), "someone", "a:b"])),
        min_size=1,
        max_size=6,
    ),
    cuts=st.lists(st.integers(0, 600), max_size=4),
)
def test_the_same_is_read_whether_a_head_is_known_or_not(
    requests: list[tuple[bytes, str | None]], cuts: list[int]
) -> None:
    """Each request once in a chunk of its own, which a known head is for, and all in chunks of any size."""
    whole, wire, handler, _ = connect()
    parts, part_wire, part_handler, _ = connect()
    texts = [ask(body, *([] if identity is None else [f"X-Request-Id: {identity}"])) for body, identity in requests]
    for text in texts:
        whole.data_received(text)
        handler.seen[-1].respond(200, b"", b"ok")
    stream = b"".join(texts)
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        parts.data_received(stream[start:end])
    for index in range(len(texts)):
        part_handler.seen[index].respond(200, b"", b"ok")
    for (body, identity), one, other in zip(requests, handler.seen, part_handler.seen, strict=True):
        assert one.body == other.body == body
        assert one.route == other.route == b"/x"
        assert one.request_id == other.request_id == (None if identity is None else identity.encode())
    assert wire.written == part_wire.written
    assert wire.written.count(b"HTTP/1.1 200 OK") == len(texts)


@pytest.mark.parametrize(
    "second",
    [
        ask(b"body", "Transfer-Encoding: chunked"),
        ask(b"body", "Content-Length: 4"),
        ask(b"body").replace(b"Content-Length: 4", b"Content-Length: +4"),
        ask(b"body").replace(b"Content-Length: 4", b"Content-Length: 4\n"),
        ask(b"body").replace(b"Content-Length: 4", b"Content-Length: 0x4"),
    ],
)
def test_a_known_head_does_not_soften_the_parser(opened: Opened, second: bytes) -> None:
    connection, wire, handler, _ = opened
    for _ in range(2):
        connection.data_received(ask(b"body"))
        handler.seen[-1].respond(200, b"", b"ok")
    connection.data_received(second)
    assert len(handler.seen) == 2
    assert b"HTTP/1.1 400 Bad Request" in wire.written


def test_a_slow_request_is_given_up(opened: Opened) -> None:
    connection, wire, _, server = opened
    connection.data_received(ask(b"x" * 100)[:-1])
    connection.sweep(server.now + 29)
    assert not wire.aborted
    connection.sweep(server.now + 31)
    assert wire.aborted
    connection.connection_lost(None)
    assert server.buffered == 0


def test_an_idle_connection_is_kept_longer_than_a_gateway_keeps_it(opened: Opened) -> None:
    connection, wire, handler, server = opened
    connection.data_received(ask(b""))
    connection.sweep(server.now + 10_000)
    assert not wire.aborted, "an answer takes as long as it takes"
    handler.seen[0].respond(200, b"", b"ok")
    connection.sweep(server.now + 74)
    assert not wire.aborted
    connection.sweep(server.now + 76)
    assert wire.aborted


def test_a_client_that_does_not_read_is_not_read_from(opened: Opened) -> None:
    connection, wire, handler, _ = opened
    connection.pause_writing()
    assert not wire.reading
    connection.data_received(ask(b"a") + ask(b"b"))
    assert handler.seen == []
    connection.resume_writing()
    assert [exchange.body for exchange in handler.seen] == [b"a"]
    handler.seen[0].respond(200, b"", b"ok")
    assert [exchange.body for exchange in handler.seen] == [b"a", b"b"]
    handler.seen[1].respond(200, b"", b"ok")
    assert wire.reading


def test_bodies_that_are_not_whole_have_a_limit_in_all(opened: Opened) -> None:
    connection, wire, handler, server = opened
    others = [join(server, handler) for _ in range(2)]
    for other, _ in others:
        other.data_received(ask(b"x" * 10_000)[:-1])
    connection.data_received(ask(b"y" * 5000))
    assert b"HTTP/1.1 503" in wire.written
    assert b"retry-after: 1" in wire.written
    others[0][0].connection_lost(None)
    connection.data_received(ask(b"y" * 5000))
    assert handler.seen[-1].body == b"y" * 5000


def test_a_body_that_is_refused_by_its_head_is_not_kept(opened: Opened) -> None:
    connection, wire, handler, server = opened
    handler.refused = RefusedError(503, "full")
    connection.data_received(ask(b"x" * 5000)[:-1])
    assert server.buffered == 0
    connection.data_received(b"x")
    assert b'{"error":"full"}' in wire.written
    assert not wire.closed
    handler.refused = None
    connection.data_received(ask(b"a"))
    assert handler.seen[0].body == b"a"


def test_a_body_that_is_too_large_is_refused_at_once_and_read_no_further(opened: Opened) -> None:
    connection, wire, _, server = opened
    connection.data_received(ask(b"x" * 20_000)[:500])
    assert b"HTTP/1.1 413" in wire.written
    assert wire.ended
    connection.data_received(b"x" * 10_000)
    assert server.buffered == 0
    connection.sweep(server.now + 3)
    assert wire.aborted


def test_a_request_is_refused_once(opened: Opened) -> None:
    connection, wire, _, _ = opened
    connection.data_received(ask(b"", "x: " + "a" * 33_000)[:-4] + b"\x00: \x01\r\n\r\n")
    connection.data_received(ask(b"x" * 20_000, "Transfer-Encoding: chunked"))
    assert wire.written.count(b"HTTP/1.1 ") == 1


def test_more_connections_than_are_allowed_are_told_so() -> None:
    _, _, handler, server = connect(connections=1)
    _, wire = join(server, handler)
    assert b"HTTP/1.1 503" in wire.written


def test_draining_answers_what_has_come_and_closes(opened: Opened) -> None:
    connection, wire, handler, server = opened
    connection.data_received(ask(b"a") + ask(b"b"))
    server.drain()
    connection.close_if_idle()
    assert not wire.closed
    handler.seen[0].respond(200, b"", b"one")
    assert b"connection: close" not in wire.written
    handler.seen[1].respond(200, b"", b"two")
    assert wire.written.count(b"connection: close") == 1
    assert wire.closed


def test_a_client_that_goes_away_is_not_computed_for(opened: Opened) -> None:
    connection, _, handler, _ = opened
    connection.data_received(ask(b"a"))
    cancelled: list[bool] = []
    handler.seen[0].cancel = lambda: cancelled.append(True)
    connection.connection_lost(None)
    assert cancelled == [True]


def test_many_pipelined_requests_are_no_recursion(opened: Opened) -> None:
    connection, wire, handler, _ = opened
    handler.answer = lambda exchange: exchange.respond(200, b"", b"ok")  # type: ignore[method-assign]
    connection.data_received(ask(b"a") * 5000)
    assert wire.written.count(b"HTTP/1.1 200 OK") == 5000


@pytest.mark.parametrize("end", ["room", "time", "drain", "gone", "left", "closing"])
def test_a_client_refused_for_want_of_room_rests(opened: Opened, end: str) -> None:
    connection, wire, handler, server = opened
    resting = Resting()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        wire.server, _ = listener.accept()
    handler.refused = unavailable("full", resting)
    server.now = 100.0
    connection.data_received(ask(b"a") * 2)
    assert wire.written.count(b"HTTP/1.1 503") == 2
    assert not wire.reading
    connection.sweep(100.5)
    assert not wire.reading
    if end == "room":
        resting.wake(1)
    elif end == "time":
        connection.sweep(101.1)
    elif end == "drain":
        connection.drain()
    elif end == "gone":
        connection.connection_lost(None)
    elif end == "left":
        # As long as nothing is read from it, nothing says so.
        client.close()
        resting.wake(1)
        assert wire.aborted
        connection.connection_lost(None)
    else:
        # The transport has given it up, and says so in the next turn of the event loop.
        wire.server.close()
        wire.closed = True
        resting.wake(1)
        connection.connection_lost(None)
    assert not resting
    assert wire.reading == (end in ("room", "time", "drain"))
    handler.refused = None
    connection.data_received(ask(b"a"))
    assert len(handler.seen) == (end in ("room", "time", "drain"))
    client.close()
    wire.server.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = tmp_path_factory.mktemp("small")
    publish(folder / "models", 1)
    with running(folder / "models", folder / "log", "--max-queued-rows", "8", "--max-connections", "600") as runtime:
        yield runtime


def infer(*headers: str) -> bytes:
    return ask(BODY, *headers).replace(b"/x", b"/v2/models/jobs/infer")


def answers(connection: socket.socket, count: int) -> bytes:
    """What was received when `count` answers are there."""
    received = b""
    connection.settimeout(20)
    while received.count(b"HTTP/1.1 ") < count or not received.endswith(b"}"):
        part = connection.recv(1 << 16)
        assert part, received
        received += part
    return received


def test_a_burst_is_answered_or_refused_and_nothing_else(small: Runtime) -> None:
    """500 requests in one moment, of which 8 rows may wait."""
    connections = [socket.create_connection(("127.0.0.1", small.http_port)) for _ in range(500)]
    for connection in connections:
        connection.sendall(infer(f"X-Request-Id: {uuid4()}"))
    received = [answers(connection, 1) for connection in connections]
    served = [answer for answer in received if answer.startswith(b"HTTP/1.1 200")]
    refused = [answer for answer in received if answer.startswith(b"HTTP/1.1 503")]
    assert len(served) + len(refused) == 500
    assert served
    assert all(b"retry-after: 1" in answer and b"the queue of jobs is full" in answer for answer in refused)
    for connection in connections[:5]:
        connection.sendall(infer())
        assert answers(connection, 1).startswith(b"HTTP/1.1 200")
    for connection in connections:
        connection.close()


def test_a_deadline_that_has_passed_is_not_computed(small: Runtime) -> None:
    with socket.create_connection(("127.0.0.1", small.http_port)) as connection:
        connection.sendall(infer("X-Envoy-Expected-Rq-Timeout-Ms: 0"))
        assert answers(connection, 1).startswith(b"HTTP/1.1 504")
        connection.sendall(infer("X-Envoy-Expected-Rq-Timeout-Ms: 5000"))
        assert answers(connection, 1).startswith(b"HTTP/1.1 200")
        connection.sendall(infer("X-Envoy-Expected-Rq-Timeout-Ms: soon"))
        assert b"is not a number" in answers(connection, 1)


def test_slow_clients_hold_nobody_up(small: Runtime) -> None:
    slow = [socket.create_connection(("127.0.0.1", small.http_port)) for _ in range(400)]
    for number, connection in enumerate(slow):
        connection.sendall(infer()[: number % len(infer())])
    with socket.create_connection(("127.0.0.1", small.http_port)) as connection:
        started = time.monotonic()
        for _ in range(50):
            connection.sendall(infer())
            assert answers(connection, 1).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - started < 10
    for connection in slow:
        connection.close()


def test_expectations_and_upgrades(small: Runtime) -> None:
    with socket.create_connection(("127.0.0.1", small.http_port)) as connection:
        text = infer("Expect: 100-continue")
        connection.sendall(text[: -len(BODY)])
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert answers(connection, 1).startswith(b"HTTP/1.1 200")
        connection.sendall(b"HEAD /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 405")
        connection.sendall(infer("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"))
        received = answers(connection, 1)
        assert received.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in received


def test_heads_are_forgotten_with_the_version_that_they_spoke_of(tmp_path: Path) -> None:
    """A known head leads to the version that is live now."""
    publish(tmp_path / "models", 1)
    with (
        running(tmp_path / "models", tmp_path / "log") as runtime,
        socket.create_connection(("127.0.0.1", runtime.http_port)) as connection,
    ):
        for version in ("1", "2"):
            for _ in range(3):
                connection.sendall(infer())
                assert f'"model_version":"{version}"'.encode() in answers(connection, 1)
            publish(tmp_path / "models", 2, previous=1, bias=1.0)
            connection.sendall(b"POST /v2/repository/models/jobs/load HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            assert answers(connection, 1).startswith(b"HTTP/1.1 200")


def test_limits_of_known_heads(opened: Opened) -> None:
    connection, wire, handler, _ = opened
    for size in (10, 9_999):
        connection.data_received(ask(b"x" * size))
        handler.seen[-1].respond(200, b"", b"ok")
    connection.data_received(ask(b"x" * 10_001))
    assert b"HTTP/1.1 413" in wire.written
    assert http1.MAX_HEADER_BYTES > http1.MAX_URL_BYTES


def test_no_bytes_crash_a_connection() -> None:
    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.binary(max_size=80) | st.sampled_from([ask(b"a"), ask(b"b", "x: y"), b"\r\n", b"POST "])))
    def feed(chunks: Any) -> None:
        connection, _, handler, server = connect()
        for chunk in chunks:
            connection.data_received(chunk)
            for exchange in handler.seen:
                if connection._current is exchange:
                    exchange.respond(200, b"", b"ok")
        connection.connection_lost(None)
        assert server.buffered == 0

    feed()
