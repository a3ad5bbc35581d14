"""HTTP/1.1 on a bare asyncio protocol: gathers each request whole, within limits, and writes what it is answered.

What a connection may cost is bounded: the bytes of a head and of a body, the time that either takes to arrive and
that an answer takes to be read, the requests that are pipelined behind another, the connections, and the bytes of all
bodies that are not yet whole.
"""

import asyncio
import math
import re
import socket
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from serving.runtime.errors import RETRY_AFTER_S, RefusedError, unavailable
from serving.runtime.identity import is_identity
from serving.runtime.listener import Server
from serving.runtime.resting import Resting

MAX_URL_BYTES = 4 << 10
MAX_HEADER_BYTES = 32 << 10
_KEEP_ALIVE_S = 75.0
"""Longer than a gateway keeps idle connections, so that it is never surprised by a closed one."""
_REQUEST_S = 30.0
"""The longest that a request's bytes may take to arrive, and an answer's to be taken."""
_LINGER_S = 2.0
"""How long the rest of a refused body is read, so that the client sees the refusal and not a reset."""
_ESTABLISHED = 1
"""The state in TCP_INFO of a connection that neither side has closed (Linux, netinet/tcp.h)."""
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CHANGES = re.compile(rb"\r\n(content-length|x-request-id):[ \t]*([^\r\n]+)", re.IGNORECASE)
_VALUE_BYTES = 64
_NEVER_LEARNT = frozenset((b"expect", b"transfer-encoding", b"upgrade"))
_KNOWN_HEADS = 32
_LESSONS = 8
"""Heads that are learnt on one connection; where more differ, it carries several clients' requests."""
_JSON = b"content-type: application/json\r\n"

Headers = list[tuple[bytes, bytes]]


class Exchange:
    """One request, and the way to answer it."""

    method = b"POST"
    target = b""
    headers: Headers
    keep_alive = True
    request_id: bytes | None = None
    body = b""
    started = 0.0
    """The moment of `time.perf_counter` at which the request was there whole."""
    refused: RefusedError | None = None
    route: Any = None
    """What the handler made of the head; None where it made nothing."""
    cancel: Callable[[], None] | None = None
    """Set by the handler: what to do when the client goes away before its answer."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    def respond(self, status: int, head: bytes, content: bytes) -> None:
        """Answer, once. `head` are header lines; those of the length and the connection are added."""
        self._connection.respond(self, status, head, content)

    def refuse(self, refused: RefusedError) -> None:
        """Answer with a reason."""
        head = _JSON + b"retry-after: %d\r\n" % RETRY_AFTER_S if refused.status == 503 else _JSON
        self.respond(refused.status, head, orjson.dumps({"error": refused.reason}))
        if refused.resting is not None:
            self._connection.rest(refused.resting)


class Handler:
    """What a server does with requests."""

    def open(self, exchange: Exchange) -> None:
        """Look at a head before its body comes.

        Raises:
            RefusedError: The body is thrown away and the request refused.
        """

    def answer(self, exchange: Exchange) -> None:
        """Answer a whole request by `exchange.respond` or `refuse`, now or later on the event loop."""
        raise NotImplementedError


class Connection(asyncio.Protocol):
    """One client. Requests are answered one after the other, in the order in which they came."""

    _transport: asyncio.Transport

    def __init__(self, server: Server, handler: Handler) -> None:
        self._server = server
        self._handler = handler
        self._parser = HttpRequestParser(self)
        self._arriving: Exchange | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._current: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._advancing = False
        self._head_bytes = 0
        self._in_head = True
        self._template: _Template | None = None
        self._lessons = _LESSONS
        self._unparsed = 0
        """What is missing of the body of a request that asks for an upgrade."""
        self._completed: list[Exchange] = []
        """What the chunk that is being parsed made whole."""
        self._deaf = False
        """Whether what still comes is thrown away: the connection ends with the answer to what has come."""
        self._write_paused = False
        self._resting: Resting | None = None
        self._rested = 0.0
        """The moment of the server's clock at which it has rested long enough."""
        self._deadline = server.now + _REQUEST_S

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's
        if not self._server.add(self):
            self._fail(unavailable("the runtime has too many connections"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._server.remove(self)
        if self._resting is not None:
            self._resting.remove(self)
        self._deaf = True
        self._waiting.clear()
        self._release()
        if self._current is not None and self._current.cancel is not None:
            self._current.cancel()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._unparsed:
            self._take_unparsed(data)
            return
        fresh = self._arriving is None
        if fresh and self._template is not None and self._current is None:
            exchange = self._template.match(data, self)
            if exchange is not None:
                exchange.started = time.perf_counter()
                self._current = exchange
                self._deadline = math.inf
                self._handler.answer(exchange)
                return
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._take_unparsed(data[upgrade.args[0] :])
        except HttpParserError:
            self._fail(RefusedError(400, "this is not HTTP/1.1"))
        if self._in_head and self._head_bytes > MAX_URL_BYTES + MAX_HEADER_BYTES:
            self._fail(RefusedError(431, f"the headers have more than {MAX_HEADER_BYTES} bytes"))
        if self._completed:
            if fresh and self._lessons and len(self._completed) == 1 and self._arriving is None and not self._deaf:
                self._lessons -= 1
                self._template = _Template.learn(data, self._completed[0], self._server.limits.body_bytes)
            self._completed.clear()

    def pause_writing(self) -> None:
        # A client that does not read its answers gets no more of them.
        self._write_paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._advance()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._deaf:
            return
        self._arriving = Exchange(self)
        self._arriving.headers = []
        if self._current is None:
            self._deadline = self._server.now + _REQUEST_S

    def on_url(self, url: bytes) -> None:
        if self._arriving is not None:
            self._arriving.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head and self._arriving is not None:
            name = name.lower()
            self._arriving.headers.append((name, value))
            if name == b"x-request-id":
                self._arriving.request_id = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        exchange = self._arriving
        if exchange is None:
            return
        exchange.method = self._parser.get_method()
        exchange.keep_alive = (
            self._parser.should_keep_alive()
            and self._parser.get_http_version() == "1.1"
            and not self._parser.should_upgrade()
        )
        if self._parser.should_upgrade():
            self._unparsed = int(dict(exchange.headers).get(b"content-length", b"0"))
        try:
            self._check(exchange)
        except RefusedError as refused:
            self._fail(refused)
            return
        try:
            self._handler.open(exchange)
        except RefusedError as refused:
            exchange.refused = refused

    def on_body(self, body: bytes) -> None:
        exchange = self._arriving
        if exchange is None or exchange.refused is not None:
            return
        self._parts.append(body)
        self._size += len(body)
        self._server.buffered += len(body)
        if self._size > self._server.limits.body_bytes:
            self._fail(self._too_large())
        elif self._server.buffered > self._server.limits.buffered_bytes:
            self._release()
            exchange.refused = unavailable("the runtime has too many requests on the way")

    def on_message_complete(self) -> None:
        if self._unparsed:
            return
        self._in_head, self._head_bytes = True, 0
        exchange, self._arriving = self._arriving, None
        if exchange is None:
            return
        exchange.started = time.perf_counter()
        exchange.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._release()
        self._completed.append(exchange)
        self._take(exchange)

    def _take_unparsed(self, data: bytes) -> None:
        """Nothing is upgraded here, which a server may do (RFC 9110, 7.8), yet the parser leaves the body to us."""
        if self._unparsed:
            body = data[: self._unparsed]
            self._unparsed -= len(body)
            self.on_body(body)
            if self._unparsed:
                return
            self.on_message_complete()
        self._deaf = True

    # Answers.

    def respond(self, exchange: Exchange, status: int, head: bytes, content: bytes) -> None:
        """Write the answer to the request that is its turn; see `Exchange.respond`."""
        self._current = None
        transport = self._transport
        if transport.is_closing():
            return
        keep_alive = exchange.keep_alive and (not self._server.draining or bool(self._waiting))
        transport.write(
            b"%b%b%bcontent-length: %d\r\n%b%b"
            % (
                _STATUS_LINES[status],
                self._server.date,
                head,
                len(content),
                b"\r\n" if keep_alive else b"connection: close\r\n\r\n",
                content if exchange.method != b"HEAD" else b"",
            )
        )
        if keep_alive:
            self._deadline = self._server.now + _KEEP_ALIVE_S
            if self._waiting:
                self._advance()
        elif self._deaf:
            # The client may still be sending: closing now would reset the connection before it reads the answer.
            self._deadline = self._server.now + _LINGER_S
            transport.write_eof()
        else:
            self._deaf = True
            self._deadline = self._server.now + _REQUEST_S
            transport.close()

    def rest(self, resting: Resting) -> None:
        """Read no more from a client that was told to come back later, until `resume`."""
        if self._resting is None and not self._transport.is_closing() and not self._server.draining:
            self._resting = resting
            self._rested = self._server.now + RETRY_AFTER_S
            resting.add(self)
            self._transport.pause_reading()

    def resume(self) -> None:
        self._resting = None
        if self._transport.is_closing():
            return
        state = self._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        if state[0] == _ESTABLISHED:
            self._advance()
        else:
            # It has left. What it had asked again would be read before that, and answered to nobody.
            self._transport.abort()

    def drain(self) -> None:
        """Answers say from now on that the connection closes after them, see `respond`."""
        self._end_rest()

    def close_if_idle(self) -> None:
        if self._current is None and self._arriving is None and not self._waiting:
            self._deaf = True
            self._transport.close()

    def sweep(self, now: float) -> None:
        if self._deadline < now:
            self._transport.abort()
        elif self._rested < now:
            self._end_rest()

    def abort(self) -> None:
        self._transport.abort()

    def _check(self, exchange: Exchange) -> None:
        if len(exchange.target) > MAX_URL_BYTES:
            raise RefusedError(414, f"the address has more than {MAX_URL_BYTES} bytes")
        if self._head_bytes > MAX_HEADER_BYTES and _size(exchange.headers) > MAX_HEADER_BYTES:
            raise RefusedError(431, f"the headers have more than {MAX_HEADER_BYTES} bytes")
        for name, value in exchange.headers:
            # The parser has seen to it that a length is a number.
            if name == b"content-length" and int(value) > self._server.limits.body_bytes:
                raise self._too_large()
            if name == b"expect" and value.lower() == b"100-continue" and self._current is None:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"the body has more than {self._server.limits.body_bytes} bytes: send fewer rows")

    def _fail(self, refused: RefusedError) -> None:
        """Refuse what is arriving, after the answers to what came before it, and end."""
        if self._deaf:
            # The parser may stumble over the rest of what was refused.
            return
        exchange = self._arriving or Exchange(self)
        self._arriving = None
        self._release()
        exchange.refused = refused
        exchange.keep_alive = False
        self._deaf = True
        self._take(exchange)

    def _end_rest(self) -> None:
        if self._resting is not None:
            self._resting.remove(self)
            self.resume()

    def _release(self) -> None:
        self._server.buffered -= self._size
        self._size = 0
        self._parts = []

    def _take(self, exchange: Exchange) -> None:
        self._waiting.append(exchange)
        if self._current is None:
            self._advance()
        else:
            self._transport.pause_reading()

    def _advance(self) -> None:
        """Answer what waits, until an answer has to be waited for itself."""
        if self._advancing:
            return
        self._advancing = True
        while self._waiting and self._current is None and not self._write_paused:
            exchange = self._current = self._waiting.popleft()
            if exchange.refused is not None:
                exchange.refuse(exchange.refused)
            else:
                self._deadline = math.inf
                self._handler.answer(exchange)
        self._advancing = False
        if not self._waiting and not self._write_paused and self._resting is None and not self._transport.is_closing():
            self._transport.resume_reading()


class _Template:
    """A head that was parsed, to know the next one by that differs only in its length and its request id.

    Most clients send the same head again and again, and to compare it takes a fifth of the time of parsing it.
    """

    __slots__ = ("_heads", "_length_at", "_max_body_bytes", "_pieces", "_route")

    def __init__(self, pieces: list[bytes], length_at: int, route: Any, max_body_bytes: int) -> None:
        self._heads: dict[int, bytes] = {}
        """Whole heads by the length of the request: with the same bytes at the same length, the body is as long too."""
        self._pieces = pieces
        self._length_at = length_at
        self._route = route
        self._max_body_bytes = max_body_bytes

    @classmethod
    def learn(cls, data: bytes, exchange: Exchange, max_body_bytes: int) -> "_Template | None":
        """From the bytes of one whole request; None where the next one must be parsed whatever it looks like."""
        if exchange.route is None or not exchange.keep_alive or exchange.refused is not None:
            return None
        if any(name in _NEVER_LEARNT for name, _ in exchange.headers):
            return None
        head = data[: len(data) - len(exchange.body)]
        pieces: list[bytes] = []
        names: list[bytes] = []
        position = 0
        for match in _CHANGES.finditer(head):
            pieces.append(head[position : match.start(2)])
            names.append(match[1].lower())
            position = match.end(2)
        pieces.append(head[position:])
        if len(set(names)) != len(names) or b"content-length" not in names or not head.endswith(b"\r\n\r\n"):
            return None
        return cls(pieces, names.index(b"content-length") + 1, exchange.route, max_body_bytes)

    def match(self, data: bytes, connection: Connection) -> Exchange | None:
        """The request that `data` is, where it is one whole request with this head."""
        head = self._heads.get(len(data))
        if head is not None and data.startswith(head):
            return self._exchange(connection, data[len(head) :])
        pieces = self._pieces
        if not data.startswith(pieces[0]):
            return None
        position = len(pieces[0])
        length = -1
        request_id = None
        for index in range(1, len(pieces)):
            end = data.find(b"\r", position, position + _VALUE_BYTES)
            if end < 0 or not data.startswith(pieces[index], end):
                return None
            value = data[position:end]
            if index == self._length_at:
                if not value.isdigit():
                    return None
                length = int(value)
            elif is_identity(value):
                request_id = value
            else:
                return None
            position = end + len(pieces[index])
        if len(data) - position != length or length > self._max_body_bytes:
            return None
        exchange = self._exchange(connection, data[position:])
        if request_id is not None:
            exchange.request_id = request_id
        elif len(self._heads) < _KNOWN_HEADS:
            self._heads[len(data)] = data[:position]
        return exchange

    def _exchange(self, connection: Connection, body: bytes) -> Exchange:
        exchange = Exchange(connection)
        exchange.body = body
        exchange.route = self._route
        return exchange


def _size(headers: Headers) -> int:
    return sum([len(name) + len(value) for name, value in headers])
