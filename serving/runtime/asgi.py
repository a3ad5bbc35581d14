"""Hands a request that was gathered whole to an ASGI application, and its answer back."""

import asyncio
import logging
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from serving.runtime.errors import RefusedError
from serving.runtime.http1 import Exchange

_CONNECTION_HEADERS = frozenset((b"content-length", b"connection", b"transfer-encoding", b"date"))

logger = logging.getLogger("falaj.asgi")


class Bridge:
    """An application whose answers are short: each is gathered before it is written."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(self, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(self._run(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, exchange: Exchange) -> None:
        path, _, query = exchange.target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": exchange.method.decode("ascii"),
            "scheme": "http",
            "path": unquote(path.decode("ascii", "replace")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": exchange.headers,
            "client": None,
            "server": None,
        }
        received = False
        status = 500
        head = b""
        parts: list[bytes] = []

        async def receive() -> Message:
            nonlocal received
            if received:
                # The application waits for the client to go away; its answer comes first.
                await asyncio.get_running_loop().create_future()
            received = True
            return {"type": "http.request", "body": exchange.body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status, head
            if message["type"] == "http.response.start":
                status = message["status"]
                head = b"".join(
                    [
                        b"%b: %b\r\n" % (name, value)
                        for name, value in message["headers"]
                        if name.lower() not in _CONNECTION_HEADERS
                    ]
                )
            else:
                parts.append(message.get("body", b""))

        try:
            await self._app(scope, receive, send)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            exchange.refuse(RefusedError(500, "the call failed: see the runtime's log"))
            return
        exchange.respond(status, head, b"".join(parts))
