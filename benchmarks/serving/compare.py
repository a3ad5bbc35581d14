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
    """What wrk saw: requests a second, and latency in ms."""

    rate: float
    p50: float
    p99: float


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
            with ours(folder, model), stock(folder, model):
                cases = [(model, rows, clients) for rows in ROWS for clients in CONCURRENCY]
                for server in PORTS:
                    measure(folder, server, (model, 1, 16), 1)
                for number in range(arguments.rounds):
                    for case in cases:
                        for server in PORTS:
                            results[server, case].append(measure(folder, server, case, arguments.seconds))
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
def ours(folder: Path, model: str, *interpreter: str) -> Iterator[None]:
    port = PORTS["ours"]
    command = [*interpreter, "-m", "serving.runtime", "--http-port", str(port), "--grpc-port", str(port + 1)]
    command += ["--model-repository", str(folder / model), "--inference-log", str(folder / f"{model}-log")]
    with server([sys.executable, *command], port):
        yield


@contextmanager
def stock(folder: Path, model: str) -> Iterator[None]:
    port = PORTS["stock"]
    with server([sys.executable, str(HERE / "stock.py"), _onnx(folder, model), str(port)], port):
        yield


@contextmanager
def server(command: list[str], port: int) -> Iterator[None]:
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
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def measure(folder: Path, server: str, case: Case, seconds: int) -> Load:
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
    url = f"http://127.0.0.1:{PORTS[server]}/v2/models/{models.NAME}/infer"
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"{server} did not answer all requests of {case}:\n{output}")
    found = {name: re.search(rf"{name}\s+([\d.]+)(us|ms|s)?", output) for name in ("50%", "99%", "Requests/sec:")}
    values = [float(match[1]) * {"us": 1e-3, "ms": 1, "s": 1e3, None: 1}[match[2]] for match in found.values() if match]
    return Load(rate=values[2], p50=values[0], p99=values[1])


def median(loads: list[Load]) -> Load:
    return Load(*(statistics.median(getattr(load, name) for load in loads) for name in ("rate", "p50", "p99")))


def profile(folder: Path, seconds: int) -> dict[str, float]:
    """Share of the server's time by part, one-row requests of 64 clients, from cProfile: it slows Python code down
    and leaves C alone, so Python's shares are somewhat too large."""
    output = folder / "profile"
    with ours(folder, "trees", "-m", "cProfile", "-o", str(output)):
        measure(folder, "ours", ("trees", 1, 64), seconds)
    parts: dict[str, float] = defaultdict(float)
    for (file, _, function), (_, _, own, *_) in pstats.Stats(str(output)).stats.items():  # type: ignore[attr-defined]
        parts[_part(file, function)] += own
    parts.pop("not serving")
    total = sum(parts.values())
    return {part: own / total for part, own in sorted(parts.items(), key=lambda item: -item[1])}


def _part(file: str, function: str) -> str:
    known = {
        "batching.py": "batching and validation",
        "model.py": "batching and validation",
        "codec.py": "decoding and encoding",
        "journal.py": "inference log",
        "log.py": "inference log",
        "rest.py": "our own REST layer",
        "version.py": "our own REST layer",
    }
    if "onnxruntime" in file or "InferenceSession" in function or "built-in method run}" in function:
        return "the model (ONNX Runtime)"
    if "posix.write" in function or "crc32" in function or "pyarrow" in file:
        return "inference log"
    if "simdjson" in function or "orjson" in function or "numpy" in function or "numpy" in file:
        return "decoding, encoding, validation: C code"
    if "/serving/" in file:
        return known.get(Path(file).name, "our own REST layer")
    if "uvicorn" in file or "httptools" in function:
        return "uvicorn (HTTP, ASGI)"
    if "uvloop" in function or "uvloop" in file or "asyncio" in file or "_asyncio" in function:
        return "uvloop, asyncio and the kernel"
    if "prometheus" in file:
        return "metrics"
    if file == "~" and ("method" in function):
        return "other built-ins"
    return "not serving"


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
        "Ratios carry over to other machines, absolute figures do not.",
        "",
        "Limit: the raw session at the request's own batch size; the runtime joins requests and can so pass it.",
        "",
        "| model | rows | clients | runtime, req/s | p50 / p99 ms | stock KServe, req/s | p50 / p99 ms | ratio | "
        "share of the limit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model, title in MODELS.items():
        for rows in ROWS:
            for clients in CONCURRENCY:
                case = (model, rows, clients)
                mine, other = medians["ours", case], medians["stock", case]
                lines.append(
                    f"| {title} | {rows} | {clients} | {mine.rate:,.0f} | {mine.p50:.2f} / {mine.p99:.2f} | "
                    f"{other.rate:,.0f} | {other.p50:.2f} / {other.p99:.2f} | **{mine.rate / other.rate:.1f}** | "
                    f"{mine.rate / raw[model, rows]:.2f} |"
                )
    lines += ["", "Where the runtime's time goes (trees, 1 row, 64 clients; own time by cProfile):", ""]
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
