"""A closed-loop load: each of `concurrency` clients sends, checks and, where it failed, retries."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import aiohttp
import numpy as np

RETRY_SECONDS = 60.0
"""A request that no retry heals within this time is lost."""
TOLERANCE = 1e-5


@dataclass
class Tally:
    """What one load run saw. Each attempt has an id of its own, which the answer must carry."""

    answered: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)
    failures: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: int = 0
    seconds: float = 0.0


async def drive(
    url: str, bodies: Sequence[bytes], expected: np.ndarray, total: int, concurrency: int, progress: list[int]
) -> Tally:
    """Send `total` requests, body i modulo their number, and compare each answer with its expectation.

    Args:
        url: The infer endpoint.
        bodies: JSON requests of one row each.
        expected: (len(bodies),) float32: the probability that each must be answered with.
        progress: Its first entry counts the answers, for whoever watches.
    """
    tally = Tally()
    numbers = iter(range(total))
    started = time.monotonic()
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=20)) as session,
        asyncio.TaskGroup() as clients,
    ):
        for _ in range(concurrency):
            clients.create_task(_client(session, url, bodies, expected, numbers, tally, progress))
    tally.seconds = time.monotonic() - started
    return tally


async def _client(
    session: aiohttp.ClientSession,
    url: str,
    bodies: Sequence[bytes],
    expected: np.ndarray,
    numbers: Iterator[int],
    tally: Tally,
    progress: list[int],
) -> None:
    for number in numbers:
        which = number % len(bodies)
        deadline = time.monotonic() + RETRY_SECONDS
        while not await _attempt(session, url, bodies[which], float(expected[which]), tally):
            if time.monotonic() > deadline:
                tally.lost += 1
                break
            await asyncio.sleep(0.05)
        progress[0] += 1


async def _attempt(session: aiohttp.ClientSession, url: str, body: bytes, expected: float, tally: Tally) -> bool:
    attempt = str(uuid.uuid4())
    headers = {"content-type": "application/json", "x-request-id": attempt}
    try:
        async with session.post(url, data=body, headers=headers) as response:
            if response.status != 200:
                tally.unanswered.add(attempt)
                tally.failures[f"HTTP {response.status}"] += 1
                if response.status < 500:
                    tally.wrong.append(f"{attempt}: {response.status} {await response.text()}")
                return False
            answer = await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        tally.unanswered.add(attempt)
        tally.failures[type(error).__name__] += 1
        return False
    tally.answered.add(attempt)
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    if abs(outputs["probability"][0] - expected) > TOLERANCE:
        tally.wrong.append(f"{attempt}: {outputs['probability'][0]} where {expected} was expected")
    if response.headers.get("x-request-id") != attempt:
        tally.wrong.append(f"{attempt}: answered as {response.headers.get('x-request-id')}")
    return True
