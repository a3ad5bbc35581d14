"""Several processes behind one port: each is a whole runtime, and takes connections when it has time for them.

They share nothing but the listening sockets, the model repository, which each follows by itself, and the folder of the
inference log, where each has a journal of its own. One that dies is started again; what it had logged is recovered.
"""

import asyncio
import logging
import math
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from core.errors import ConfigError
from serving.runtime.peers import Peers
from serving.runtime.settings import Settings

Listeners = tuple[socket.socket, socket.socket]
"""Of REST and of gRPC."""
Work = Callable[[Settings, Listeners, Peers], None]
_REST_S = 1.0
"""How long to wait until a process that died is started again."""
_CONFIG_ERROR = 2
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")

logger = logging.getLogger("falaj.processes")


def cores(cpu_max: Path = _CPU_MAX) -> int:
    """How many cores the process may use: its affinity, or less where the cgroup's quota is lower."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text().split()
        return allowed if quota == "max" else max(1, min(allowed, math.floor(int(quota) / int(period))))
    except (OSError, ValueError):
        return allowed


def listen(settings: Settings) -> Listeners:
    """Open both ports.

    Raises:
        ConfigError: One is taken.
    """
    return (
        _listen(settings.host, settings.http_port, "--http-port"),
        _listen(settings.host, settings.grpc_port, "--grpc-port"),
    )


def supervise(settings: Settings, count: int, work: Work) -> int:
    """Run `work` in `count` processes until SIGTERM or SIGINT, which they are told.

    Returns:
        0 where all ended well; 2 where the settings are wrong.
    """
    context = multiprocessing.get_context("spawn")
    listeners = listen(settings)
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with tempfile.TemporaryDirectory(prefix="falaj-runtime-") as folder:

        def start(index: int) -> SpawnProcess:
            process = context.Process(target=work, args=(settings, listeners, Peers(Path(folder), index, count)))
            process.start()
            return process

        workers = [start(index) for index in range(count)]
        code = 0
        while not stopping:
            wait([worker.sentinel for worker in workers], timeout=_REST_S)
            for index, worker in enumerate(workers):
                if stopping or worker.exitcode is None:
                    continue
                if worker.exitcode == _CONFIG_ERROR:
                    code, stopping = _CONFIG_ERROR, True
                    break
                logger.error("process %d ended with %s: it is started again", index, worker.exitcode)
                time.sleep(_REST_S)
                workers[index] = start(index)
        # Else what is not taken by a process any more would wait here.
        for listener in listeners:
            listener.close()
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
            # One that had not begun to listen dies of the signal, and has nothing to lose.
            code = code or (0 if worker.exitcode in (0, -signal.SIGTERM) else 1)
    return code


def end_with_parent(stop: Callable[[], None]) -> None:
    """Call `stop` on the event loop when the process that started this one is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        asyncio.get_running_loop().add_reader(parent.sentinel, stop)


def _listen(host: str, port: int, flag: str) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise ConfigError(f"port {port} of {host} cannot be listened on: change {flag}") from error
