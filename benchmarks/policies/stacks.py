"""Time the check and the report of all stacks, and the check of a large one: `python benchmarks/policies/stacks.py`.

Both run from their start. The large one is the stack staging as often as it takes, each copy with names of its own.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from timing import timed

from falaj.commands.plan import GOLDENS
from policies.model import SYMBOL

STACK = "staging"


def large(count: int) -> dict[str, Any]:
    """A plan of at least `count` resources."""
    plan = json.loads((GOLDENS / f"{STACK}.json").read_text())
    copies = -(-count // len(plan["resources"]))
    return {**plan, "resources": [_renamed(one, index) for index in range(copies) for one in plan["resources"]]}


def _renamed(value: Any, index: int, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _renamed(item, index, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, index, key) for item in value]
    if not isinstance(value, str):
        return value
    if value.startswith("urn:pulumi:"):
        return f"{value}-{index}"
    return SYMBOL.sub(lambda mark: f"<{mark[1]}::{mark[2]}-{index}.{mark[3]}>", value)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, default=10_000)
    arguments = parser.parse_args()
    falaj = str(Path(sys.executable).with_name("falaj"))
    print("| what | s | CPU s |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu, text = timed([falaj, "compliance", "--all", "--output", folder])
        print(f"| {text.count('passed: ')} stacks planned, judged and reported | {wall:.1f} | {cpu:.1f} |")
        file = Path(folder) / "plan.json"
        file.write_text(json.dumps(large(arguments.resources)))
        wall, cpu, text = timed([falaj, "check", str(file), "--stack", STACK, "--format", "json"])
        (found,) = json.loads(text)
        judged = sum(found["counts"].values())
        print(f"| {found['resources']} resources read and judged, {judged} judgements | {wall:.1f} | {cpu:.1f} |")


if __name__ == "__main__":
    main()
