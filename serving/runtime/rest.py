"""REST: a short way for `…/infer` in front of KServe's application, and limits in front of all of it.

`Infer` answers, `Gate` (ASGI) and `Protocol` (the connection itself) are the two ways to it: the second saves the
task, the queue and the dictionaries that ASGI costs a request, and leaves to the first whatever is out of the ordinary.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from kserve.protocol.rest.server import RESTServer
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.runtime.codec import Decoder, encode
from serving.runtime.errors import RETRY_AFTER_S, RefusedError, invalid
from serving.runtime.metrics import Metrics
from serving.runtime.model import Arrays
from serving.runtime.repository import Extension, Plane
from serving.runtime.version import inference_id

MAX_URL_BYTES = 4 << 10
MAX_HEADER_BYTES = 32 << 10

_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
_PLAIN_INFER = re.compile(rb"/v2/models/([a-z][a-z0-9_]*)(?:/versions/([0-9]+))?/infer")
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_Headers = list[tuple[bytes, bytes]]
Respond = Callable[[int, _Headers, bytes], None]

logger = logging.getLogger("falaj.rest")


class Infer:
    """Answers inference requests, whatever carried them."""

    def __init__(self, plane: Plane, metrics: Metrics, max_body_bytes: int, max_rows: int) -> None:
        self.plane = plane
        self.max_body_bytes = max_body_bytes
        self._metrics = metrics
        self._decoder = Decoder(max_rows)

    def answer(self, name: str, number: str | None, headers: dict[bytes, bytes], body: bytes, respond: Respond) -> None:
        """Call `respond` once, now or later on the event loop, with status, headers and body."""
        started = time.perf_counter()
        model = label = ""
        try:
            given = headers.get(b"x-request-id")
            identity = inference_id(None if given is None else given.decode("latin-1"))
            version = self.plane.repository.version(name, number)
            model, label = name, version.label
            if headers.get(b"content-encoding", b"identity") != b"identity":
                raise RefusedError(415, "compressed bodies are not taken: send it without Content-Encoding")
            request = self._decoder.decode(body, _json_length(headers), version.model.spec)

            def done(outputs: Arrays | RefusedError) -> None:
                if isinstance(outputs, RefusedError):
                    self._refuse(outputs, name, version.label, respond)
                    return
                text = str(identity)
                content, json_length = encode(name, version.label, request, text, version.model.spec, outputs)
                answer = [(b"x-request-id", text.encode())]
                if json_length is None:
                    answer.append((b"content-type", b"application/json"))
                else:
                    answer.append((b"content-type", b"application/octet-stream"))
                    answer.append((b"inference-header-content-length", b"%d" % json_length))
                version.metrics.answered.inc()
                version.metrics.seconds.observe(time.perf_counter() - started)
                respond(200, answer, content)

            version.submit(request, identity, done)
        except RefusedError as refused:
            self._refuse(refused, model, label, respond)
        except Exception:
            logger.exception("an inference of %s failed", model or "an unknown model")
            self._refuse(RefusedError(500, "the inference failed: see the runtime's log"), model, label, respond)

    def _refuse(self, refused: RefusedError, model: str, label: str, respond: Respond) -> None:
        self._metrics.refused(model, label, refused.status)
        respond(refused.status, *_refusal(refused))


class Gate:
    """The ASGI application: `…/infer` is answered here, all else by KServe's."""

    def __init__(self, app: ASGIApp, infer: Infer) -> None:
        self.infer = infer
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        match = _INFER.fullmatch(scope["path"]) if scope["method"] == "POST" else None
        try:
            self._check_limits(scope, headers, match is not None)
            if match is None:
                await self._app(scope, receive, send)
                return
            body = await self._read(receive)
        except RefusedError as refused:
            await self._send(send, refused.status, *_refusal(refused))
            return
        if body is None:
            return
        future: asyncio.Future[tuple[int, _Headers, bytes]] = asyncio.get_running_loop().create_future()
        self.infer.answer(
            match[1],
            match[2],
            headers,
            body,
            lambda *answer: None if future.done() else future.set_result(answer),
        )
        await self._send(send, *await future)

    def _check_limits(self, scope: Scope, headers: dict[bytes, bytes], infer: bool) -> None:
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
            raise RefusedError(414, f"the address has more than {MAX_URL_BYTES} bytes")
        if _size(scope["headers"]) > MAX_HEADER_BYTES:
            raise RefusedError(431, f"the headers have more than {MAX_HEADER_BYTES} bytes")
        length = headers.get(b"content-length")
        # The HTTP parser has seen to it that a length is a number.
        if length is not None and int(length) > self.infer.max_body_bytes:
            raise self._too_large()
        if b"transfer-encoding" in headers and not infer:
            raise RefusedError(411, "Content-Length is needed")

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"the body has more than {self.infer.max_body_bytes} bytes: send fewer rows a request")

    async def _read(self, receive: Receive) -> bytes | None:
        """The body; None where the client has gone."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.infer.max_body_bytes:
                raise self._too_large()
            if not message.get("more_body"):
                return b"".join(parts)

    async def _send(self, send: Send, status: int, headers: _Headers, body: bytes) -> None:
        headers = [*headers, (b"content-length", b"%d" % len(body))]
        if self.infer.plane.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _Exchange:
    """One request that `Protocol` answers itself; to uvicorn it looks like a request-response cycle of its own."""

    message_event = asyncio.Event()

    def __init__(self, name: str, number: str | None, headers: dict[bytes, bytes], keep_alive: bool) -> None:
        self.name = name
        self.number = number
        self.headers = headers
        self.keep_alive = keep_alive
        self.body: list[bytes] = []
        self.disconnected = False
        self.response_complete = False


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection, where an ordinary `…/infer` does not pass through ASGI.

    Out of the ordinary is: pipelined behind another request, chunked, awaiting 100 Continue, an upgrade, above a limit.
    It also ends a head that never ends, which uvicorn's parser would gather in memory.
    """

    _exchange: _Exchange | None = None
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_URL_BYTES + MAX_HEADER_BYTES and not self.transport.is_closing():
            self.transport.write(_STATUS_LINES[431] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()

    def on_message_begin(self) -> None:
        self._exchange = None
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        large = len(self.url) > MAX_URL_BYTES or (
            self._head_bytes > MAX_HEADER_BYTES and _size(self.headers) > MAX_HEADER_BYTES
        )
        self._head_bytes = -1
        match = _PLAIN_INFER.fullmatch(self.url) if self.parser.get_method() == b"POST" else None
        if match is not None and not large and not self.expect_100_continue:
            headers = dict(self.headers)
            length = headers.get(b"content-length")
            if (
                length is not None
                and int(length) <= self.app.infer.max_body_bytes
                and (self.cycle is None or self.cycle.response_complete)
                and not self.parser.should_upgrade()
            ):
                keep_alive = self.parser.should_keep_alive() and self.parser.get_http_version() == "1.1"
                number = match[2]
                self._exchange = _Exchange(
                    match[1].decode(), None if number is None else number.decode(), headers, keep_alive
                )
                self.cycle = self._exchange  # type: ignore[assignment]
                return
        url, headers_list = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers.extend(headers_list)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._exchange is None:
            super().on_body(body)
        else:
            self._exchange.body.append(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            super().on_message_complete()
            return
        body = exchange.body[0] if len(exchange.body) == 1 else b"".join(exchange.body)
        self.app.infer.answer(
            exchange.name,
            exchange.number,
            exchange.headers,
            body,
            lambda status, headers, content: self._respond(exchange, status, headers, content),
        )

    def _respond(self, exchange: _Exchange, status: int, headers: _Headers, content: bytes) -> None:
        exchange.response_complete = True
        if exchange.disconnected or self.transport.is_closing():
            return
        keep_alive = exchange.keep_alive and not self.app.infer.plane.draining
        parts = [_STATUS_LINES[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-length: %d\r\n" % len(content))
        parts.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
        parts.append(content)
        self.transport.write(b"".join(parts))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()
        if self.flow.write_paused:
            # A client that does not read its answers gets no more of them.
            self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flow.resume_reading()


def _size(headers: _Headers) -> int:
    return sum([len(name) + len(value) for name, value in headers])


def _refusal(refused: RefusedError) -> tuple[_Headers, bytes]:
    headers: _Headers = [(b"content-type", b"application/json")]
    if refused.status == 503:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    return headers, orjson.dumps({"error": refused.reason})


def create_application(plane: Plane, extension: Extension, port: int) -> FastAPI:
    """KServe's application, with what it lacks in front: versions, the repository index, reasons of refusals."""
    from kserve.model_server import app

    @app.exception_handler(RefusedError)  # type: ignore[untyped-decorator]
    async def refuse(_: Request, refused: RefusedError) -> JSONResponse:
        headers = {"retry-after": str(RETRY_AFTER_S)} if refused.status == 503 else {}
        return JSONResponse({"error": refused.reason}, refused.status, headers)

    @app.get("/v2/health/ready")  # type: ignore[untyped-decorator]
    async def ready() -> JSONResponse:
        reason = plane.not_ready()
        return (
            JSONResponse({"ready": True})
            if reason is None
            else JSONResponse({"ready": False, "error": reason}, 503, {"retry-after": str(RETRY_AFTER_S)})
        )

    @app.get("/v2/models/{model}")  # type: ignore[untyped-decorator]
    @app.get("/v2/models/{model}/versions/{version}")  # type: ignore[untyped-decorator]
    async def metadata(model: str, version: str | None = None) -> JSONResponse:
        return JSONResponse(await plane.model_metadata(model, version))

    @app.get("/v2/models/{model}/ready")  # type: ignore[untyped-decorator]
    @app.get("/v2/models/{model}/versions/{version}/ready")  # type: ignore[untyped-decorator]
    async def model_ready(model: str, version: str | None = None) -> dict[str, Any]:
        return {"name": model, "ready": await plane.model_ready(model, version=version)}

    @app.post("/v2/repository/index")  # type: ignore[untyped-decorator]
    async def index() -> list[dict[str, str]]:
        return plane.index()

    RESTServer("kserve.model_server:app", plane, extension, port).create_application()
    return app  # type: ignore[no-any-return]


def _json_length(headers: dict[bytes, bytes]) -> int | None:
    value = headers.get(b"inference-header-content-length")
    if value is None:
        return None
    if not value.isdigit():
        raise invalid("Inference-Header-Content-Length is not a number")
    return int(value)
