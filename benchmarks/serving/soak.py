"""Ten minutes of load: does the runtime keep its memory, its descriptors and its log's backlog as they were?

    python benchmarks/serving/soak.py [--minutes 10] [--model mlp]

Every way in by turns, a few seconds each: JSON of one row and of many, binary tensors, a gateway's headers with an id
of their own, gRPC, and rows that the contract refuses; each turn ends with clients that leave before their answers.
Needs wrk and h2load, as compare.py does. Writes SOAK.md beside this file; ends with 1 where the memory grew.
"""

import argparse
import datetime as dt
import json
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import load
import models
import psutil
import report
import servers
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

_TURN_S = 3
_SETTLED = 0.3
"""The share of the time after which what there is should stay: each turn came a few times, with its largest batches."""
_GROWTH = 0.05
"""Of the memory from then to the end, by a straight line through it: more is a leak."""
_REST_S = 30
_MIB = 1 << 20


class State(NamedTuple):
    minutes: float
    memory: float
    """What the process has for itself alone (USS), in MiB; the page cache of its files is not in it."""
    descriptors: int
    backlog: float
    """Of the inference log, in MiB."""
    outcomes: dict[str, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--model", choices=list(models.TITLES), default="mlp")
    arguments = parser.parse_args()
    states: list[State] = []
    with tempfile.TemporaryDirectory(prefix="falaj-soak-") as name, _runtime(Path(name), arguments.model) as server:
        turns = list(_turns(Path(name), server, arguments.model))
        started = time.monotonic()
        while not states or states[-1].minutes < arguments.minutes:
            for turn in turns:
                turn()
            samples = _at_rest(server)
            states.append(_state(server, samples, (time.monotonic() - started) / 60))
            print(json.dumps(states[-1]._asdict()), file=sys.stderr)
    settled = [state for state in states if state.minutes >= _SETTLED * arguments.minutes]
    growth = _growth(settled)
    text = _render(arguments.model, states, growth)
    (report.HERE / "SOAK.md").write_text(text)
    print(text)
    if growth > _GROWTH:
        sys.exit(1)


@contextmanager
def _runtime(folder: Path, model: str) -> Iterator[servers.Server]:
    models.export(model, folder / model / models.NAME / "1")
    (folder / model / models.NAME / "live.json").write_text('{"live": 1, "previous": null}')
    with servers.ours(folder, model) as server:
        yield server


def _turns(folder: Path, server: servers.Server, model: str) -> Iterator[Callable[[], object]]:
    http = partial(load.http, folder, server, model, seconds=_TURN_S, may_refuse=True)
    for rows in (1, 32):
        for kind in ("json", "binary", "gateway"):
            yield partial(http, rows, 64, kind=kind)
        yield partial(load.grpc, folder, server, model, rows, 4, 16, _TURN_S)
    yield partial(http, 1, 64, kind="wrong")
    yield partial(http, 1, 1000)


def _at_rest(server: servers.Server) -> list[Sample]:
    """The metrics, once the log has nothing left to do: before, memory is that of the last seconds' requests too."""
    deadline = time.monotonic() + _REST_S
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/metrics") as response:
            text = response.read().decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        if not _value(samples, "falaj_log_lag_seconds") or time.monotonic() > deadline:
            return samples
        time.sleep(0.2)


def _value(samples: list[Sample], name: str) -> float:
    return sum(sample.value for sample in samples if sample.name == name)


def _state(server: servers.Server, samples: list[Sample], minutes: float) -> State:
    outcomes: Counter[str] = Counter()
    for sample in samples:
        if sample.name == "falaj_inference_requests_total":
            outcomes[sample.labels["outcome"]] += int(sample.value)
    process = psutil.Process(server.process.pid)
    backlog = _value(samples, "falaj_log_backlog_bytes")
    return State(minutes, process.memory_full_info().uss / _MIB, process.num_fds(), backlog / _MIB, outcomes)


def _growth(states: list[State]) -> float:
    """By least squares, from the first to the last, in shares of the first."""
    times, memory = [state.minutes for state in states], [state.memory for state in states]
    middle, mean = sum(times) / len(times), sum(memory) / len(memory)
    spread = sum((moment - middle) ** 2 for moment in times)
    slope = sum((moment - middle) * (value - mean) for moment, value in zip(times, memory, strict=True)) / (spread or 1)
    return slope * (times[-1] - times[0]) / memory[0]


def _render(model: str, states: list[State], growth: float) -> str:
    lines = [
        "# Serving: ten minutes of load",
        "",
        f"{dt.datetime.now(dt.UTC).date()}, {models.TITLES[model]}. One run of `python benchmarks/serving/soak.py`, "
        "every way in by turns;",
        "one line a round of all turns. Memory is what the process has for itself alone, when the log is written.",
        "",
        "| minutes | memory, MiB | open descriptors | the log's backlog, MiB | answered | refused | abandoned |",
        "|---|---|---|---|---|---|---|",
    ]
    for state in states:
        counts = state.outcomes
        refused = sum(count for outcome, count in counts.items() if outcome not in ("ok", "abandoned"))
        lines.append(
            f"| {state.minutes:.1f} | {state.memory:.1f} | {state.descriptors} | {state.backlog:.1f} | "
            f"{counts.get('ok', 0):,} | {refused:,} | {counts.get('abandoned', 0):,} |"
        )
    lines += [
        "",
        f"After the first {_SETTLED:.0%} of the time, a straight line through the memory changes by {growth:+.1%}; "
        f"more than {_GROWTH:.0%} would be a leak.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
