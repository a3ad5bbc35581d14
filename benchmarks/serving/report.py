"""What compare.py measured, as tables, as JSON and as a plot."""

import datetime as dt
import json
import os
import platform
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import models
from load import Load

mpl.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent


class Case(NamedTuple):
    """What was measured: the server (ours, stock, mlserver, bare model, raw, or bare, which runs no model), the model,
    and the load."""

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
    "/serving/runtime/log_parquet.py": "inference log",
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


def render(results: Results, shares: Mapping[str, float], rounds: int, seconds: int) -> str:
    """RESULTS.md."""
    sections = [
        _INTRODUCTION.format(
            day=dt.datetime.now(dt.UTC).date(),
            cores=os.cpu_count(),
            machine=platform.machine(),
            python=platform.python_version(),
            rounds=rounds,
            seconds=seconds,
        ),
        _JSON + _table(_rest(results)),
        _WAYS + _table(_ways(results)),
        _OVERLOAD + _table(_overload(results)),
        _PROFILE
        + _table([("part", "share"), *((name, f"{share:.0%}") for name, share in shares.items() if share >= 0.005)]),
    ]
    return "\n".join(sections)


def as_json(results: Results) -> str:
    """The medians, one object a line: a case and its load, rates in requests a second, p50 and p99 in ms, cpu in µs."""
    lines = [json.dumps(case._asdict() | asdict(_median(loads))) for case, loads in results.items()]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _rest(results: Results) -> Iterator[Sequence[str]]:
    yield (
        *("model", "rows", "clients", "runtime, req/s", "p50 / p99 ms", "stock KServe, req/s", "p50 / p99 ms"),
        *("ratio of req/s", "CPU µs, runtime / stock", "ratio of CPU", "share of the limit"),
        *("MLServer, req/s", "CPU µs", "ratio of req/s"),
    )
    for case, loads in _of(results, "ours", "json"):
        mine, stocks = _median(loads), results[case._replace(server="stock")]
        stock = _median(stocks)
        peers = results.get(case._replace(server="mlserver"))
        compared = ("", "", "")
        if peers is not None:
            peer = _median(peers)
            compared = (f"{peer.rate:,.0f}", f"{peer.cpu:.0f}", _ratio(loads, peers))
        yield (
            *(models.TITLES[case.model], str(case.rows), str(case.clients), *_rate(mine), *_rate(stock)),
            *(f"**{_ratio(loads, stocks)}**", f"{mine.cpu:.0f} / {stock.cpu:.0f}", _ratio(stocks, loads, "cpu")),
            *(_ratio(loads, _limit(results, case), digits=2), *compared),
        )


def _ways(results: Results) -> Iterator[Sequence[str]]:
    yield (
        *("model", "rows", "way", "runtime, req/s", "p50 / p99 ms", "CPU µs", "share of the raw session"),
        *("bare grpc.aio, calls/s", "ratio", "ratio of CPU", "the same with the model", "ratio", "ratio of CPU"),
    )
    for kind in ("gateway", "binary", "grpc"):
        for case, loads in _of(results, "ours", kind):
            mine = _median(loads)
            compared: list[str] = []
            for server in ("bare", "bare model"):
                bare = results.get(case._replace(server=server))
                compared += (
                    ("", "", "")
                    if bare is None
                    else (f"{_median(bare).rate:,.0f}", f"**{_ratio(loads, bare)}**", _ratio(bare, loads, "cpu"))
                )
            yield (
                *(models.TITLES[case.model], str(case.rows), kind, *_rate(mine), f"{mine.cpu:.0f}"),
                *(_ratio(loads, _limit(results, case), digits=2), *compared),
            )


def _overload(results: Results) -> Iterator[Sequence[str]]:
    yield (
        *("model", "rows", "load", "answered/s", "of the peak", "refused/s", "CPU µs an answer", "of the peak's"),
        *("p50 / p99 ms", "p99 / p50", "a server that does nothing, p50 / p99 ms", "p99 / p50"),
    )
    for kind, title in _LOADS.items():
        for case, loads in _of(results, "ours", kind):
            mine = _median(loads)
            peaks = results[Case("ours", case.model, case.rows, 64, f"peak {_PEAK_OF.get(kind, kind)}")]
            nothing = results.get(case._replace(server="bare"))
            yield (
                *(models.TITLES[case.model], str(case.rows), title, f"{mine.rate:,.0f}"),
                *(f"**{_ratio(loads, peaks, digits=2)}**", f"{mine.refused:,.0f}"),
                *(f"{mine.cpu:.0f}", _ratio(loads, peaks, "cpu", 2), _times(mine), f"**{_spread(loads)}**"),
                *(("", "") if nothing is None else (_times(_median(nothing)), _spread(nothing))),
            )


_PEAK_OF = {"half": "crowd"}
"""Loads that are measured on another one's server."""
_LOADS = {
    "half": "half of the peak's rate, 64 clients",
    "triple": "192 clients",
    "crowd": "1,000 clients",
    "shed": "1,000 clients, room in the queue for 20 ms",
}
_INTRODUCTION = """\
# Serving: the runtime, stock KServe, MLServer, a bare grpc.aio server, and the limit

{day}, {cores}-core {machine} machine, Python {python}. One run of
`python benchmarks/serving/compare.py --rounds {rounds} --seconds {seconds}`: server on core 0, load on core 1, one
process and one thread in the graph, {rounds} interleaved rounds; figures are medians, and ratios the medians of the
rounds' ratios, each of two measurements next to each other. The runtime validates, counts and logs every inference.
Ratios carry over to other machines, absolute figures do not. On a machine with other work the CPU time an answer is the
steadier measure: it is what the server alone used, its log's thread included. The same figures are in
[results.json](results.json).

![Multiples of a stock KServe server](results.svg)
"""
_JSON = """\
## JSON over REST

The limit is the raw session at the request's own batch size, on core 0 while core 1 makes as much load for another
server; the runtime joins requests and can so pass it. MLServer has its adaptive batching on (64 rows, 1 ms).

"""
_WAYS = """\
## Other ways in, 64 clients

A gateway adds headers, of which the request's id is another each time. Binary tensors are REST's, both ways; gRPC has
raw contents, 4 connections with 16 calls at once. The bare grpc.aio server parses a request and answers what it was
given beforehand: it runs no model, so that no server that runs one can pass it by more than the raw session does. The
same with the model runs it for each request, and checks, counts and logs nothing.

"""
_OVERLOAD = """\
## At half of saturation, and beyond it

The peak is that of 64 clients, just before. At half of it, requests come evenly spread, one every 1/rate seconds, and
their time counts from the moment at which they were due (paced.py); beside it is what the machine itself takes then: a
server that answers the same requests at once with the same bytes (bare_http.py). Beyond it, three times as many
clients, and 1,000, ask again as soon as they are answered or refused (wrk), once with the queue that the runtime has by
default and once with a short one, which makes it refuse; their times are those of answers and refusals alike.

"""
_PROFILE = """\
## Where the runtime's time goes

Trees, 1 row, 64 clients; own time by cProfile, which weighs Python code too heavily. Writing to the socket counts where
it is called, in the HTTP layer.

"""


def _median(loads: Sequence[Load]) -> Load:
    return Load(*(statistics.median(getattr(load, field.name) for load in loads) for field in fields(Load)))


def _limit(results: Results, case: Case) -> Sequence[Load]:
    return results[Case("raw", case.model, case.rows, 1, "session")]


def _ratio(first: Sequence[Load], second: Sequence[Load], figure: str = "rate", digits: int = 1) -> str:
    """The median of the rounds' ratios."""
    pairs = zip(first, second, strict=True)
    return f"{statistics.median(getattr(one, figure) / getattr(other, figure) for one, other in pairs):.{digits}f}"


def _spread(loads: Sequence[Load]) -> str:
    return f"{statistics.median(load.p99 / load.p50 for load in loads):.1f}"


def _table(rows: Iterable[Sequence[str]]) -> str:
    header, *others = rows
    lines = [header, ["---"] * len(header), *others]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def plot(results: Results, path: Path) -> None:
    """Multiples of the stock server's rate, one bar a case."""
    cases = _of(results, "ours", "json")
    names = [f"{case.model}, {case.rows} row{'s' if case.rows > 1 else ''}, {case.clients}" for case, _ in cases]
    ratios = [float(_ratio(loads, results[case._replace(server="stock")])) for case, loads in cases]
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


def _of(results: Results, server: str, kind: str) -> list[tuple[Case, list[Load]]]:
    return [(case, loads) for case, loads in results.items() if (case.server, case.kind) == (server, kind)]


def _rate(load: Load) -> tuple[str, str]:
    return f"{load.rate:,.0f}", _times(load)


def _times(load: Load) -> str:
    return f"{load.p50:.2f} / {load.p99:.2f}"
