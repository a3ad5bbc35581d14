"""The servers that are compared, each a process on core 0, and one beside them on core 1."""

import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import models
import psutil

from rehearsal.ports import free_ports

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_START_S = 180
"""The first time, uv fetches what MLServer needs."""


@dataclass(frozen=True)
class Server:
    process: psutil.Process
    http_port: int
    grpc_port: int

    @property
    def cpu_seconds(self) -> float:
        """What it and its children have used of the processor so far."""
        times = [process.cpu_times() for process in (self.process, *self.process.children(recursive=True))]
        return float(sum(time.user + time.system for time in times))


def onnx(folder: Path, model: str) -> Path:
    return folder / model / models.NAME / "1" / "model.onnx"


@contextmanager
def ours(folder: Path, model: str, *flags: str, interpreter: Sequence[str] = ()) -> Iterator[Server]:
    """The runtime as it is by default, but for `flags`: it validates, counts and logs every inference."""
    http, grpc = free_ports(2)
    command = [sys.executable, *interpreter, "-m", "serving.runtime", *flags]
    command += ["--http-port", str(http), "--grpc-port", str(grpc)]
    log = tempfile.mkdtemp(prefix=f"{model}-log-", dir=folder)
    command += ["--model-repository", str(folder / model), "--inference-log", log]
    with _running(command, http, grpc, lambda: _ready(http)) as server:
        yield server


@contextmanager
def stock(folder: Path, model: str) -> Iterator[Server]:
    http, grpc = free_ports(2)
    command = [sys.executable, str(HERE / "stock.py"), str(onnx(folder, model)), str(http)]
    with _running(command, http, grpc, lambda: _ready(http)) as server:
        yield server


@contextmanager
def bare_grpc(*model: str) -> Iterator[Server]:
    """See bare_grpc.py, which takes the path of a model or none."""
    http, grpc = free_ports(2)
    command = [sys.executable, str(HERE / "bare_grpc.py"), str(grpc), *model]
    with _running(command, http, grpc, lambda: _listens(grpc)) as server:
        yield server


@contextmanager
def bare_http(core: int = 0) -> Iterator[Server]:
    """See bare_http.py."""
    http, grpc = free_ports(2)
    command = [sys.executable, str(HERE / "bare_http.py"), str(http)]
    with _running(command, http, grpc, lambda: _listens(http), core) as server:
        yield server


@contextmanager
def mlserver(folder: Path, model: str, uv: str) -> Iterator[Server]:
    """MLServer, in the environment that uv makes for it."""
    http, grpc = free_ports(2)
    command = [uv, "run", "--quiet", "--python", sys.executable, "--script", str(HERE / "peer_mlserver.py")]
    command += [str(onnx(folder, model)), str(http), str(grpc)]
    with _running(command, http, grpc, lambda: _ready(http)) as server:
        yield server


@contextmanager
def _running(command: list[str], http: int, grpc: int, ready: Callable[[], bool], core: int = 0) -> Iterator[Server]:
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _START_S
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{' '.join(command)} does not start")
            time.sleep(0.1)
        yield Server(psutil.Process(process.pid), http, grpc)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
