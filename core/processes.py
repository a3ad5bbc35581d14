"""The end of other processes."""

import time
from collections.abc import Iterable

import psutil

_POLL_SECONDS = 0.05


def still_running(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait for processes to end.

    One that has ended stays as a zombie where its parent is gone and nobody reaps it, as in a container that has no
    init: `psutil`'s own waiting would take it for one that runs.

    Args:
        seconds: For how long at most.

    Returns:
        Those that run all the same.
    """
    until = time.monotonic() + seconds
    left = list(processes)
    while True:
        left = [process for process in left if _runs(process)]
        if not left or time.monotonic() >= until:
            return left
        time.sleep(_POLL_SECONDS)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
