"""Running a command, and what it took."""

import ctypes
import os
import resource
import subprocess
import time
from contextlib import suppress

_SET_CHILD_SUBREAPER = 36
"""Of prctl(2)."""


def timed(command: list[str]) -> tuple[float, float, str]:
    """Wall seconds, CPU seconds of it and all that it started, and what it wrote.

    Raises:
        SystemExit: It wrote nothing.
    """
    # What it leaves to end by itself becomes a child of this process, and counts once it is waited for.
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - start
    with suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if not done.stdout.strip():
        raise SystemExit(f"{command[0]} wrote nothing: {done.stderr[-500:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout
