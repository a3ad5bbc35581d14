"""Ports for servers that a test starts."""

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports that nothing listens on."""
    with contextlib.ExitStack() as held:
        servers = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(server.getsockname()[1]) for server in servers]
