"""REST: `…/infer` is answered here, all else by KServe's application."""

import logging
import math
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI
from fastapi import Request as ApplicationRequest
from fastapi.responses import JSONResponse
from kserve.protocol.rest.server import RESTServer

from serving.runtime.asgi import Bridge
from serving.runtime.codec import Request
from serving.runtime.errors import RETRY_AFTER_S, RefusedError, invalid
from serving.runtime.http1 import Exchange, Handler
from serving.runtime.identity import Identity, identity
from serving.runtime.metrics import Metrics
from serving.runtime.outputs import Outputs
from serving.runtime.repository import Extension, Plane
from serving.runtime.version import Version

_INFER = re.compile(rb"/v2/models/([^/?]+)(?:/versions/([^/?]+))?/infer(?:\?.*)?")
_DEADLINE_HEADER = b"x-envoy-expected-rq-timeout-ms"
"""What Envoy tells a service: after how many milliseconds it gives up. Any client may send it."""

logger = logging.getLogger("falaj.rest")


class _Infer:
    """An inference request whose head has come, and then its answer."""

    __slots__ = ("_exchange", "_identity", "_metrics", "_model", "_request", "_version")
    _identity: Identity
    _request: Request

    def __init__(self, exchange: Exchange, model: str, version: Version, metrics: Metrics) -> None:
        self._exchange = exchange
        self._model = model
        self._version = version
        self._metrics = metrics

    def begin(self) -> None:
        """Queue the request, now that its body has come."""
        exchange = self._exchange
        headers = dict(exchange.headers)
        try:
            if headers.get(b"content-encoding", b"identity") != b"identity":
                raise RefusedError(415, "compressed bodies are not taken: send it without Content-Encoding")
            self._identity = identity(headers.get(b"x-request-id"))
            self._request = self._version.decoder.decode(exchange.body, _json_length(headers))
            self._version.submit(
                self._request, self._identity, exchange.started, _deadline(exchange.started, headers), self.end
            )
        except RefusedError as refused:
            self.refuse(refused)
        except Exception:
            logger.exception("an inference of %s failed", self._model)
            self.refuse(RefusedError(500, "the inference failed: see the runtime's log"))

    def end(self, outputs: Outputs | RefusedError, start: int, end: int) -> None:
        """Answer with the rows of a run."""
        if isinstance(outputs, RefusedError):
            self.refuse(outputs)
            return
        text = self._identity[1]
        content, json_length = self._version.encoder.encode(self._request, text, outputs, start, end)
        if json_length is None:
            head = b"x-request-id: %b\r\ncontent-type: application/json\r\n" % text
        else:
            head = (
                b"x-request-id: %b\r\ncontent-type: application/octet-stream\r\ninference-header-content-length: %d\r\n"
                % (text, json_length)
            )
        self._exchange.respond(200, head, content)

    def refuse(self, refused: RefusedError) -> None:
        self._metrics.refused(self._model, self._version.label, refused.status)
        self._exchange.refuse(refused)


class Router(Handler):
    """Which part answers a request."""

    def __init__(self, plane: Plane, metrics: Metrics, app: FastAPI) -> None:
        self._repository = plane.repository
        self._metrics = metrics
        self._bridge = Bridge(app)

    def open(self, exchange: Exchange) -> None:
        match = _INFER.fullmatch(exchange.target) if exchange.method == b"POST" else None
        if match is None:
            return
        model = label = ""
        try:
            name = _decoded(match[1])
            version = self._repository.version(name, None if match[2] is None else _decoded(match[2]))
            model, label = name, version.label
            # A body that would be refused is not even kept.
            version.batcher.check_room(1)
        except RefusedError as refused:
            self._metrics.refused(model, label, refused.status)
            raise
        exchange.context = _Infer(exchange, model, version, self._metrics)

    def answer(self, exchange: Exchange) -> None:
        if exchange.context is not None:
            exchange.context.begin()
        else:
            self._bridge.answer(exchange)


def create_application(plane: Plane, extension: Extension, port: int) -> FastAPI:
    """KServe's application, with what it lacks in front: versions, the repository index, reasons of refusals."""
    from kserve.model_server import app

    @app.exception_handler(RefusedError)  # type: ignore[untyped-decorator]
    async def refuse(_: ApplicationRequest, refused: RefusedError) -> JSONResponse:
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


def _decoded(part: bytes) -> str:
    return (unquote_to_bytes(part) if b"%" in part else part).decode("utf-8", "replace")


def _deadline(started: float, headers: dict[bytes, bytes]) -> float:
    value = headers.get(_DEADLINE_HEADER)
    if value is None:
        return math.inf
    if not value.isdigit():
        raise invalid(f"{_DEADLINE_HEADER.decode()} is not a number of milliseconds")
    return started + int(value) / 1000


def _json_length(headers: dict[bytes, bytes]) -> int | None:
    value = headers.get(b"inference-header-content-length")
    if value is None:
        return None
    if not value.isdigit():
        raise invalid("Inference-Header-Content-Length is not a number")
    return int(value)
