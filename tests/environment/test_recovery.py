"""A copy of the running environment, brought back on another folder and other ports: the same answers."""

import json
from pathlib import Path

import httpx
import pytest

from serving.runtime.log import read_log
from tests.environment.local import Local, write_stack_file

pytestmark = pytest.mark.timeout(1800)
PEOPLE = ("--id", "270001", "--id", "270002", "--id", "277001")


def test_a_copy_answers_elsewhere_as_the_environment_did(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FALAJ_BACKUP_PASSPHRASE", "a passphrase of some length")
    answer = httpx.post(f"{local.url}/v2/models/employment/infer", json=_by_id("270003"))
    before = local.json("predict", "employment", *PEOPLE)
    records = local.json("audit", "verify")["records"]

    manifest = local.json("backup", str(tmp_path / "copy.age"))

    assert manifest["records"] == records
    other = Local(tmp_path / "home", tmp_path / "Pulumi.local.yaml", "")
    write_stack_file(other.stack_file)
    restored = other.json("restore", str(tmp_path / "copy.age"))
    assert restored["live"] == manifest["live"]
    refused = other.run("restore", str(tmp_path / "copy.age"), check=False)
    assert refused.returncode == 1
    assert "exists, and a copy is not mixed with what is there" in refused.stderr
    try:
        other.run("up", "--no-train", "--config", str(other.stack_file))
        after = other.json("predict", "employment", *PEOPLE)
        status = other.json("status")
        chain = other.json("audit", "verify")
        events = [record["event"] for record in other.json("audit", "list")]
        logged = read_log(other.home / "local" / "data" / "inference-log", "employment")
        registered = other.json("models", "employment")
    finally:
        other.run("down", "--delete-data", check=False)

    assert after == before
    assert chain["records"] == records + 2
    assert events[-2:] == ["environment.restored", "environment.up"]
    # What had been answered a moment before the copy is in it, and under the same pseudonyms features are found.
    assert answer.headers["x-request-id"] in logged["inference_id"].to_pylist()
    assert {model["name"]: model["live"] for model in status["models"]} == {
        name: live["live"] for name, live in manifest["live"].items()
    }
    assert registered == local.json("models", "employment")
    assert json.loads(local.run("audit", "list", "--json").stdout)[-1]["event"] == "environment.backed_up"


def _by_id(person: str) -> dict[str, object]:
    return {"inputs": [{"name": "person_id", "datatype": "BYTES", "shape": [1], "data": [person]}]}
