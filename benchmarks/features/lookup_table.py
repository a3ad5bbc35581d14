"""What lookup.py measured, as a table."""

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def render(document: dict[str, Any]) -> str:
    """What was measured, as RESULTS.md shows it."""
    times, stores = document["times"], document["stores"]
    base = {"SQLite": "raw SELECT", "Valkey": "raw HMGET"}
    lines = [
        "# Feature join: the runtime, a raw look-up in the same store, and Feast's ways",
        "",
        f"{document['date']}, {document['machine']}, load {document['load']}. One run of",
        f"`python benchmarks/features/lookup.py --entities {document['entities']} --rounds {document['rounds']}`:",
        f"{document['entities']:,} entities with {document['features']} features, medians of {document['rounds']} "
        "interleaved rounds. The",
        "runtime's join includes the turn of the event loop in which ids are gathered, keys, decoding, metrics and the "
        "graph's",
        "arrays; personal ids are also hashed (HMAC-SHA-256). The raw look-up has the stored keys and makes nothing of "
        "what it",
        "fetches. `feast serve` answers over HTTP. Other work on the machine makes all of them slower, ratios less so.",
        "",
        "| store | way | 1 entity, p50 / p99 µs | of raw | 100 entities, p50 / p99 µs | of raw |",
        "|---|---|---|---|---|---|",
    ]
    for name, sizes in times.items():
        store, way = name.split(": ")
        raw = times[f"{store.split(',')[0]}: {base[store.split(',')[0]]}"]
        cells = [
            f"{sizes[size][0]:,.0f} / {sizes[size][1]:,.0f} | {sizes[size][0] / raw[size][0]:.1f}"
            for size in ("1", "100")
        ]
        lines.append(f"| {store} | {way} | {' | '.join(cells)} |")
    lines += ["", "| online store | written in, s | size, MB |", "|---|---|---|"]
    lines += [f"| {name} | {seconds:.1f} | {size / 1e6:.0f} |" for name, (seconds, size) in stores.items()]
    return "\n".join(lines) + "\n"
