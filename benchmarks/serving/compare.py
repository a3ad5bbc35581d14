"""The runtime against stock KServe and MLServer, a bare grpc.aio server and the raw ONNX Runtime session, in one run.

    python benchmarks/serving/compare.py [--rounds 5] [--seconds 1] [--only trees]

The server has core 0, the load has core 1, each server one process and one thread in the graph. The rounds are
interleaved, and what is compared is measured one after the other: what counts is the median of the rounds' ratios. The
runtime's validation, metrics and inference log are on. Needs wrk and h2load (Debian and Ubuntu: apt-get install wrk
nghttp2-client); MLServer is left out where uv is neither on PATH nor in .tools, where `make env` puts it. Writes
RESULTS.md, results.json and results.svg beside this file, and docs/cost-per-prediction.md.
"""

import argparse
import os
import pstats
import re
import shutil
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import cost
import load
import models
import numpy as np
import onnxruntime as ort
import report
import servers
from load import Load
from report import Case, Results
from servers import Server

CLIENTS = {1: (1, 16, 64), 32: (16, 64)}
_VARIANTS = 32
_RAW_S = 1
_TRIPLE = 192
_CROWD = 1000
"""Clients of the overload: more than a batch holds, fewer than the connections that are allowed."""
_SHORT_QUEUE = ("--max-queue-seconds", "0.02")
"""With which the runtime must refuse most of the crowd."""
_UV = servers.ROOT / ".tools" / "uv" / "bin" / "uv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement")
    parser.add_argument("--only", choices=list(models.TITLES), help="one of the models alone")
    arguments = parser.parse_args()
    for program, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
        if shutil.which(program) is None:
            sys.exit(f"{program} is missing: install it (Debian and Ubuntu: apt-get install {package}), it makes load")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    results: Results = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="falaj-bench-") as name:
        folder = Path(name)
        for model in [arguments.only] if arguments.only else models.TITLES:
            models.export(model, folder / model / models.NAME / "1")
            (folder / model / models.NAME / "live.json").write_text('{"live": 1, "previous": null}')
            compare(folder, model, arguments.rounds, arguments.seconds, results)
        shares = {} if arguments.only == "mlp" else profile(folder, arguments.seconds * 2)
    text = report.render(results, shares, arguments.rounds, arguments.seconds)
    (report.HERE / "RESULTS.md").write_text(text)
    (report.HERE / "results.json").write_text(report.as_json(results))
    cost.main()
    report.plot(results, report.HERE / "results.svg")
    print(text)


def compare(folder: Path, model: str, rounds: int, seconds: int, results: Results) -> None:
    """Measure one model's cases in interleaved rounds."""
    with ExitStack() as started:
        ours, crowded = [started.enter_context(servers.ours(folder, model)) for _ in range(2)]
        shedding = started.enter_context(servers.ours(folder, model, *_SHORT_QUEUE))
        bare, beside = [started.enter_context(servers.bare_http(core)) for core in (0, 1)]
        bare_grpc = started.enter_context(servers.bare_grpc())
        bare_model = started.enter_context(servers.bare_grpc(str(servers.onnx(folder, model))))
        peers = {"stock": started.enter_context(servers.stock(folder, model))}
        uv = shutil.which("uv") or (str(_UV) if _UV.exists() else None)
        if uv is not None:
            peers["mlserver"] = started.enter_context(servers.mlserver(folder, model, uv))
        cases: dict[Case, Callable[[], Load]] = {}

        def add(name: str, server: Server, rows: int, clients: int, kind: str = "json") -> None:
            way = "json" if kind.startswith("peak") else kind
            measure = partial(load.http, folder, server, model, rows, clients, seconds, kind=way)
            cases[Case(name, model, rows, clients, kind)] = measure

        def half(server: Server, rows: int) -> Load:
            peak = results[Case("ours", model, rows, 64, "peak crowd")][-1].rate
            return load.paced(folder, server, model, rows, 64, seconds, peak / 2)

        # What the report compares is side by side.
        for rows, numbers in CLIENTS.items():
            for clients in numbers:
                if clients == max(numbers) and "mlserver" in peers:
                    add("mlserver", peers["mlserver"], rows, clients)
                add("ours", ours, rows, clients)
                add("stock", peers["stock"], rows, clients)
            cases[Case("raw", model, rows, 1, "session")] = partial(raw, folder, beside, model, rows)
            add("ours", ours, rows, 64, "binary")
            for name, server in (("bare", bare_grpc), ("ours", ours), ("bare model", bare_model)):
                cases[Case(name, model, rows, 64, "grpc")] = partial(
                    load.grpc, folder, server, model, rows, 4, 16, seconds
                )
            for kind, server, clients in (
                ("shed", shedding, _CROWD),
                ("triple", crowded, _TRIPLE),
                ("crowd", crowded, _CROWD),
            ):
                # Not of the one with a short queue, which refuses some of 64 clients too.
                add("ours", crowded, rows, 64, f"peak {kind}")
                cases[Case("ours", model, rows, clients, kind)] = partial(
                    load.http, folder, server, model, rows, clients, seconds, may_refuse=True
                )
            for name, server in (("ours", crowded), ("bare", bare)):
                cases[Case(name, model, rows, 64, "half")] = partial(half, server, rows)
        add("ours", ours, 1, 64, "gateway")
        for server in (ours, *peers.values()):
            load.http(folder, server, model, 1, 16, 1)
        for number in range(rounds):
            for case, measure in cases.items():
                results[case].append(measure())
            print(f"{model}: round {number + 1} of {rounds} done", file=sys.stderr)
        asked = [
            case.clients
            for case in cases
            if case.server == "ours" and case.kind in ("json", "gateway", "binary", "grpc")
        ]
        _check_answers(ours, 16 + rounds * sum(asked))


def raw(folder: Path, busy: Server, model: str, rows: int) -> Load:
    """Runs of the bare session on core 0, each with values of its own, while core 1 makes load as for a server."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    with load.beside(folder, busy, model, rows, _RAW_S + 1):
        try:
            return _raw(folder, model, rows)
        finally:
            os.sched_setaffinity(0, before)


def _raw(folder: Path, model: str, rows: int) -> Load:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(servers.onnx(folder, model), options, providers=["CPUExecutionProvider"])
    values = np.array(models.rows(model, rows * _VARIANTS), np.float32).reshape(_VARIANTS, rows, -1)
    times: list[float] = []
    started, used = time.perf_counter(), time.process_time()
    while time.perf_counter() < started + _RAW_S:
        before_run = time.perf_counter()
        session.run(None, {"features": values[len(times) % _VARIANTS]})
        times.append(time.perf_counter() - before_run)
    used = time.process_time() - used
    p50, p99 = np.percentile(times, (50, 99)) * 1000
    return Load(1000 / float(p50), float(p50), float(p99), 0, 1e6 * used / len(times))


def profile(folder: Path, seconds: int) -> dict[str, float]:
    """Share of the server's time by part, for one-row requests of 64 clients on the trees.

    From cProfile, less what a run without load takes to start and stop. It slows Python code down and leaves C alone,
    so the shares of Python code are somewhat too large.
    """
    parts: dict[str, float] = defaultdict(float)
    for sign, loaded in ((-1, False), (1, True)):
        output = folder / f"profile-{loaded}"
        with servers.ours(folder, "trees", interpreter=("-m", "cProfile", "-o", str(output))) as server:
            if loaded:
                load.http(folder, server, "trees", 1, 64, seconds)
        statistics_of = pstats.Stats(str(output)).stats  # type: ignore[attr-defined]
        for (file, _, function), (_, _, own, _, _) in statistics_of.items():
            parts[report.part(file, function)] += sign * own
    total = sum(own for own in parts.values() if own > 0)
    return {part: own / total for part, own in sorted(parts.items(), key=lambda item: -item[1])}


def _check_answers(server: servers.Server, clients: int) -> None:
    """What h2load cannot see: whether a call was answered with the status OK.

    Each of the clients of all measurements may leave one behind, when its measurement ends before its answer.
    """
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/metrics") as response:
        text = response.read().decode()
    counts: dict[str, float] = defaultdict(float)
    for outcome, count in re.findall(r'(?m)^falaj_inference_requests_total{.*outcome="(\w+)".*} (.+)$', text):
        counts[outcome] += float(count)
    if not counts.keys() <= {"ok", "abandoned"} or not counts["ok"] or counts["abandoned"] > clients:
        sys.exit(f"not all requests were answered: {dict(counts)}")


if __name__ == "__main__":
    main()
