"""The engine's own run of the pack finds what `falaj check` finds: on a program with many faults, on our own stack."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest
import yaml

from infra.plan import read_stack, record
from policies.documents import contracts, read_plan, stack_graph
from policies.engine import Status
from policies.exceptions import read_exceptions
from policies.outcome import Outcome, examine, remedy
from tests.policies.faulty import declare
from tools.build import BIN
from tools.engine import engine_environment
from tools.pack import pack as locked

ROOT = Path(__file__).resolve().parents[2]
STACK = "smb"


@pytest.fixture(scope="module")
def pack() -> Path:
    """The pack as the engine starts it, in its own locked environment."""
    return locked(print)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """That of an engine with a state of its own, and with providers that take everything."""
    if not (BIN / "pulumi").exists() and shutil.which("pulumi") is None:
        pytest.fail("there is no Pulumi engine: run `make tools`")
    monkeypatch.setenv("FALAJ_HOME", str(tmp_path / "home"))
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    for package in ("aws", "kubernetes"):
        program = plugins / f"pulumi-resource-{package}"
        program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m tests.policies.provider\n")
        program.chmod(0o755)
    found = engine_environment(tmp_path)
    return found | {"PATH": f"{plugins}{os.pathsep}{found['PATH']}", "PYTHONPATH": str(ROOT)}


def preview(folder: Path, stack: str, pack: Path, environment: dict[str, str]) -> str:
    """What the engine prints."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["pulumi", *arguments, "--non-interactive", "--color", "never"]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    made = run("stack", "select", "--create", stack)
    assert made.returncode == 0, made.stderr
    done = run("preview", "--stack", stack, "--policy-pack", str(pack))
    return done.stdout + done.stderr


def told(outcome: Outcome) -> set[tuple[str, str]]:
    """Rule and message of each fault, as the pack reports it."""
    return {
        (one.rule.id, f"{one.resource.type}::{one.resource.name}: {'; '.join(one.messages)}. {remedy(outcome, one)}")
        for one in outcome.of(Status.FAIL)
    }


def reported(text: str) -> set[tuple[str, str]]:
    """Rule and message of each violation in the engine's own words."""
    lines = [line.strip() for line in text.splitlines()]
    found: set[tuple[str, str]] = set()
    rule = ""
    for line in lines:
        head = re.match(r"- \[(?:mandatory|advisory)\]\s+(?:\[severity: \w+\]\s+)?([a-z0-9-]+)\s", line)
        if head:
            rule = head[1]
        elif re.match(r"[A-Za-z0-9.:/_-]+::\S", line) and rule not in ("", "not-known"):
            found.add((rule, line))
    return found


def test_the_engine_finds_what_the_check_finds(tmp_path: Path, pack: Path, environment: dict[str, str]) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: falaj\nruntime: python\n")
    (tmp_path / "__main__.py").write_text("from tests.policies.faulty import declare\n\ndeclare()\n")
    text = preview(tmp_path, STACK, pack, environment)

    with ThreadPoolExecutor(1) as executor:  # The recorder has a loop of its own.
        graph = executor.submit(record, STACK, {}, declare).result()
    section = read_stack(ROOT, STACK)["falaj:stack"]
    found = stack_graph(STACK, read_plan(graph.document()), section, contracts(ROOT), date.today())
    outcome = examine(STACK, found, read_exceptions(ROOT / "exceptions"))

    assert reported(text) == told(outcome), text
    assert len(told(outcome)) > 40
    assert {
        "residency-provider-region",
        "kms-rotation",
        "rds-private",
        "iam-admin",
        "s3-versions",
        "pod-host-network",
    } <= {rule for rule, _ in told(outcome)}


def test_advice_is_told_and_stops_nothing(tmp_path: Path, pack: Path, environment: dict[str, str]) -> None:
    home, program = tmp_path / "advised", tmp_path / "program"
    for folder in ("core", "policies", "stacks", "exceptions", "datasets"):
        shutil.copytree(ROOT / folder, home / folder, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    (home / "policies" / "pack" / ".venv").symlink_to(pack.parent / ".venv")
    file = home / "stacks" / f"Pulumi.{STACK}.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"]["falaj:stack"]["policies"] = {"advisory": ["kms-rotation"]}
    file.write_text(yaml.safe_dump(document))
    program.mkdir()
    (program / "Pulumi.yaml").write_text("name: falaj\nruntime: python\n")
    (program / "__main__.py").write_text("from tests.policies.faulty import declare\n\ndeclare()\n")
    text = preview(program, STACK, home / "policies" / "pack" / "run", environment)
    advised = re.search(r"- \[advisory\]\s+advisory\s.*\n(?:.*\n)*?\s*(kms-rotation: .+)", text)
    assert advised, text
    assert re.search(r"- \[mandatory\].* kms-rotation ", text) is None


def test_our_own_stack_passes_the_engines_run(tmp_path: Path, pack: Path, environment: dict[str, str]) -> None:
    text = preview(ROOT, "local", pack, environment)
    assert "✅ falaj@v0.1.0" in text, text
    assert reported(text) == set()
