"""Bad input and broken parts: a clear reason, nothing promoted, what was live goes on."""

import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.environment import loans
from tests.environment.local import Local, write_stack_file

pytestmark = pytest.mark.timeout(1800)


def _live(local: Local) -> dict[str, int]:
    return {model["name"]: model["live"] for model in local.json("status")["models"]}


@contextmanager
def _nothing_promoted(local: Local) -> Iterator[None]:
    before = _live(local)
    yield
    assert _live(local) == before
    local.run("audit", "verify")


def _fails(local: Local, *arguments: str) -> str:
    with _nothing_promoted(local):
        done = local.run("run", *arguments, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_truncated_parquet_file(local: Local, tmp_path: Path) -> None:
    contract, data = loans.write(tmp_path)
    whole = tmp_path / "loans.parquet"
    pd.read_csv(data).to_parquet(whole)
    whole.write_bytes(whole.read_bytes()[:2000])
    assert "loans.parquet" in _fails(local, str(contract), "--data", str(whole))


def test_a_contract_with_a_typo(local: Local, tmp_path: Path) -> None:
    contract, data = loans.write(tmp_path)
    contract.write_text(contract.read_text().replace("lawful_basis", "lawful_bassis"))
    reason = _fails(local, str(contract), "--data", str(data))
    assert "contract.yaml" in reason
    assert "lawful_bassis" in reason


def test_a_column_that_the_data_lacks(local: Local, tmp_path: Path) -> None:
    contract, data = loans.write(tmp_path)
    data.write_text(data.read_text().replace("income", "incomes", 1))
    assert "income" in _fails(local, str(contract), "--data", str(data))


def test_a_missing_consent_register(local: Local, tmp_path: Path) -> None:
    rows = pd.read_parquet(local.home / "data" / "employment" / "records.parquet").head(1000)
    rows.to_parquet(tmp_path / "records.parquet")
    assert "consent.parquet" in _fails(local, "employment", "--data", str(tmp_path / "records.parquet"))


def test_a_gate_that_fails(local: Local, tmp_path: Path) -> None:
    contract, data = loans.write(tmp_path)
    document = yaml.safe_load(contract.read_text())
    document["quality"] = {"roc_auc": {"min": 0.9999}}
    contract.write_text(yaml.safe_dump(document, sort_keys=False))
    reason = _fails(local, str(contract), "--data", str(data), "--trials", "1")
    assert "roc_auc" in reason
    assert "0.9999" in reason
    events = [record["event"] for record in local.json("audit", "list")]
    assert events[-2:] == ["gates.failed", "pipeline.failed"]


def test_a_full_artifact_store(local: Local, tmp_path: Path) -> None:
    contract, data = loans.write(tmp_path)
    with _full(local, "mlflow"):
        reason = _fails(local, str(contract), "--data", str(data), "--trials", "1")
    assert "mlflow" in reason.lower()
    # With room again, the same command heals what it left.
    local.run("run", str(contract), "--data", str(data), "--trials", "1")


def test_a_busy_port(tmp_path: Path) -> None:
    other = Local(tmp_path / "home", tmp_path / "Pulumi.local.yaml", "")
    write_stack_file(other.stack_file)
    try:
        with socket.create_server(("127.0.0.1", other.ports()["mlflow.port"])):
            refused = other.run("up", "--no-train", "--config", str(other.stack_file), check=False)
    finally:
        other.run("down", "--delete-data")
    assert refused.returncode == 1
    assert f"port {other.ports()['mlflow.port']} is in use" in refused.stdout + refused.stderr
    assert "mlflow.port" in refused.stdout + refused.stderr


def test_a_command_without_an_environment_says_how_to_start_one(local: Local, tmp_path: Path) -> None:
    shown = Local(tmp_path, local.stack_file, "").run("status", check=False)
    assert shown.returncode == 1
    assert "make up" in shown.stderr


@contextmanager
def _full(local: Local, service: str) -> Iterator[None]:
    """No file of a service may grow any more, as on a full disk."""
    limits = [
        (process.pid, resource.prlimit(process.pid, resource.RLIMIT_FSIZE)) for process in local.listening(service)
    ]
    for pid, (_, hard) in limits:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (16 << 10, hard))
    try:
        yield
    finally:
        for pid, limit in limits:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
