"""Requests a second of the runtime against the raw ONNX Runtime session and a stock KServe server, in one run.

    python benchmarks/serving/compare.py [--rounds 3] [--seconds 2]

The server has core 0, wrk has core 1, each server one process and one thread in the graph. The rounds are
interleaved, so that a slow minute of the machine hits all alike; what counts is the ratio of the medians. The
runtime's validation, metrics and inference log are on. Writes RESULTS.md beside this file.
"""

import argparse
import datetime as dt
import json
import os
import platform
import pstats
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import models
import numpy as np
import onnxruntime as ort
import psutil

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODELS = {"trees": "100 trees of depth 3, 16 columns", "mlp": "MLP 128-1024-1024-2"}
ROWS = (1, 32)
CONCURRENCY = (1, 16, 64)
PORTS = {"ours": 18480, "stock": 18484}
_START_S = 60

Case = tuple[str, int, int]


@dataclass(frozen=True)
class Load:
    """What wrk saw: requests a second, and latency in ms; and the server's own CPU time a request, in µs."""

    rate: float
    p50: float
    p99: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: install it (Debian and Ubuntu: apt-get install wrk), it makes the load")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    with tempfile.TemporaryDirectory(prefix="falaj-bench-") as name:
        folder = Path(name)
        for model in MODELS:
            models.export(model, folder / model / models.NAME / "1")
            (folder / model / models.NAME / "live.json").write_text('{"live": 1, "previous": null}')
        raw = {(model, rows): raw_rate(folder, model, rows) for model in MODELS for rows in ROWS}
        results: dict[tuple[str, Case], list[Load]] = defaultdict(list)
        for model in MODELS:
            with ours(folder, model) as mine, stock(folder, model) as other:
                processes = {"ours": mine, "stock": other}
                cases = [(model, rows, clients) for rows in ROWS for clients in CONCURRENCY]
                for server in PORTS:
                    measure(folder, server, processes[server], (model, 1, 16), 1)
                for number in range(arguments.rounds):
                    for case in cases:
                        for server in PORTS:
                            results[server, case].append(
                                measure(folder, server, processes[server], case, arguments.seconds)
                            )
                    print(f"{model}: round {number + 1} of {arguments.rounds} done", file=sys.stderr)
        medians = {key: median(loads) for key, loads in results.items()}
        shares = profile(folder, arguments.seconds * 2)
    report = render(raw, medians, shares, arguments)
    (HERE / "RESULTS.md").write_text(report)
    print(report)


def raw_rate(folder: Path, model: str, rows: int) -> float:
    """Runs a second of the bare session on core 0."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    try:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(_onnx(folder, model), options, providers=["CPUExecutionProvider"])
        values = np.array(models.rows(model, rows), np.float32)
        times = []
        deadline = time.perf_counter() + 1
        while time.perf_counter() < deadline:
            started = time.perf_counter()
            session.run(None, {"features": values})
            times.append(time.perf_counter() - started)
        return 1 / statistics.median(times)
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def ours(folder: Path, model: str, *interpreter: str) -> Iterator[psutil.Process]:
    port = PORTS["ours"]
    command = [*interpreter, "-m", "serving.runtime", "--http-port", str(port), "--grpc-port", str(port + 1)]
    command += ["--model-repository", str(folder / model), "--inference-log", str(folder / f"{model}-log")]
    with server([sys.executable, *command], port) as process:
        yield process


@contextmanager
def stock(folder: Path, model: str) -> Iterator[psutil.Process]:
    port = PORTS["stock"]
    with server([sys.executable, str(HERE / "stock.py"), _onnx(folder, model), str(port)], port) as process:
        yield process


@contextmanager
def server(command: list[str], port: int) -> Iterator[psutil.Process]:
    """Run a server on core 0 until it is ready, and stop it at the end."""
    process = subprocess.Popen(
        ["taskset", "-c", "0", *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + _START_S
        while not _ready(f"http://127.0.0.1:{port}/v2/health/ready"):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{' '.join(command)} does not start")
            time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def measure(folder: Path, name: str, process: psutil.Process, case: Case, seconds: int) -> Load:
    model, rows, clients = case
    body = {
        "inputs": [
            {
                "name": "features",
                "datatype": "FP32",
                "shape": [rows, len(models.rows(model, 1)[0])],
                "data": [value for row in models.rows(model, rows) for value in row],
            }
        ]
    }
    script = folder / f"{model}-{rows}.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = '{json.dumps(body)}'\nwrk.headers['content-type'] = 'application/json'\n"
    )
    url = f"http://127.0.0.1:{PORTS[name]}/v2/models/{models.NAME}/infer"
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    before = process.cpu_times()
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    after = process.cpu_times()
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"{name} did not answer all requests of {case}:\n{output}")
    found = {field: re.search(rf"{field}\s+([\d.]+)(us|ms|s)?", output) for field in ("50%", "99%", "Requests/sec:")}
    values = [float(match[1]) * {"us": 1e-3, "ms": 1, "s": 1e3, None: 1}[match[2]] for match in found.values() if match]
    requests = re.search(r"(\d+) requests in", output)
    cpu = after.user + after.system - before.user - before.system
    return Load(rate=values[2], p50=values[0], p99=values[1], cpu=1e6 * cpu / int(requests[1]) if requests else 0)


def median(loads: list[Load]) -> Load:
    return Load(*(statistics.median(getattr(load, name) for load in loads) for name in ("rate", "p50", "p99", "cpu")))


def profile(folder: Path, seconds: int) -> dict[str, float]:
    """Share of the server's time by part, for one-row requests of 64 clients on the trees.

    From cProfile, less what a run without load takes to start and stop. It slows Python code down and leaves C alone,
    so the shares of Python code are somewhat too large.
    """
    parts: dict[str, float] = defaultdict(float)
    for sign, load in ((-1, False), (1, True)):
        output = folder / f"profile-{load}"
        with ours(folder, "trees", "-m", "cProfile", "-o", str(output)) as process:
            if load:
                measure(folder, "ours", process, ("trees", 1, 64), seconds)
        statistics_of = pstats.Stats(str(output)).stats  # type: ignore[attr-defined]
        for (file, _, function), (_, _, own, _, _) in statistics_of.items():
            parts[_part(file, function)] += sign * own
    total = sum(own for own in parts.values() if own > 0)
    return {part: own / total for part, own in sorted(parts.items(), key=lambda item: -item[1])}


_PARTS = {
    "/serving/runtime/codec.py": "decoding and encoding",
    "/serving/runtime/batching.py": "batching and validation",
    "/serving/runtime/model.py": "batching and validation",
    "/serving/runtime/journal.py": "inference log",
    "/serving/runtime/log.py": "inference log",
    "/serving/": "our HTTP layer",
    "onnxruntime": "the model (ONNX Runtime)",
    "crc32": "inference log",
    "posix.write": "inference log",
    "pyarrow": "inference log",
    "prometheus": "metrics",
    "csimdjson": "decoding and encoding",
    "orjson": "decoding and encoding",
    "numpy": "numpy, in decoding and validation",
    "uvicorn": "uvicorn's HTTP protocol",
    "/uuid.py": "request ids",
    "urandom": "request ids",
    "uvloop": "uvloop, the HTTP parser and the kernel",
    "asyncio": "uvloop, the HTTP parser and the kernel",
}


def _part(file: str, function: str) -> str:
    place = f"{file} {function}"
    return next((part for mark, part in _PARTS.items() if mark in place), "other built-in functions")


def render(
    raw: dict[tuple[str, int], float],
    medians: dict[tuple[str, Case], Load],
    shares: dict[str, float],
    arguments: argparse.Namespace,
) -> str:
    lines = [
        "# Serving: the runtime, a stock KServe server, and the limit",
        "",
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {_machine()}, Python {platform.python_version()}. One run of",
        f"`python benchmarks/serving/compare.py --rounds {arguments.rounds} --seconds {arguments.seconds}`: Open "
        "Inference Protocol JSON, server on core 0 and wrk on core 1,",
        f"one process and one thread in the graph, medians of {arguments.rounds} interleaved rounds. The runtime "
        "validates, counts and logs every inference.",
        "Ratios carry over to other machines, absolute figures do not. On a machine with other work the CPU time a "
        "request is the steadier measure: it is",
        "what the server alone used, its log's thread included.",
        "",
        "Limit: the raw session at the request's own batch size; the runtime joins requests and can so pass it.",
        "",
        "| model | rows | clients | runtime, req/s | p50 / p99 ms | stock KServe, req/s | p50 / p99 ms | ratio of "
        "req/s | CPU µs a request, runtime / stock | ratio of CPU | share of the limit |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model, title in MODELS.items():
        for rows in ROWS:
            for clients in CONCURRENCY:
                case = (model, rows, clients)
                mine, other = medians["ours", case], medians["stock", case]
                limit = raw[model, rows]
                lines.append(
                    f"| {title} | {rows} | {clients} | {mine.rate:,.0f} | {mine.p50:.2f} / {mine.p99:.2f} | "
                    f"{other.rate:,.0f} | {other.p50:.2f} / {other.p99:.2f} | {mine.rate / other.rate:.1f} | "
                    f"{mine.cpu:.0f} / {other.cpu:.0f} | **{other.cpu / mine.cpu:.1f}** | {mine.rate / limit:.2f} |"
                )
    lines += ["", "Where the runtime's time goes (trees, 1 row, 64 clients; own time by cProfile, which weighs Python"]
    lines += ["code too heavily; writing to the socket counts where it is called, in the HTTP layer):", ""]
    lines += ["| part | share |", "|---|---|"]
    lines += [f"| {part} | {share:.0%} |" for part, share in shares.items() if share >= 0.005]
    return "\n".join(lines) + "\n"


def _machine() -> str:
    return f"{os.cpu_count()}-core {platform.machine()} machine"


def _onnx(folder: Path, model: str) -> str:
    return str(folder / model / models.NAME / "1" / "model.onnx")


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - a local address
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


if __name__ == "__main__":
    main()
