"""What tests of the infrastructure share."""

import asyncio
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def loop() -> Iterator[None]:
    """An event loop for outputs that a test makes outside of a program; a recorded program leaves none behind."""
    found = asyncio.new_event_loop()
    asyncio.set_event_loop(found)
    yield
    asyncio.set_event_loop(None)
    found.close()


@pytest.fixture(autouse=True)
def whole_tracebacks() -> Iterator[None]:
    """The local substrate's providers shorten tracebacks for good, and the SDK cannot declare a resource then."""
    yield
    if hasattr(sys, "tracebacklimit"):
        del sys.tracebacklimit
