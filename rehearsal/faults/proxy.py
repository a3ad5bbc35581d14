"""A server in front of another: it passes every request on, but for those that a rule has something else for."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from multidict import CIMultiDict
from yarl import URL

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
"""What is between two neighbours and not passed on; the length is that of what is sent."""
_END_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client asked for."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What it gets."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request in the words of its service.

    Attributes:
        service: `eks`, `ec2`; of Kubernetes group and version, `apps/v1`.
        operation: `CreateCluster`; of Kubernetes verb and resource, `create deployments`.
    """

    service: str
    operation: str
    request: Request


class CutError(Exception):
    """The connection ends without an answer."""


Forward = Callable[[], Awaitable[Answer]]
Effect = Callable[[Call, Forward], Awaitable[Answer]]
"""What becomes of a call: an answer with or without asking the server, or a `CutError`."""


@dataclass(kw_only=True)
class Rule:
    """Something in store for some calls.

    Attributes:
        matches: Which.
        times: How many of them, the first ones; None for all.
        met: The calls that it was done to.
    """

    matches: Callable[[Call], bool]
    effect: Effect
    times: int | None = 1
    met: list[Call] = field(default_factory=list)

    def takes(self, call: Call) -> bool:
        """Whether this call is one of them, which counts it."""
        if (self.times is not None and len(self.met) >= self.times) or not self.matches(call):
            return False
        self.met.append(call)
        return True


class Proxy:
    """Where it listens, and its rules. Rules may be changed while it runs; the first that takes a call has it."""

    def __init__(self, recognize: Callable[[Request], Call]) -> None:
        self.address = ""
        self.rules: list[Rule] = []
        self._recognize = recognize

    async def answer(self, request: Request, forward: Forward) -> Answer:
        """What a request gets."""
        if not self.rules:
            return await forward()
        call = self._recognize(request)
        rule = next((rule for rule in self.rules if rule.takes(call)), None)
        return await (rule.effect(call, forward) if rule is not None else forward())


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a proxy of a server with TLS shows, which is what the server itself shows, and trusts."""

    chain: Path
    key: Path
    authority: Path


@contextmanager
def running(
    server: str, recognize: Callable[[Request], Call], certificate: Certificate | None = None
) -> Iterator[Proxy]:
    """A proxy of a server on a free port of 127.0.0.1, until the block ends.

    Args:
        server: Its address, such as `http://127.0.0.1:5000`.
    """
    proxy = Proxy(recognize)
    # The first is where it listens, the second how it is told to end.
    started: Future[tuple[str, Callable[[], None]]] = Future()
    with ThreadPoolExecutor(1) as pool:
        served = pool.submit(asyncio.run, _serve(proxy, server, certificate, started))
        wait([started, served], return_when=FIRST_COMPLETED)
        proxy.address, end = started.result() if started.done() else served.result()
        try:
            yield proxy
        finally:
            end()


async def _serve(
    proxy: Proxy,
    server: str,
    certificate: Certificate | None,
    started: "Future[tuple[str, Callable[[], None]]]",
) -> Any:
    shown: ssl.SSLContext | None = None
    trusted: ssl.SSLContext | bool = True
    if certificate is not None:
        shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        shown.load_cert_chain(certificate.chain, certificate.key)
        trusted = ssl.create_default_context(cafile=str(certificate.authority))
    connector = TCPConnector(ssl=trusted, limit=0)
    timeout = ClientTimeout(total=None)
    added = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
    async with ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False, skip_auto_headers=added
    ) as session:

        async def handle(heard: web.BaseRequest) -> web.StreamResponse:
            headers = {key: value for key, value in heard.headers.items() if key.lower() not in _HOP}
            request = Request(method=heard.method, target=heard.raw_path, headers=headers, body=await heard.read())
            # Links that a service answers with lead to where it was called.
            sent = CIMultiDict(headers, Host=heard.host)

            async def forward() -> Answer:
                url = URL(f"{server}{request.target}", encoded=True)
                try:
                    async with session.request(
                        request.method, url, headers=sent, data=request.body or None, allow_redirects=False
                    ) as got:
                        return Answer(status=got.status, headers=dict(got.headers), body=await got.read())
                except ClientError as error:
                    # A client that asked the server itself would see a connection that fails, and no answer.
                    raise CutError from error

            try:
                answer = await proxy.answer(request, forward)
            except CutError:
                if heard.transport is not None:
                    heard.transport.abort()
                raise asyncio.CancelledError from None
            kept = {key: value for key, value in answer.headers.items() if key.lower() not in _HOP}
            return web.Response(status=answer.status, headers=kept, body=answer.body)

        # What is held for a client that is gone is let go of, and at the end all else.
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        runner = web.ServerRunner(
            web.Server(handle, access_log=None, handler_cancellation=True), shutdown_timeout=_END_SECONDS
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=shown)
            await site.start()
            address = f"{'http' if certificate is None else 'https'}://127.0.0.1:{runner.addresses[0][1]}"

            def end() -> None:
                loop.call_soon_threadsafe(ended.set)

            started.set_result((address, end))
            await ended.wait()
        finally:
            await runner.cleanup()
