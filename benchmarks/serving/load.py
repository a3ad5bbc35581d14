"""The load, from core 1: wrk for HTTP/1.1 as fast as it goes, h2load for gRPC, paced.py for a given rate.

Every request has values of its own, out of a few dozen, so that no server gains from the same bytes again.
"""

import json
import math
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import models
import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from servers import Server

HERE = Path(__file__).parent
_WARM_UP_S = 1
_VARIANTS = 32
_SETTLE_S = 5.0
_REST_S = 0.1
_REST_CPU_S = 0.02
"""Of the processor's time in `_REST_S`: a server that computes less than that rests."""
_PATH = f"/v2/models/{models.NAME}/infer"
_GATEWAY = (
    ("x-forwarded-proto", "http"),
    ("x-forwarded-for", "192.0.2.1"),
    ("x-envoy-expected-rq-timeout-ms", "15000"),
    ("user-agent", "python-requests/2.32"),
    ("accept-encoding", "gzip, deflate"),
    ("accept", "*/*"),
)
"""What Envoy and a common client add to each request, beside an id of its own."""


@dataclass(frozen=True)
class Load:
    """Answers a second, their latency in ms, those refused a second, and the server's own CPU time an answer in µs."""

    rate: float
    p50: float
    p99: float
    refused: float
    cpu: float


def json_body(values: Sequence[Sequence[float]]) -> bytes:
    tensor = {"name": "features", "datatype": "FP32", "shape": [len(values), len(values[0])]}
    return json.dumps({"inputs": [{**tensor, "data": [value for row in values for value in row]}]}).encode()


def binary_body(values: Sequence[Sequence[float]]) -> tuple[bytes, int]:
    """The body with its tensor as bytes, outputs likewise, and the length of its JSON."""
    data = np.array(values, "<f4").tobytes()
    tensor = {"name": "features", "datatype": "FP32", "shape": [len(values), len(values[0])]}
    document = {
        "inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(document).encode()
    return text + data, len(text)


def http(
    folder: Path,
    server: Server,
    model: str,
    rows: int,
    clients: int,
    seconds: int,
    *,
    kind: str = "json",
    may_refuse: bool = False,
) -> Load:
    """As many requests as `clients` connections make; one that was refused asks again at once.

    Args:
        kind: json, binary, gateway: JSON with the headers that a gateway adds, or wrong: values that the spec refuses.
    """
    command = _wrk(folder, server, model, rows, clients, seconds, kind)
    output, cpu = _run(server, command)
    found = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    refused = int(found[1]) if found else 0
    if (refused and not may_refuse) or re.search(r"Socket errors: .*(connect|read|write) [1-9]", output):
        sys.exit(f"not all requests were answered ({model}, {rows} rows, {clients} clients, {kind}):\n{output}")
    p50, p99 = [
        float(match[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[match[2]]
        for match in re.finditer(r"(?:50|99)%\s+([\d.]+)(us|ms|s)", output)
    ]
    total = re.search(r"(\d+) requests in ([\d.]+)s", output)
    if total is None:
        sys.exit(f"wrk says nothing of its requests:\n{output}")
    answered, lasted = int(total[1]) - refused, float(total[2])
    return Load(answered / lasted, p50, p99, refused / lasted, 1e6 * cpu / max(answered, 1))


@contextmanager
def beside(folder: Path, server: Server, model: str, rows: int, seconds: int) -> Iterator[None]:
    """Keep core 1 as busy as it is while a server is measured, with a server that is on it too."""
    process = subprocess.Popen(_wrk(folder, server, model, rows, 64, seconds, "json"), stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _wrk(folder: Path, server: Server, model: str, rows: int, clients: int, seconds: int, kind: str) -> list[str]:
    script = folder / f"{model}-{rows}-{kind}.lua"
    if not script.exists():
        script.write_text(_script(folder, model, rows, kind))
    url = f"http://127.0.0.1:{server.http_port}{_PATH}"
    return ["taskset", "-c", "1", "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", str(script), url]


def paced(folder: Path, server: Server, model: str, rows: int, clients: int, seconds: int, rate: float) -> Load:
    """`rate` requests a second in all, one after the other; see paced.py."""
    body = folder / f"{model}-{rows}.json"
    body.write_bytes(json_body(models.rows(model, rows)))
    arguments = [server.http_port, _PATH, body, clients, rate, _WARM_UP_S, seconds]
    command = ["taskset", "-c", "1", sys.executable, str(HERE / "paced.py"), *map(str, arguments)]
    output, cpu = _run(server, command)
    found = json.loads(output)
    if not found["answered"]:
        sys.exit(f"no request was answered: {' '.join(command)}")
    return Load(
        found["answered"] / seconds,
        found["p50"],
        found["p99"],
        found["refused"] / seconds,
        1e6 * cpu / max(found["answered"] * (1 + _WARM_UP_S / seconds), 1),
    )


def grpc(folder: Path, server: Server, model: str, rows: int, connections: int, calls: int, seconds: int) -> Load:
    """As many unary calls of ModelInfer with raw contents as `calls` at once on each connection make."""
    values = np.array(models.rows(model, rows), "<f4")
    request = pb.ModelInferRequest(model_name=models.NAME, raw_input_contents=[values.tobytes()])
    request.inputs.add(name="features", datatype="FP32", shape=values.shape)
    message = request.SerializeToString()
    body = folder / f"{model}-{rows}.grpc"
    body.write_bytes(struct.pack(">BI", 0, len(message)) + message)
    url = f"http://127.0.0.1:{server.grpc_port}/inference.GRPCInferenceService/ModelInfer"
    arguments = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    return _h2load(folder, server, url, body, connections, calls, seconds, arguments)


def _h2load(
    folder: Path,
    server: Server,
    url: str,
    body: Path,
    clients: int,
    streams: int,
    seconds: int,
    arguments: Sequence[str],
) -> Load:
    log = folder / "h2load.log"
    log.unlink(missing_ok=True)
    command = ["taskset", "-c", "1", "h2load", "-t1", f"-c{clients}", f"-m{streams}", f"-D{seconds}"]
    command += [f"--log-file={log}", "-d", str(body), *arguments, url]
    _, cpu = _run(server, command)
    lines = [line.split() for line in log.read_text().splitlines()]
    times = np.array([int(line[2]) for line in lines if line[1] == "200"])
    if not len(times):
        sys.exit(f"no request was answered: {' '.join(command)}")
    p50, p99 = np.percentile(times, (50, 99)) / 1000
    return Load(
        len(times) / seconds,
        float(p50),
        float(p99),
        (len(lines) - len(times)) / seconds,
        1e6 * cpu / len(times),
    )


def _run(server: Server, command: Sequence[str]) -> tuple[str, float]:
    """Make the load: what the generator says, and the seconds that the server computed.

    Returns when the server rests: what clients left behind is answered, and what was logged written, before another
    server has the core.
    """
    before = server.cpu_seconds
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    now = server.cpu_seconds
    used = now - before
    deadline = time.monotonic() + _SETTLE_S
    last = -math.inf
    while now - last > _REST_CPU_S and time.monotonic() < deadline:
        last = now
        time.sleep(_REST_S)
        now = server.cpu_seconds
    return output, used


def _script(folder: Path, model: str, rows: int, kind: str) -> str:
    """A script of wrk that sends each of the variants in turn, formatted beforehand."""
    generator = np.random.default_rng(2)
    every = models.rows(model, rows * _VARIANTS)
    # wrk has room for few open files beside its connections.
    lines = ["local function read(path)", "  local file = io.open(path, 'rb')", "  local text = file:read('*a')"]
    lines += ["  file:close()", "  return text", "end", "local requests, turn = {}, 0", "function init()"]
    for index in range(_VARIANTS):
        values = every[index * rows : (index + 1) * rows]
        if kind == "wrong":
            values = [[-value - 1 for value in row] for row in values]
        body, length = binary_body(values) if kind == "binary" else (json_body(values), 0)
        headers = {"content-type": "application/octet-stream" if length else "application/json"}
        if length:
            headers["inference-header-content-length"] = str(length)
        if kind == "gateway":
            headers |= dict(_GATEWAY) | {"x-request-id": str(UUID(bytes=generator.bytes(16), version=4))}
        file = folder / f"{model}-{rows}-{kind}-{index}.body"
        file.write_bytes(body)
        table = ", ".join(f"['{name}'] = '{value}'" for name, value in headers.items())
        lines.append(f"  requests[{index + 1}] = wrk.format('POST', '{_PATH}', {{{table}}}, read('{file}'))")
    lines += ["end", "function request()", f"  turn = turn % {_VARIANTS} + 1", "  return requests[turn]", "end"]
    return "\n".join(lines) + "\n"
