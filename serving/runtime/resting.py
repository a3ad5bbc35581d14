"""Clients that were refused for want of room, and are not read from until there is some.

A refusal costs nearly as much as a small answer. Clients that ask again at once, against what Retry-After says, would
have a server that is overloaded do nothing but refuse them.
"""

from typing import Protocol


class Client(Protocol):
    def resume(self) -> None:
        """Read from it again."""


class Resting:
    """The one that has rested longest is the first to be heard again."""

    def __init__(self) -> None:
        self._clients: dict[Client, None] = {}

    def __bool__(self) -> bool:
        return bool(self._clients)

    def add(self, client: Client) -> None:
        self._clients[client] = None

    def remove(self, client: Client) -> None:
        self._clients.pop(client, None)

    def wake(self, count: int) -> None:
        """Hear so many of them again."""
        while count > 0 and self._clients:
            client = next(iter(self._clients))
            del self._clients[client]
            client.resume()
            count -= 1
