"""Load at a given rate whose arrivals are spread: one request every 1/rate seconds, each client's at its own moment.

Generators that tick (wrk's and h2load's clocks do, for all clients at once) send what is due in bursts, and then the
server's p99 is that of the burst. One that polls takes from the server half of a core that both share as hyperthreads.
This one sleeps until a request is due or an answer is there. A request whose client still waits for an answer is sent
when that is there, and its time counts from the moment at which it was due.

Used by compare.py. Run as: python paced.py PORT PATH BODY CLIENTS RATE WARM_UP_S SECONDS
Prints JSON: answered, refused, and p50 and p99 in ms of those answered, from the moment at which they were due.
"""

import ctypes
import gc
import json
import select
import socket
import sys
import time
from pathlib import Path

import numpy as np

_SEND_BYTES = 1 << 21
_ABSOLUTE = 1
"""TFD_TIMER_ABSTIME"""


class Client:
    """One connection: idle, or waiting for an answer."""

    __slots__ = ("buffer", "due", "socket", "waiting")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        self.socket.setblocking(False)
        self.buffer = b""
        self.waiting = False
        self.due = 0.0
        """When its next request is due, or the one that it waits for was."""


def run(port: int, request: bytes, clients: int, rate: float, warm_up: float, seconds: float) -> dict[str, float]:
    """Send, and measure what was due after the warm-up."""
    connections = [Client(port) for _ in range(clients)]
    poll = select.epoll()
    by_descriptor = {}
    for client in connections:
        by_descriptor[client.socket.fileno()] = client
        poll.register(client.socket.fileno(), select.EPOLLIN)
    period = clients / rate
    start = time.perf_counter() + 0.1
    for index, client in enumerate(connections):
        client.due = start + index / rate
    measured, end = start + warm_up, start + warm_up + seconds
    times: list[float] = []
    refused = turn = 0
    gc.disable()
    clock = _Clock()
    poll.register(clock.descriptor, select.EPOLLIN)
    while (now := time.perf_counter()) < end:
        # The clients' turns come round in order; one that waits is passed over, and sends when it has its answer.
        while (due := start + turn / rate) <= now:
            client = connections[turn % clients]
            if not client.waiting and client.due <= now:
                _send(client, request)
            turn += 1
        clock.ring(due)
        for descriptor, _ in poll.poll():
            if descriptor == clock.descriptor:
                continue
            client = by_descriptor[descriptor]
            status = _receive(client)
            if not status:
                continue
            now = time.perf_counter()
            if client.due >= measured:
                if status == b"200":
                    times.append(now - client.due)
                else:
                    refused += 1
            client.waiting = False
            client.due += period
            if client.due <= now:
                _send(client, request)
    p50, p99 = np.percentile(times or [0.0], (50, 99)) * 1000
    return {"answered": len(times), "refused": refused, "p50": float(p50), "p99": float(p99)}


class _Clock:
    """A timer that a poll can wait for, to the microsecond; Python has one of its own from 3.13 on."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, 0)

    def ring(self, moment: float) -> None:
        """Be ready to read from `moment` of `time.perf_counter` on, which is CLOCK_MONOTONIC; never before."""
        seconds, nanoseconds = divmod(int(moment * 1e9), 10**9)
        times = (ctypes.c_long * 4)(0, 0, seconds, nanoseconds)
        if self._libc.timerfd_settime(self.descriptor, _ABSOLUTE, times, None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")


def _send(client: Client, request: bytes) -> None:
    client.socket.sendall(request)
    client.waiting = True


def _receive(client: Client) -> bytes:
    """The status of an answer that is there whole, else nothing."""
    data = client.socket.recv(_SEND_BYTES)
    if not data:
        sys.exit("the server closed a connection")
    data = client.buffer + data
    end = data.find(b"\r\n\r\n")
    if end >= 0:
        at = data.find(b"content-length: ") + 16
        if len(data) == end + 4 + int(data[at : data.find(b"\r", at)]):
            client.buffer = b""
            return data[9:12]
    client.buffer = data
    return b""


def main() -> None:
    port, path, body, clients, rate, warm_up, seconds = sys.argv[1:]
    content = Path(body).read_bytes()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    request = f"{head}content-length: {len(content)}\r\n\r\n".encode() + content
    print(json.dumps(run(int(port), request, int(clients), float(rate), float(warm_up), float(seconds))))


if __name__ == "__main__":
    main()
