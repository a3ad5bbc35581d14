"""What can become of a call, whatever its service."""

import asyncio
import threading
from collections.abc import Callable

from rehearsal.faults.proxy import Answer, Call, CutError, Effect, Forward


def cut(after: float) -> Effect:
    """Hold the connection open without passing the request on, and cut it after so many seconds.

    So do gateways and load balancers with a connection on which nothing comes.
    """

    async def effect(call: Call, forward: Forward) -> Answer:  # noqa: ARG001
        await asyncio.sleep(after)
        raise CutError

    return effect


def then(event: threading.Event, seconds: float) -> Effect:
    """Let others know of the call, and pass it on so many seconds later."""

    async def effect(call: Call, forward: Forward) -> Answer:  # noqa: ARG001
        event.set()
        await asyncio.sleep(seconds)
        return await forward()

    return effect


class Freeze:
    """Calls on which time stands still, so that the client can be killed with them in the air.

    The first that `told` takes is done, and its answer kept back; all others do not get to the server. One that was
    killed cannot tell the two apart.

    Attributes:
        full: Set some seconds after that, in which others came.
    """

    def __init__(self, told: Callable[[Call], bool], seconds: float) -> None:
        self.full = threading.Event()
        self._told, self._seconds = told, seconds
        self._made = False

    async def effect(self, call: Call, forward: Forward) -> Answer:
        """Keep a call back for ever."""
        if not self._made and self._told(call):
            self._made = True
            await forward()
            asyncio.get_running_loop().call_later(self._seconds, self.full.set)
        never: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        return await never
