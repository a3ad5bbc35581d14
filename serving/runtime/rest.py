"""REST: a short way for `…/infer` in front of KServe's application, and limits in front of all of it."""

import logging
import re
import time
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
from serving.runtime.repository import Extension, Plane
from serving.runtime.version import inference_id

MAX_URL_BYTES = 4 << 10
MAX_HEADER_BYTES = 32 << 10

_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
_Headers = list[tuple[bytes, bytes]]
logger = logging.getLogger("falaj.rest")


class Gate:
    """The ASGI application: `…/infer` is answered here, all else by KServe's."""

    def __init__(self, app: ASGIApp, plane: Plane, metrics: Metrics, max_body_bytes: int, max_rows: int) -> None:
        self._app = app
        self._plane = plane
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._decoder = Decoder(max_rows)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            self._check_limits(scope, headers)
        except RefusedError as refused:
            await self._refuse(send, refused)
            return
        match = _INFER.fullmatch(scope["path"]) if scope["method"] == "POST" else None
        if match is None:
            await self._app(scope, receive, send)
            return
        await self._infer(match[1], match[2], headers, receive, send)

    async def _infer(
        self, name: str, number: str | None, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        identity = inference_id(headers.get(b"x-request-id", b"").decode("latin-1"))
        label = ("", "")
        try:
            body = await self._read(receive)
            if body is None:
                return
            started = time.perf_counter()
            version = self._plane.repository.version(name, number)
            label = (name, version.label)
            encoding = headers.get(b"content-encoding", b"identity")
            if encoding != b"identity":
                raise RefusedError(415, "compressed bodies are not taken: send it without Content-Encoding")
            request = self._decoder.decode(body, _json_length(headers), version.model.spec)
            outputs = await version.infer(request, identity)
            text = str(identity)
            content, json_length = encode(name, version.label, request, text, version.model.spec, outputs)
        except RefusedError as refused:
            self._metrics.refused(*label, refused.status)
            await self._refuse(send, refused)
            return
        except Exception:
            logger.exception("an inference of %s failed", label[0] or "an unknown model")
            self._metrics.refused(*label, 500)
            await self._refuse(send, RefusedError(500, "the inference failed: see the runtime's log"))
            return
        answer: _Headers = [(b"x-request-id", text.encode())]
        if json_length is None:
            answer.append((b"content-type", b"application/json"))
        else:
            answer.append((b"content-type", b"application/octet-stream"))
            answer.append((b"inference-header-content-length", str(json_length).encode()))
        version.metrics.answered.inc()
        version.metrics.seconds.observe(time.perf_counter() - started)
        await self._send(send, 200, answer, content)

    def _check_limits(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
            raise RefusedError(414, f"the address has more than {MAX_URL_BYTES} bytes")
        if sum([len(name) + len(value) for name, value in scope["headers"]]) > MAX_HEADER_BYTES:
            raise RefusedError(431, f"the headers have more than {MAX_HEADER_BYTES} bytes")
        length = headers.get(b"content-length")
        # The HTTP parser has seen to it that a length is a number.
        if length is not None and int(length) > self._max_body_bytes:
            raise self._too_large()
        if length is None and b"transfer-encoding" in headers and not _INFER.fullmatch(scope["path"]):
            raise RefusedError(411, "Content-Length is needed")

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"the body has more than {self._max_body_bytes} bytes: send fewer rows a request")

    async def _read(self, receive: Receive) -> bytes | None:
        """The body; None where the client has gone."""
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        if not message.get("more_body"):
            body: bytes = message.get("body", b"")
            return body
        parts, size = [message["body"]], len(message["body"])
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body_bytes:
                raise self._too_large()
        return b"".join(parts)

    async def _refuse(self, send: Send, refused: RefusedError) -> None:
        headers: _Headers = [(b"content-type", b"application/json")]
        if refused.status == 503:
            headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
        await self._send(send, refused.status, headers, orjson.dumps({"error": refused.reason}))

    async def _send(self, send: Send, status: int, headers: _Headers, body: bytes) -> None:
        headers.append((b"content-length", str(len(body)).encode()))
        if self._plane.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with an end to a head that never ends: its parser would gather it in memory."""

    _head_bytes = 0

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes = -1
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_URL_BYTES + MAX_HEADER_BYTES and not self.transport.is_closing():
                self.transport.write(
                    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                )
                self.transport.close()


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
