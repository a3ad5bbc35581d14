"""The API server stopped and started again, with the same data, keys and port."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from core.errors import FalajError
from rehearsal.kubernetes.api import Api, Manifest

_NAME = "kube-apiserver"
_STOP_SECONDS = 5
_START_SECONDS = 180
_AWAY = "node.kubernetes.io/"
"""Begins the taints of nodes that the cluster has not heard of for a while."""


def stop() -> list[str]:
    """Stop this rehearsal's API server, which gets some seconds to answer what it was asked; how it was started."""
    server = next((child for child in psutil.Process().children() if child.name() == _NAME), None)
    if server is None:
        raise FalajError(f"no {_NAME} of this rehearsal runs")
    command = server.cmdline()
    server.terminate()
    # It would wait a minute for those that watch something.
    _, left = psutil.wait_procs([server], timeout=_STOP_SECONDS)
    for late in left:
        late.kill()
    psutil.wait_procs(left)
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
    """Wait until all groups answer, and no node counts as away any more."""
    last = time.monotonic() + _START_SECONDS
    while True:
        try:
            api.everything()
            away = [node["metadata"]["name"] for node in api.items("v1", "Node") if _is_away(node)]
            if not away:
                return
            wrong = f"{', '.join(away)} are away"
        except (FalajError, KeyError, ValueError) as error:
            wrong = str(error)
        if time.monotonic() > last:
            raise FalajError(f"the cluster did not come back after its API server's restart: {wrong}")
        time.sleep(0.5)


def _is_away(node: Manifest) -> bool:
    return any(taint["key"].startswith(_AWAY) for taint in node["spec"].get("taints") or [])
