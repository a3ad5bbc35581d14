"""Running a command, and what it took."""

import resource
import subprocess
import time


def timed(command: list[str]) -> tuple[float, float, str]:
    """Wall seconds, CPU seconds of it and its children, and what it wrote.

    Raises:
        SystemExit: It wrote nothing.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if not done.stdout.strip():
        raise SystemExit(f"{command[0]} wrote nothing: {done.stderr[-500:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout
