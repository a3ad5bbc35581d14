"""A port and its connections, whatever they speak: how many there may be, how long they may take, and how they end."""

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Protocol

_SWEEP_S = 1.0
_LAST_REQUESTS_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a port's clients may cost."""

    connections: int
    body_bytes: int
    """Of one request."""
    buffered_bytes: int
    """Of all requests that are not yet there whole."""


class Connection(Protocol):
    """One client."""

    def drain(self) -> None:
        """Tell the client to send its next requests elsewhere."""

    def close_if_idle(self) -> None: ...

    def sweep(self, now: float) -> None:
        """End what takes too long; `now` is the server's."""

    def abort(self) -> None: ...


class Server:
    """The connections of one port."""

    def __init__(self, connect: "Callable[[Server], asyncio.Protocol]", limits: Limits) -> None:
        self.limits = limits
        self.buffered = 0
        """Bytes of requests that are not yet there whole."""
        self.draining = False
        self.now = time.monotonic()
        """Seconds, as exact as deadlines of connections have to be."""
        self.date = b""
        self._connect = connect
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    def add(self, connection: Connection) -> bool:
        """Take a new connection on; False where there are too many already."""
        room = len(self._connections) < self.limits.connections
        self._connections.add(connection)
        return room

    def remove(self, connection: Connection) -> None:
        self._connections.discard(connection)

    async def start(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._tick()
        self._listener = await loop.create_server(lambda: self._connect(self), sock=listener, backlog=2048)
        self._sweeper = loop.create_task(self._sweep())

    def drain(self) -> None:
        """Send clients elsewhere, and still answer all that comes."""
        self.draining = True
        for connection in list(self._connections):
            connection.drain()

    async def stop(self, grace: float) -> None:
        """Take no new connection, answer what is under way, and end.

        A connection that was just made, or whose request is on the way, is not idle in truth: each has time for one
        more request, after which it closes.

        Args:
            grace: Seconds after which what is not answered is given up.
        """
        self.drain()
        if self._listener is not None:
            self._listener.close()
        await asyncio.sleep(_LAST_REQUESTS_S)
        for connection in list(self._connections):
            connection.close_if_idle()
        deadline = time.monotonic() + grace
        while self._connections and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._tick()
            for connection in list(self._connections):
                connection.sweep(self.now)

    def _tick(self) -> None:
        self.now = time.monotonic()
        self.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
