"""The API server stopped and started again, with the same data, keys and port."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from core.errors import FalajError
from rehearsal.kubernetes.api import Api

_NAME = "kube-apiserver"
_STOP_SECONDS = 90
_START_SECONDS = 90


def stop() -> list[str]:
    """Stop this rehearsal's API server as an upgrade does, with what it was asked for done; how it was started."""
    server = next((child for child in psutil.Process().children() if child.name() == _NAME), None)
    if server is None:
        raise FalajError(f"no {_NAME} of this rehearsal runs")
    command = server.cmdline()
    server.terminate()
    # Whoever started it may be waiting for it as well, and only one of the two is told how it ended.
    psutil.wait_procs([server], timeout=_STOP_SECONDS)
    return command


@contextmanager
def again(command: list[str], folder: Path) -> Iterator[None]:
    """Start it again, until the block ends."""
    with (folder / f"{_NAME}-again.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ, start_new_session=True)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def await_ready(api: Api) -> None:
    """Wait until all groups answer."""
    last = time.monotonic() + _START_SECONDS
    while True:
        try:
            api.everything()
        except (FalajError, KeyError, ValueError) as error:
            if time.monotonic() > last:
                raise FalajError(f"the API server does not answer after its restart: {error}") from error
            time.sleep(0.5)
        else:
            return
