"""The id of an inference: in the answer, in the log, and in nothing else that is stored."""

import os
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

Identity = tuple[bytes, bytes]
"""Its 16 bytes, and its text, a UUID's 36 characters."""
_GIVEN = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_POOL = 256
_GROUPS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
"""Of a UUID's digits, with hyphens between them."""
_pool: list[Identity] = []
# Two processes must never give out the same ids.
os.register_at_fork(after_in_child=_pool.clear)


def is_identity(text: bytes) -> bool:
    """Whether it is a UUID's text."""
    return _GIVEN.fullmatch(text) is not None


def identity(given: bytes | None) -> Identity:
    """The client's request id where it is a UUID, so that it can find its answer in the log, else a new one.

    Nothing else that a client sends may reach the log: it could be an identifier.
    """
    if given is not None and is_identity(given):
        return bytes.fromhex(given.replace(b"-", b"").decode()), given.lower()
    if not _pool:
        _pool.extend(_random(_POOL))
    return _pool.pop()


def texts(ids: bytes) -> NDArray[Any]:
    """(n, 36) ASCII of n ids of 16 bytes, without a Python object for each."""
    count = len(ids) // 16
    text = np.full((count, 36), ord("-"), np.uint8)
    digits = np.frombuffer(ids.hex().encode(), np.uint8).reshape(count, 32)
    for hyphens, (start, end) in enumerate(_GROUPS):
        text[:, start + hyphens : end + hyphens] = digits[:, start:end]
    return text


def _random(count: int) -> list[Identity]:
    """Version 4 of RFC 9562, many for the price of one call of the kernel."""
    ids = np.frombuffer(os.urandom(16 * count), np.uint8).reshape(count, 16).copy()
    ids[:, 6] = ids[:, 6] & 0x0F | 0x40
    ids[:, 8] = ids[:, 8] & 0x3F | 0x80
    raw, text = ids.tobytes(), texts(ids.tobytes()).tobytes()
    return [(raw[16 * index : 16 * index + 16], text[36 * index : 36 * index + 36]) for index in range(count)]
