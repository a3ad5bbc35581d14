"""What compare.py measured, as a table and a plot."""

import datetime as dt
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import models
from load import Load

mpl.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent


class Case(NamedTuple):
    """What was measured: the server (ours, stock, bare, raw), the model, and the load."""

    server: str
    model: str
    rows: int
    clients: int
    kind: str


Results = dict[Case, list[Load]]

_PARTS = {
    "codec.py": "decoding and encoding",
    "/serving/runtime/outputs.py": "decoding and encoding",
    "/serving/runtime/batching.py": "batching and validation",
    "/serving/runtime/model.py": "batching and validation",
    "/serving/runtime/version.py": "batching and validation",
    "/serving/runtime/journal.py": "inference log",
    "/serving/runtime/log.py": "inference log",
    "/serving/runtime/identity.py": "request ids",
    "/serving/runtime/histogram.py": "metrics",
    "/serving/": "our HTTP layer",
    "onnxruntime": "the model (ONNX Runtime)",
    "crc32": "inference log",
    "posix.write": "inference log",
    "pyarrow": "inference log",
    "prometheus": "metrics",
    "csimdjson": "decoding and encoding",
    "orjson": "decoding and encoding",
    "numpy": "numpy, in decoding and validation",
    "urandom": "request ids",
    "uvloop": "uvloop and the kernel",
    "asyncio": "uvloop and the kernel",
}


def part(file: str, function: str) -> str:
    place = f"{file} {function}"
    return next((name for mark, name in _PARTS.items() if mark in place), "other built-in functions")


def render(medians: Mapping[Case, Load], shares: Mapping[str, float], rounds: int, seconds: int) -> str:
    lines = [
        "# Serving: the runtime, a stock KServe server, a bare grpc.aio server, and the limit",
        "",
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {os.cpu_count()}-core {platform.machine()} machine, Python "
        f"{platform.python_version()}. One run of",
        f"`python benchmarks/serving/compare.py --rounds {rounds} --seconds {seconds}`: server on core 0, load on core "
        "1, one process",
        f"and one thread in the graph, medians of {rounds} interleaved rounds. The runtime validates, counts and logs "
        "every inference.",
        "Ratios carry over to other machines, absolute figures do not. On a machine with other work the CPU time an "
        "answer is the",
        "steadier measure: it is what the server alone used, its log's thread included.",
        "",
        "![Multiples of a stock KServe server](results.svg)",
        "",
        "## JSON over REST",
        "",
        "The limit is the raw session at the request's own batch size; the runtime joins requests and can so pass it.",
        "",
        "| model | rows | clients | runtime, req/s | p50 / p99 ms | stock KServe, req/s | p50 / p99 ms | ratio of "
        "req/s | CPU µs, runtime / stock | ratio of CPU | share of the limit |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case, mine in _of(medians, "ours", "json"):
        other = medians[case._replace(server="stock")]
        limit = medians[Case("raw", case.model, case.rows, 1, "session")]
        lines.append(
            f"| {models.TITLES[case.model]} | {case.rows} | {case.clients} | {_rate(mine)} | {_rate(other)} | "
            f"**{mine.rate / other.rate:.1f}** | {mine.cpu:.0f} / {other.cpu:.0f} | {other.cpu / mine.cpu:.1f} | "
            f"{mine.rate / limit.rate:.2f} |"
        )
    lines += [
        "",
        "## Other ways in, 64 clients",
        "",
        "A gateway adds headers, of which the request's id is another each time. Binary tensors are REST's, both ways; "
        "gRPC has raw contents,",
        "4 connections with 16 calls at once. The bare grpc.aio server parses a request and answers what it was given "
        "beforehand: it runs no model.",
        "",
        "| model | rows | way | runtime, req/s | p50 / p99 ms | CPU µs | raw session, runs/s | share of it | bare "
        "grpc.aio, calls/s | CPU µs | ratio | ratio of CPU |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in ("gateway", "binary", "grpc"):
        for case, mine in _of(medians, "ours", kind):
            limit = medians[Case("raw", case.model, case.rows, 1, "session")]
            bare = medians.get(case._replace(server="bare"))
            compared = (
                f"{bare.rate:,.0f} | {bare.cpu:.0f} | **{mine.rate / bare.rate:.1f}** | {bare.cpu / mine.cpu:.1f}"
                if bare is not None
                else "| | |"
            )
            lines.append(
                f"| {models.TITLES[case.model]} | {case.rows} | {kind} | {_rate(mine)} | {mine.cpu:.0f} | "
                f"{limit.rate:,.0f} | {mine.rate / limit.rate:.2f} | {compared} |"
            )
    lines += [
        "",
        "## At half of saturation, and beyond it",
        "",
        "Requests at a given rate, whether the server keeps up or not. The peak is that of 64 clients above. Many "
        "clients' requests come in",
        "the same moment, as h2load's clock ticks for all of them; the p99 has this burst in it.",
        "",
        "| model | rows | clients | offered, of the peak | answered/s | of the peak | refused/s | p50 / p99 ms | p99 / "
        "p50 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, share in (("half", "0.5"), ("full", "1"), ("triple", "3")):
        for case, mine in _of(medians, "ours", kind):
            peak = medians[Case("ours", case.model, case.rows, 64, "json")]
            lines.append(
                f"| {models.TITLES[case.model]} | {case.rows} | {case.clients:,} | {share} | {mine.rate:,.0f} | "
                f"{mine.rate / peak.rate:.2f} | {mine.refused:,.0f} | {mine.p50:.2f} / {mine.p99:.2f} | "
                f"{mine.p99 / mine.p50:.1f} |"
            )
    lines += ["", "## Where the runtime's time goes", ""]
    lines += ["Trees, 1 row, 64 clients; own time by cProfile, which weighs Python code too heavily. Writing to the"]
    lines += ["socket counts where it is called, in the HTTP layer.", "", "| part | share |", "|---|---|"]
    lines += [f"| {name} | {share:.0%} |" for name, share in shares.items() if share >= 0.005]
    return "\n".join(lines) + "\n"


def plot(medians: Mapping[Case, Load], path: Path) -> None:
    """Multiples of the stock server's rate, one bar a case."""
    cases = [(case, mine) for case, mine in _of(medians, "ours", "json")]
    names = [f"{case.model}, {case.rows} row{'s' if case.rows > 1 else ''}, {case.clients}" for case, _ in cases]
    ratios = [mine.rate / medians[case._replace(server="stock")].rate for case, mine in cases]
    figure, axes = plt.subplots(figsize=(8, 0.35 * len(cases) + 1.2))
    bars = axes.barh(names, ratios, color="#2b6f6c")
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.axvline(1, color="#888888", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("requests a second, in multiples of a stock KServe server (model, rows, clients)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _of(medians: Mapping[Case, Load], server: str, kind: str) -> list[tuple[Case, Load]]:
    return [(case, load) for case, load in medians.items() if (case.server, case.kind) == (server, kind)]


def _rate(load: Load) -> str:
    return f"{load.rate:,.0f} | {load.p50:.2f} / {load.p99:.2f}"
