"""gRPC's part of HTTP/2 (RFC 9113) on a bare asyncio protocol: unary calls, gathered whole and answered at once.

grpcio's server takes 100 to 300 µs of a processor for a call, many times what a small model needs. This one leaves the
compression of headers to `hpack` and knows of the rest what a server of unary calls does: settings, flow control both
ways, resets, pings, a graceful end. As in `http1`, what a connection may cost is bounded; a client that breaks the
protocol gets a GOAWAY.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import asyncio
import math
import re
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from urllib.parse import quote

from hpack import Decoder, HPACKError

from serving.runtime.errors import GONE, RefusedError, invalid
from serving.runtime.listener import Server

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_NO_ERROR, _PROTOCOL_ERROR, _FLOW_CONTROL_ERROR, _FRAME_SIZE_ERROR = 0x0, 0x1, 0x3, 0x6
_REFUSED_STREAM, _CANCEL, _COMPRESSION_ERROR, _ENHANCE_YOUR_CALM = 0x7, 0x8, 0x9, 0xB
_MAX_STREAMS, _INITIAL_WINDOW, _FRAME_SIZE, _HEADER_LIST = 3, 4, 5, 6
_FRAME = struct.Struct(">IBI")
"""Length in the upper 24 bits of the first, kind in the lower 8; flags; stream."""
_FRAME_BYTES = 1 << 18
_STREAMS = 1024
_STREAM_WINDOW = 1 << 20
_CONNECTION_WINDOW = 16 << 20
_DEFAULT_WINDOW = 65_535
_LARGEST_WINDOW = (1 << 31) - 1
_HEADER_BYTES = 32 << 10
_KNOWN_HEADS = 256
_KNOWN_HEAD_BYTES = 1024
_RESETS = 200
"""Calls that a client may take back before it must also wait for answers."""
_CALL_S = 30.0
"""The longest that a call's bytes may take to arrive, and an answer's to be taken."""
_GZIP_OR_ZLIB = 47
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_REASON_BYTES = 1024
# Their HPACK form: `:status` 200 is in the static table; the rest is literal and in no table.
_OK = b"\x88"
_CONTENT_TYPE = b"content-type", b"application/grpc"
_ENCODINGS = b"grpc-accept-encoding", b"identity,deflate,gzip"

Headers = Sequence[tuple[bytes, bytes]]


class _BrokenError(Exception):
    """The client does not keep to the protocol."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Head:
    """What the headers of a call say."""

    __slots__ = ("encoding", "is_grpc", "path", "request_id", "timeout")

    def __init__(self, headers: Headers) -> None:
        found = dict(headers)
        kind = found.get(b"content-type", b"")
        self.is_grpc = found.get(b":method") == b"POST" and kind.split(b";")[0].split(b"+")[0] == b"application/grpc"
        self.path = found.get(b":path", b"").decode("latin-1")
        self.request_id = found.get(b"x-request-id")
        self.encoding = found.get(b"grpc-encoding", b"identity")
        match = _TIMEOUT.fullmatch(found.get(b"grpc-timeout", b"").decode("latin-1"))
        self.timeout = math.inf if match is None else int(match[1]) * _UNITS[match[2]]


class Call:
    """One unary call, and the way to answer it."""

    __slots__ = (
        "_connection",
        "answer",
        "arrived",
        "body",
        "deadline",
        "expires",
        "head",
        "size",
        "started",
        "stream",
        "window",
    )

    def __init__(self, connection: "Connection", stream: int, head: _Head, window: int, expires: float) -> None:
        self._connection = connection
        self.stream = stream
        self.head = head
        self.window = window
        """Bytes that the client still takes of the answer."""
        self.expires = expires
        """The moment of the server's clock at which what is missing of it has taken too long."""
        self.body: list[bytes] = []
        self.size = 0
        self.arrived = 0
        """Bytes since the client was last told that there is room for more."""
        self.answer: tuple[bytes, bytes] | None = None
        """What of an answer waits for room at the client: data, then the frame of trailers."""
        self.started = 0.0
        """The moment of `time.perf_counter` at which it was there whole."""
        self.deadline = math.inf
        """The moment from which on an answer is of no use any more."""

    def respond(self, message: bytes, request_id: bytes | None) -> None:
        """Answer, once. The id, a UUID's text, goes into the trailers."""
        self._connection.respond(self, message, request_id)

    def refuse(self, code: int, reason: str) -> None:
        """Answer with a status other than OK."""
        self._connection.refuse(self, code, reason)


Answer = Callable[[Call, bytes], None]
"""Answers a call with this message, by `Call.respond` or `refuse`, now or later on the event loop."""


class Connection(asyncio.Protocol):
    """One client."""

    _transport: asyncio.Transport

    def __init__(self, server: Server, answer: Answer) -> None:
        self._server = server
        self._answer = answer
        self._chunks: list[bytes] = []
        self._needed = len(_PREFACE)
        self._greeted = False
        self._decoder = Decoder(_HEADER_BYTES)
        self._heads: dict[bytes, _Head] = {}
        self._calls: dict[int, Call] = {}
        self._blocked: dict[int, Call] = {}
        """Calls whose answer waits for room."""
        self._last_stream = 0
        self._block: tuple[int, int, list[bytes]] | None = None
        """Stream, flags and parts of headers that are continued."""
        self._window = _DEFAULT_WINDOW
        self._initial_window = _DEFAULT_WINDOW
        self._frame_bytes = 16_384
        self._arrived = 0
        self._resets = 0
        self._closing = False
        self._deaf = False
        self._write_paused = False
        self._written: list[bytes] = []
        self._expires = server.now + _CALL_S

    # What asyncio and the server call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's
        settings = {
            _MAX_STREAMS: _STREAMS,
            _INITIAL_WINDOW: _STREAM_WINDOW,
            _FRAME_SIZE: _FRAME_BYTES,
            _HEADER_LIST: _HEADER_BYTES,
        }
        self._write(_frame(_SETTINGS, 0, 0, b"".join(struct.pack(">HI", *setting) for setting in settings.items())))
        self._write(_window_update(0, _CONNECTION_WINDOW - _DEFAULT_WINDOW))
        if not self._server.add(self):
            self._end(_ENHANCE_YOUR_CALM)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._server.remove(self)
        self._deaf = True
        for call in list(self._calls.values()):
            call.deadline = GONE
            self._forget(call)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._chunks:
            self._chunks.append(data)
            self._needed -= len(data)
            if self._needed > 0:
                return
            data = b"".join(self._chunks)
            self._chunks = []
        try:
            rest = self._read(data)
        except _BrokenError as broken:
            self._end(broken.code)
            return
        if rest:
            self._chunks = [rest]

    def pause_writing(self) -> None:
        # A client that does not read its answers gets no more of them.
        self._write_paused = True
        self._expires = self._server.now + _CALL_S
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._expires = math.inf
        self._transport.resume_reading()
        self._pump()

    def drain(self) -> None:
        if not self._closing:
            self._closing = True
            self._write(_goaway(_LARGEST_WINDOW, _NO_ERROR))

    def close_if_idle(self) -> None:
        self._closing = True
        self._write(_goaway(self._last_stream, _NO_ERROR))
        # What comes after this has no place to go; what came before is answered.
        self._last_stream = _LARGEST_WINDOW
        self._close_if_done()

    def sweep(self, now: float) -> None:
        if self._expires < now:
            self._transport.abort()
            return
        for call in [call for call in self._calls.values() if call.expires < now]:
            self._reset(call, _CANCEL)

    def abort(self) -> None:
        self._transport.abort()

    # Frames.

    def _read(self, data: bytes) -> bytes:
        """Take what is whole, and give back what is not yet."""
        position = 0
        if not self._greeted:
            if not data.startswith(_PREFACE[: len(data)]):
                raise _BrokenError(_PROTOCOL_ERROR)
            if len(data) < len(_PREFACE):
                self._needed = len(_PREFACE) - len(data)
                return data
            self._greeted = True
            self._expires = math.inf
            position = len(_PREFACE)
        end = len(data)
        while end - position >= 9:
            head, flags, stream = _FRAME.unpack_from(data, position)
            length, kind = head >> 8, head & 0xFF
            if length > _FRAME_BYTES:
                raise _BrokenError(_FRAME_SIZE_ERROR)
            start = position + 9
            if end - start < length:
                self._needed = length - (end - start)
                return data[position:]
            position = start + length
            self._take(kind, flags, stream & _LARGEST_WINDOW, data[start:position])
            if self._deaf:
                return b""
        self._needed = 9 - (end - position)
        return data[position:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and (kind != _CONTINUATION or stream != self._block[0]):
            raise _BrokenError(_PROTOCOL_ERROR)
        if kind == _DATA:
            self._take_data(flags, stream, payload)
        elif kind == _HEADERS:
            payload = _unpadded(flags, payload)
            if flags & _PRIORITY:
                payload = payload[5:]
            if not stream & 1:
                raise _BrokenError(_PROTOCOL_ERROR)
            if flags & _END_HEADERS:
                self._take_headers(flags, stream, payload)
            else:
                self._block = (stream, flags, [payload])
        elif kind == _CONTINUATION:
            self._take_continuation(flags, payload)
        elif kind == _WINDOW_UPDATE:
            self._take_window(stream, payload)
        elif kind == _SETTINGS:
            self._take_settings(flags, payload)
        elif kind == _PING:
            if len(payload) != 8:
                raise _BrokenError(_FRAME_SIZE_ERROR)
            if not flags & _ACK:
                self._write(_frame(_PING, _ACK, 0, payload))
        elif kind == _RST_STREAM:
            self._take_reset(stream)
        # Whatever else there is may be ignored: PRIORITY, GOAWAY (the client closes when it is done), the unknown.

    def _take_continuation(self, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise _BrokenError(_PROTOCOL_ERROR)
        stream, first_flags, parts = self._block
        parts.append(payload)
        if sum(map(len, parts)) > _HEADER_BYTES or len(parts) > _HEADER_BYTES >> 10:
            raise _BrokenError(_ENHANCE_YOUR_CALM)
        if flags & _END_HEADERS:
            self._block = None
            self._take_headers(first_flags, stream, b"".join(parts))

    def _take_headers(self, flags: int, stream: int, block: bytes) -> None:
        head = self._decode(block)
        call = self._calls.get(stream)
        if call is not None:
            # Trailers of a request, which gRPC does not have: they end it all the same.
            if not flags & _END_STREAM:
                raise _BrokenError(_PROTOCOL_ERROR)
            self._complete(call)
            return
        if stream <= self._last_stream:
            # Of a call that was refused, or came after the end was said.
            return
        self._last_stream = stream
        if len(self._calls) >= _STREAMS:
            self._write(_frame(_RST_STREAM, 0, stream, struct.pack(">I", _REFUSED_STREAM)))
            return
        call = Call(self, stream, head, self._initial_window, self._server.now + _CALL_S)
        self._calls[stream] = call
        if not head.is_grpc:
            self._write(_frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _literal((b":status", b"415"))))
            self._drop(call, flags & _END_STREAM != 0)
        elif flags & _END_STREAM:
            self._complete(call)

    def _decode(self, block: bytes) -> _Head:
        """Decompress headers. The same bytes mean the same for as long as the table that they refer to is the same."""
        head = self._heads.get(block)
        if head is not None:
            return head
        table = self._decoder.header_table
        # An entry is added at the table's beginning, and lost at its end.
        newest, entries, size = self._newest(), len(table.dynamic_entries), table.maxsize
        try:
            head = _Head(list(self._decoder.decode(block, raw=True)))
        except HPACKError:
            raise _BrokenError(_COMPRESSION_ERROR) from None
        if self._newest() is not newest or (len(table.dynamic_entries), table.maxsize) != (entries, size):
            self._heads.clear()
        elif len(block) <= _KNOWN_HEAD_BYTES:
            if len(self._heads) >= _KNOWN_HEADS:
                self._heads.clear()
            self._heads[block] = head
        return head

    def _newest(self) -> object:
        entries = self._decoder.header_table.dynamic_entries
        return entries[0] if entries else None

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        self._arrived += size
        if self._arrived > _CONNECTION_WINDOW:
            raise _BrokenError(_FLOW_CONTROL_ERROR)
        if self._arrived >= _CONNECTION_WINDOW >> 2:
            self._write(_window_update(0, self._arrived))
            self._arrived = 0
        if flags & _PADDED:
            payload = _unpadded(flags, payload)
        call = self._calls.get(stream)
        if call is None or call.started:
            if stream > self._last_stream or not stream:
                raise _BrokenError(_PROTOCOL_ERROR)
            return
        call.arrived += size
        if call.arrived > _STREAM_WINDOW:
            raise _BrokenError(_FLOW_CONTROL_ERROR)
        call.body.append(payload)
        call.size += len(payload)
        self._server.buffered += len(payload)
        if call.size > self._server.limits.body_bytes + 5:
            self.refuse(call, *_TOO_LARGE)
        elif self._server.buffered > self._server.limits.buffered_bytes:
            self.refuse(call, *_TOO_MANY)
        elif flags & _END_STREAM:
            self._complete(call)
        elif call.arrived >= _STREAM_WINDOW >> 1:
            self._write(_window_update(stream, call.arrived))
            call.arrived = 0

    def _take_window(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise _BrokenError(_FRAME_SIZE_ERROR)
        added = int.from_bytes(payload, "big") & _LARGEST_WINDOW
        if not added:
            raise _BrokenError(_PROTOCOL_ERROR)
        if not stream:
            self._window += added
            if self._window > _LARGEST_WINDOW:
                raise _BrokenError(_FLOW_CONTROL_ERROR)
        elif (call := self._calls.get(stream)) is not None:
            call.window += added
        if self._blocked:
            self._pump()

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & _ACK:
            return
        if len(payload) % 6:
            raise _BrokenError(_FRAME_SIZE_ERROR)
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW:
                if value > _LARGEST_WINDOW:
                    raise _BrokenError(_FLOW_CONTROL_ERROR)
                for call in self._calls.values():
                    call.window += value - self._initial_window
                self._initial_window = value
            elif name == _FRAME_SIZE:
                if not 16_384 <= value < 1 << 24:
                    raise _BrokenError(_PROTOCOL_ERROR)
                self._frame_bytes = value
        # HEADER_TABLE_SIZE is of no concern: what is sent uses no table.
        self._write(_frame(_SETTINGS, _ACK, 0, b""))
        self._pump()

    def _take_reset(self, stream: int) -> None:
        call = self._calls.get(stream)
        if call is None:
            return
        # It is no longer waited for: if it still stands in a queue, its turn is skipped.
        call.deadline = GONE
        self._forget(call)
        self._resets += 1
        if self._resets > _RESETS:
            raise _BrokenError(_ENHANCE_YOUR_CALM)

    # Calls.

    def _complete(self, call: Call) -> None:
        """Have a whole call answered."""
        call.started = time.perf_counter()
        call.expires = math.inf
        call.deadline = call.started + call.head.timeout
        body = call.body[0] if len(call.body) == 1 else b"".join(call.body)
        self._release(call)
        try:
            message = self._message(body, call.head.encoding)
        except RefusedError as refused:
            self.refuse(call, _INVALID_ARGUMENT, refused.reason)
            return
        self._answer(call, message)

    def _message(self, body: bytes, encoding: bytes) -> bytes:
        if len(body) < 5 or int.from_bytes(body[1:5], "big") != len(body) - 5:
            raise invalid("the call has not exactly one message")
        if not body[0]:
            return body[5:]
        if encoding not in (b"gzip", b"deflate"):
            raise invalid(f"messages compressed with {encoding.decode('latin-1')[:16]} are not taken: use gzip")
        largest = self._server.limits.body_bytes
        try:
            decompressor = zlib.decompressobj(_GZIP_OR_ZLIB)
            message = decompressor.decompress(body[5:], largest + 1)
        except zlib.error:
            raise invalid(f"the message is not {encoding.decode()}") from None
        if len(message) > largest or not decompressor.eof:
            raise invalid(f"the message has more than {largest} bytes, or ends too early")
        return message

    def respond(self, call: Call, message: bytes, request_id: bytes | None) -> None:
        """See `Call.respond`."""
        stream = call.stream
        if self._calls.get(stream) is not call:
            return
        if self._resets:
            self._resets -= 1
        size = len(message) + 5
        head = _FRAME.pack(_RESPONSE_KIND, _END_HEADERS, stream) + _RESPONSE
        trailers = _STATUS_OK if request_id is None else _STATUS_OK_OF + request_id
        end = _FRAME.pack(len(trailers) << 8 | _HEADERS, _END_HEADERS | _END_STREAM, stream) + trailers
        data = b"\0%b%b" % ((size - 5).to_bytes(4, "big"), message)
        if size <= call.window and size <= self._window and size <= self._frame_bytes and not self._write_paused:
            self._window -= size
            self._write(b"%b%b%b%b" % (head, _FRAME.pack(size << 8 | _DATA, 0, stream), data, end))
            self._forget(call)
            return
        self._write(head)
        call.answer = (data, end)
        call.expires = self._server.now + _CALL_S
        self._blocked[stream] = call
        self._pump()

    def refuse(self, call: Call, code: int, reason: str) -> None:
        """See `Call.refuse`."""
        if self._calls.get(call.stream) is not call:
            return
        text = quote(reason.encode()[:_REASON_BYTES], safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}").encode()
        status = _literal((b"grpc-status", b"%d" % code), (b"grpc-message", text))
        self._write(_frame(_HEADERS, _END_HEADERS | _END_STREAM, call.stream, _RESPONSE + status))
        self._drop(call, call.started > 0)

    def _drop(self, call: Call, whole: bool) -> None:
        """Forget an answered call; the client need not send the rest of one that is not whole."""
        if not whole:
            self._write(_frame(_RST_STREAM, 0, call.stream, struct.pack(">I", _NO_ERROR)))
        self._forget(call)

    def _reset(self, call: Call, code: int) -> None:
        self._write(_frame(_RST_STREAM, 0, call.stream, struct.pack(">I", code)))
        call.deadline = GONE
        self._forget(call)

    def _forget(self, call: Call) -> None:
        self._release(call)
        self._calls.pop(call.stream, None)
        self._blocked.pop(call.stream, None)
        if self._closing:
            self._close_if_done()

    def _release(self, call: Call) -> None:
        self._server.buffered -= call.size
        call.size = 0
        call.body = []

    def _pump(self) -> None:
        """Send what waited for room, as far as there is some."""
        for call in list(self._blocked.values()):
            if self._write_paused or self._window <= 0:
                return
            data, end = call.answer or (b"", b"")
            while data and (size := min(len(data), call.window, self._window, self._frame_bytes)) > 0:
                self._write(_frame(_DATA, 0, call.stream, data[:size]))
                data = data[size:]
                call.window -= size
                self._window -= size
                call.expires = self._server.now + _CALL_S
            if data:
                call.answer = (data, end)
            else:
                self._write(end)
                self._forget(call)

    # The end.

    def _end(self, code: int) -> None:
        """Say why, and close."""
        self._deaf = True
        self._write(_goaway(min(self._last_stream, _LARGEST_WINDOW), code))
        self._close()

    def _close_if_done(self) -> None:
        # Only once no call can come any more: `drain` alone leaves time for those on the way.
        if not self._calls and self._last_stream == _LARGEST_WINDOW:
            self._close()

    def _close(self) -> None:
        self._flush()
        self._transport.close()

    def _write(self, data: bytes) -> None:
        """Write with all else that is written in this turn of the event loop: a run answers many calls at once."""
        if not self._written:
            asyncio.get_running_loop().call_soon(self._flush)
        self._written.append(data)

    def _flush(self) -> None:
        data = b"".join(self._written)
        self._written.clear()
        if data and not self._transport.is_closing():
            self._transport.write(data)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _FRAME.pack(len(payload) << 8 | kind, flags, stream) + payload


def _window_update(stream: int, size: int) -> bytes:
    return _frame(_WINDOW_UPDATE, 0, stream, struct.pack(">I", size))


def _goaway(last_stream: int, code: int) -> bytes:
    return _frame(_GOAWAY, 0, 0, struct.pack(">II", last_stream, code))


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise _BrokenError(_PROTOCOL_ERROR)
    return payload[1 : len(payload) - payload[0]]


def _literal(*headers: tuple[bytes, bytes]) -> bytes:
    """Headers in HPACK's plainest form: literal, in no table, without Huffman's code (RFC 7541, 6.2.2)."""
    return b"".join([b"\0" + _string(name) + _string(value) for name, value in headers])


def _string(text: bytes) -> bytes:
    length = len(text)
    if length < 127:
        return bytes((length,)) + text
    encoded = bytearray(b"\x7f")
    length -= 127
    while length >= 128:
        encoded.append(length & 127 | 128)
        length >>= 7
    encoded.append(length)
    return bytes(encoded) + text


_RESPONSE = _OK + _literal(_CONTENT_TYPE, _ENCODINGS)
_RESPONSE_KIND = len(_RESPONSE) << 8 | _HEADERS
_STATUS_OK = _literal((b"grpc-status", b"0"))
_STATUS_OK_OF = _STATUS_OK + _literal((b"x-request-id", b"0" * 36))[:-36]
_INVALID_ARGUMENT, _RESOURCE_EXHAUSTED, _UNAVAILABLE = 3, 8, 14
_TOO_LARGE = (_RESOURCE_EXHAUSTED, "the message is larger than the runtime takes: send fewer rows")
_TOO_MANY = (_UNAVAILABLE, "the runtime has too many requests on the way")
