"""Ports for servers that a rehearsal, a test or a benchmark starts."""

import contextlib
import random
import socket

_FIRST, _LAST = 15_000, 32_000
"""Below the ports that systems give to outgoing connections: one of those may be taken before the server starts."""


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports that nothing listens on.

    Raises:
        OSError: There are not as many.
    """
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.sample(range(_FIRST, _LAST), _LAST - _FIRST):
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"no {count} free ports between {_FIRST} and {_LAST}")
