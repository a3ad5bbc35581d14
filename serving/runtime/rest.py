"""REST: `…/infer` is answered here, all else by KServe's application."""

import logging
import math
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI
from fastapi import Request as ApplicationRequest
from fastapi.responses import JSONResponse, Response
from kserve.protocol.rest.server import RESTServer
from prometheus_client import CONTENT_TYPE_LATEST

from serving.runtime.asgi import Bridge
from serving.runtime.batching import Job
from serving.runtime.codec import Query
from serving.runtime.errors import RETRY_AFTER_S, RefusedError, invalid
from serving.runtime.http1 import Exchange, Handler
from serving.runtime.identity import identity
from serving.runtime.metrics import Metrics
from serving.runtime.outputs import Outputs
from serving.runtime.peers import Peers
from serving.runtime.repository import Extension, Plane
from serving.runtime.version import Version

_INFER = re.compile(rb"/v2/models/([^/?]+)(?:/versions/([^/?]+))?/infer(?:\?.*)?")
_DEADLINE_HEADER = b"x-envoy-expected-rq-timeout-ms"
"""What Envoy tells a service: after how many milliseconds it gives up. Any client may send it."""

logger = logging.getLogger("falaj.rest")


class Route:
    """What the head of an inference request says: it is the same for each request with the same head."""

    __slots__ = ("json_length", "model", "number", "patience")

    def __init__(self, model: str, number: str | None, headers: dict[bytes, bytes]) -> None:
        """Raises:
        RefusedError: 400 or 415, a header is wrong.
        """
        self.model = model
        self.number = number
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise RefusedError(415, "compressed bodies are not taken: send it without Content-Encoding")
        self.json_length = _number(headers, b"inference-header-content-length")
        milliseconds = _number(headers, _DEADLINE_HEADER)
        self.patience = math.inf if milliseconds is None else milliseconds / 1000
        """Seconds that the client waits for its answer."""


class _Inference(Job):
    """An inference request in the queue, and then its answer."""

    __slots__ = ("_exchange", "_model", "_query", "_router", "_version")
    _query: Query

    def __init__(self, exchange: Exchange, model: str, version: Version, router: "Router") -> None:
        self._exchange = exchange
        self._model = model
        self._version = version
        self._router = router

    def submit(self, route: Route) -> None:
        exchange, version = self._exchange, self._version
        self.started = exchange.started
        self.deadline = exchange.started + route.patience
        self.identity = identity(exchange.request_id)
        self._query, arrays = version.json_decoder.decode(exchange.body, route.json_length)
        version.submit(self._query, arrays, self)

    def done(self, outputs: Outputs | RefusedError, start: int, end: int) -> None:
        if isinstance(outputs, RefusedError):
            self._router.refuse(self._exchange, self._model, self._version.label, outputs)
            return
        text = self.identity[1]
        content, json_length = self._version.json_encoder.encode(self._query, text, outputs, start, end)
        if json_length is None:
            head = b"x-request-id: %b\r\ncontent-type: application/json\r\n" % text
        else:
            head = (
                b"x-request-id: %b\r\ncontent-type: application/octet-stream\r\ninference-header-content-length: %d\r\n"
                % (text, json_length)
            )
        self._exchange.respond(200, head, content)


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
        model, number = _decoded(match[1]), None if match[2] is None else _decoded(match[2])
        label = ""
        try:
            version = self._repository.version(model, number)
            label = version.label
            route = Route(model, number, dict(exchange.headers))
            # A body that would be refused is not even kept.
            version.batcher.check_room(1)
        except RefusedError as refused:
            self._metrics.refused(model if label else "", label, refused.status)
            raise
        exchange.route = route

    def answer(self, exchange: Exchange) -> None:
        route = exchange.route
        if route is None:
            self._bridge.answer(exchange)
            return
        model = label = ""
        try:
            # The version that is live now: the head may have come before it was.
            version = self._repository.version(route.model, route.number)
            model, label = route.model, version.label
            # What would be refused is not even decoded.
            version.batcher.check_room(1)
            job = _Inference(exchange, model, version, self)
            job.submit(route)
            exchange.cancel = job.cancel
        except RefusedError as refused:
            self.refuse(exchange, model, label, refused)
        except Exception:
            logger.exception("an inference of %s failed", model or "an unknown model")
            self.refuse(exchange, model, label, RefusedError(500, "the inference failed: see the runtime's log"))

    def refuse(self, exchange: Exchange, model: str, label: str, refused: RefusedError) -> None:
        self._metrics.refused(model, label, refused.status)
        exchange.refuse(refused)


def create_application(plane: Plane, extension: Extension, port: int, peers: Peers | None = None) -> FastAPI:
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

    if peers is not None:

        @app.get("/metrics")  # type: ignore[untyped-decorator]
        async def metrics() -> Response:
            return Response(await peers.metrics(), media_type=CONTENT_TYPE_LATEST)

    RESTServer("kserve.model_server:app", plane, extension, port).create_application()
    return app  # type: ignore[no-any-return]


def _decoded(part: bytes) -> str:
    return (unquote_to_bytes(part) if b"%" in part else part).decode("utf-8", "replace")


def _number(headers: dict[bytes, bytes], name: bytes) -> int | None:
    value = headers.get(name)
    if value is None:
        return None
    if not value.isdigit():
        raise invalid(f"{name.decode()} is not a number")
    return int(value)
