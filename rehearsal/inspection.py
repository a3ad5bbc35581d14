"""What `falaj verify` says of a stack that a rehearsal brought up."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import FalajError
from rehearsal.steps import Steps
from tools.build import ROOT

EVIDENCE = "verify.json"
LESS: Mapping[str, str] = {
    "stores.broker": "moto does not tell how Kafka's brokers speak and encrypt",
    "workloads.spread": "what stands for Karpenter makes one machine after another, whatever pods would rather have",
}
"""Checks that may fail on what is emulated, and why."""


def inspect(environment: Mapping[str, str], steps: Steps, *options: str) -> None:
    """Look at the stack from outside, by the same checks as at one that is deployed; their evidence is kept.

    Args:
        environment: That of the engine, which says where everything is.
        options: Further ones of the command.

    Raises:
        RehearsalError: Something is not as it must be.
        FalajError: Nothing could be looked at.
    """
    command = [sys.executable, "-m", "falaj.cli", "verify", steps.stack, "--json", *options]
    done = subprocess.run(command, env=dict(environment), cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError as error:
        raise FalajError(f"`falaj verify {steps.stack}` failed: {done.stderr.strip() or done.stdout}") from error
    evidence = steps.folder / EVIDENCE
    evidence.write_text(done.stdout)
    counts = ", ".join(f"{count} {result}" for result, count in sorted(found["counts"].items()))
    steps.say(f"looked at from outside: {counts}, see {evidence}")
    failed = [check for check in found["checks"] if check["result"] in ("failed", "error")]
    for check in failed:
        if check["id"] in LESS:
            steps.say(f"  {check['id']} failed: {LESS[check['id']]}")
    wrong = [check for check in failed if check["id"] not in LESS]
    steps.check([f"{check['id']}: {line}" for check in wrong for line in check["reason"].splitlines() or ["?"]])


def declared(resources: Sequence[Mapping[str, Any]], steps: Steps) -> tuple[str, str]:
    """Options of the command by which it is told what the engine's state declares."""
    file = steps.folder / "declared.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"resources": list(resources)}))
    return "--declared", str(file)
