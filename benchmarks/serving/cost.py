"""Reckon what a million predictions cost: `python benchmarks/serving/cost.py` writes docs/cost-per-prediction.md.

The CPU time an answer takes is what results.json measured, in JSON of 64 clients; the price of a virtual CPU is that of
the price file for the machines that the stacks run inference on. Run it again when either changes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from infra.config import KEY, Aws, StackConfig, parse_config
from infra.config.nodes import NodePool
from policies.cost import machine, read_prices

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results.json"
PAGE = ROOT / "docs" / "cost-per-prediction.md"
UTILISATION = 0.5
"""Of the virtual CPUs that are paid for: below the 70 % at which a replica is added, and nodes are not quite full."""
_SECONDS = 3600
_VCPU_OF_LARGE = 2
_SERVERS = {
    ("ours", "half"): "the runtime, at half of its peak",
    ("ours", "json"): "the runtime, at its peak",
    ("stock", "json"): "stock KServe",
}
_MODELS = {"trees": "100 trees of depth 3, 16 columns", "mlp": "MLP 128-1024-1024-2"}

_HEAD = """\
# What a million predictions cost

Made by `python benchmarks/serving/cost.py` from [what was measured](../benchmarks/serving/results.json) and the
[price file](../policies/prices/me-central-1.yaml); a test holds it to both.

    USD of a million = CPU µs an answer / rows an answer / utilisation * USD of a virtual CPU an hour / 3600

The utilisation is {utilisation} of the virtual CPUs that are paid for: with `scaling`, replicas are added above 70 %,
and nodes are never quite full. At another one the figures change in inverse proportion; their ratios do not. The CPU
time is one server's, of all its threads, of 64 clients with JSON over REST, with validation, metrics and the inference
log on for the runtime. Where less is asked, the runtime joins fewer requests to a run, and an answer takes more: reckon
with half of the peak. A stock server joins none, and its answers cost the same at any rate. The time was measured on
one x86 machine, whose core stands for a virtual CPU: another processor needs another time, and on Graviton (c6g, m7g)
none was measured. Network, logs, the gateway and spare replicas cost extra.
Prices are in {currency} before tax, on demand, {region}; none was confirmed by AWS.

| machines | stacks | USD of a virtual CPU an hour | the price is |
|---|---|---|---|
"""


class Family(NamedTuple):
    """Machines whose price goes by their virtual CPUs. `usd` is of one of these, an hour; `stated` says whether the
    price is a figure of the region."""

    name: str
    usd: float
    stated: bool
    stacks: tuple[str, ...]


class Answer(NamedTuple):
    """A server's CPU time of one answer, µs. `server` is one of the table's."""

    server: str
    model: str
    rows: int
    cpu: float


def stacks() -> Iterator[tuple[str, StackConfig]]:
    """Those on AWS."""
    for file in sorted((ROOT / "stacks").glob("Pulumi.*.yaml")):
        name = file.name.split(".")[1]
        settings = parse_config(yaml.safe_load(file.read_text())["config"][f"falaj:{KEY}"], name)
        if isinstance(settings.substrate, Aws):
            yield name, settings


def families() -> list[Family]:
    """Of the machines without GPUs that the stacks' runtimes may run on."""
    prices, used = read_prices(), dict[str, list[str]]()
    for stack, settings in stacks():
        wanted = settings.inference.pool if settings.inference else None
        for name, pool in settings.pools().items():
            runs = name == wanted if wanted else "inference" in pool.roles
            if runs and isinstance(pool, NodePool) and not pool.limits.gpus:
                for kind in pool.instance_types:
                    used.setdefault(machine(kind)[0], []).append(stack)
    found = []
    for item, named in sorted(used.items()):
        usd = prices.of(item)
        if usd is None:
            raise SystemExit(f"{item} has no price: add it to policies/prices/me-central-1.yaml")
        stated = prices.prices[item].basis == "stated"
        name = item.removeprefix("ec2:")
        found.append(Family(name, usd / _VCPU_OF_LARGE, stated, tuple(dict.fromkeys(named))))
    return found


def answers(results: list[dict[str, Any]]) -> list[Answer]:
    """What was measured in JSON over REST of 64 clients."""
    return [
        Answer(_SERVERS[one["server"], one["kind"]], one["model"], one["rows"], one["cpu"])
        for one in results
        if (one["server"], one["kind"]) in _SERVERS and one["clients"] == 64
    ]


def cost(answer: Answer, family: Family) -> float:
    """USD of a million predictions, each a row."""
    return answer.cpu / answer.rows / UTILISATION * family.usd / _SECONDS


def page(results: list[dict[str, Any]]) -> str:
    """The document."""
    measured, machines, prices = answers(results), families(), read_prices()
    lines = _HEAD.format(utilisation=f"{UTILISATION:g}", currency=prices.currency, region=prices.region).splitlines()
    for family in machines:
        basis = "stated for the region" if family.stated else f"us-east-1's, times {prices.factor.value:g}"
        lines.append(f"| {family.name} | {', '.join(family.stacks)} | {family.usd:.4f} | {basis} |")
    lines += [
        "",
        f"| model | rows | server | CPU µs an answer | {' | '.join(f'USD on {family.name}' for family in machines)} | "
        "times the runtime's at half |",
        "|---|---|---|---|" + "---|" * (len(machines) + 1),
    ]
    for model, title in _MODELS.items():
        for rows in sorted({one.rows for one in measured if one.model == model}):
            here = {one.server: one for one in measured if (one.model, one.rows) == (model, rows)}
            half = here[_SERVERS["ours", "half"]]
            for server in (server for server in _SERVERS.values() if server in here):
                usd = " | ".join(f"{cost(here[server], family):.6f}" for family in machines)
                ratio = here[server].cpu / half.cpu
                lines.append(f"| {title} | {rows} | {server} | {here[server].cpu:,.0f} | {usd} | {ratio:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
