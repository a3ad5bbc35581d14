"""The shells of ingest, validate and featurize as KFP runs them, on a third party's CSV."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from components.ingest.step import IngestReport
from components.shell import running
from core.audit import open_log
from core.errors import ConfigError, DataError
from core.platform import Platform
from core.pseudonym import Pseudonymiser
from features.store import open_store

KEY = b"k" * 32
CONTRACT = {
    "name": "rentals",
    "version": 1,
    "title": "Rental prices",
    "description": "Yearly rent of a flat.",
    "owner": {"team": "housing", "contact": "housing@example.ae"},
    "task": "regression",
    "columns": {
        "tenant_id": {"type": "integer", "role": "entity", "personal": True, "description": "Tenant"},
        "signed_on": {"type": "timestamp", "role": "event_time", "description": "Day of the lease"},
        "area_m2": {"type": "float", "role": "feature", "min": 10, "nullable": True, "description": "Area"},
        "floor": {"type": "integer", "role": "feature", "nullable": True, "description": "Floor"},
        "district": {
            "type": "category",
            "role": "feature",
            "values": ["Deira", "Al Barsha", "None"],
            "description": "District",
        },
        "rent": {"type": "float", "role": "target", "min": 0, "description": "AED a year"},
    },
    "purpose": {"id": "rent_index", "version": 1, "description": "Estimate rents."},
    "lawful_basis": "public_interest",
    "retention": {"days": 30},
    "automated_decision": {"high_impact": False, "human_review": False},
    "training": {"until": "2025-03-01"},
    "quality": {"r2": {"min": 0.1}},
    "drift": {"limit": 0.2},
}
PIPELINE = """
import sys
from kfp import dsl, local
from components.featurize.component import featurize
from components.ingest.component import ingest
from components.validate.component import validate

root, contract, data = sys.argv[1:]
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root)

@dsl.pipeline
def first_steps(contract_uri: str, data_uri: str, run_id: str):
    read = ingest(contract_uri=contract_uri, data_uri=data_uri, run_id=run_id)
    files = {"contract": read.outputs["contract"], "records": read.outputs["records"]}
    valid = validate(run_id=run_id, **files)
    featurize(run_id=run_id, **files).after(valid)

first_steps(contract_uri=contract, data_uri=data, run_id="run-1")
"""


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    store = tmp_path / "feast"
    store.mkdir()
    (store / "feature_store.yaml").write_text(
        yaml.safe_dump(
            {
                "project": "falaj",
                "provider": "local",
                "registry": str(store / "registry.db"),
                "online_store": {"type": "features.packed.PackedOnlineStore", "path": str(store / "online.db")},
                "offline_store": {"type": "dask"},
                "entity_key_serialization_version": 3,
            }
        )
    )
    (tmp_path / "key").write_bytes(KEY)
    return Platform(
        mlflow_url="http://127.0.0.1:9",
        runtime_url="http://127.0.0.1:9",
        feature_store=str(store),
        offline_store=str(tmp_path / "offline"),
        profiles=str(tmp_path / "profiles"),
        model_repository=str(tmp_path / "models"),
        pseudonym_key_file=str(tmp_path / "key"),
        audit_log=str(tmp_path / "audit.jsonl"),
        lineage_log=str(tmp_path / "lineage.jsonl"),
    )


def rents(count: int = 300) -> pd.DataFrame:
    random = np.random.default_rng(0)
    days = pd.Timestamp("2025-01-01") + pd.to_timedelta(np.arange(count) % 90, unit="D")
    return pd.DataFrame(
        {
            "Lease No.": np.arange(count),
            "rent": random.integers(30_000, 200_000, count),
            "district": random.choice(["Deira", "Al Barsha", "None"], count),
            "floor": [None if number % 7 == 0 else number % 30 for number in range(count)],
            "area_m2": [None if number % 5 == 0 else 20.5 + number for number in range(count)],
            "signed_on": days.strftime("%Y-%m-%d"),
            "tenant_id": np.arange(count) + 7_840_000,
        }
    )


def first_steps(tmp_path: Path, platform: Platform, rows: pd.DataFrame) -> "subprocess.CompletedProcess[str]":
    (tmp_path / "contract.yaml").write_text(yaml.safe_dump(CONTRACT, sort_keys=False))
    rows.to_csv(tmp_path / "rents.csv", sep=";", index=False)
    return subprocess.run(
        [
            sys.executable,
            "-c",
            PIPELINE,
            str(tmp_path / "runs"),
            str(tmp_path / "contract.yaml"),
            str(tmp_path / "rents.csv"),
        ],
        env=os.environ | platform.to_environment() | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )


def output(tmp_path: Path, name: str) -> Path:
    (found,) = (tmp_path / "runs").glob(f"*/*/{name}")
    return found


def test_a_third_party_csv_goes_through_the_first_three_steps(tmp_path: Path, platform: Platform) -> None:
    rows = rents()
    rows.loc[3, "district"] = "Atlantis"

    run = first_steps(tmp_path, platform, rows)

    assert run.returncode == 0, run.stdout + run.stderr
    told = run.stdout + run.stderr
    assert "ingest: 299 of 300 rows kept, 1 refused (district: not one of its values: 1)" in told
    assert "columns dropped: Lease No." in told
    assert "validate: 299 rows obey the contract" in told
    assert "featurize: 299 rows offline, 299 entities online" in told

    training = pd.read_parquet(output(tmp_path, "training"))
    kept = rows.drop(index=3)[lambda frame: frame["signed_on"] < "2025-03-01"]
    pseudonym = Pseudonymiser(KEY, "tenant_id")
    by_tenant = kept.assign(tenant_id=[pseudonym(str(number)) for number in kept["tenant_id"]]).sort_values("tenant_id")
    assert training["tenant_id"].tolist() == by_tenant["tenant_id"].tolist()
    for name in ("area_m2", "floor", "district", "rent"):
        left, right = training[name].astype(object), by_tenant[name].astype(object)
        assert left.where(left.notna(), None).tolist() == right.where(right.notna(), None).tolist(), name
    assert dict(training.dtypes.astype(str)) == {
        "tenant_id": "string",
        "signed_on": "datetime64[ns, UTC]",
        "area_m2": "float64",
        "floor": "Int64",
        "district": "string",
        "rent": "float64",
    }

    store = open_store(platform.feature_store)
    wanted = [{"tenant_id": pseudonym("7840005")}, {"tenant_id": pseudonym("7840007")}]
    online = store.get_online_features(store.get_feature_service("rentals"), wanted).to_dict()
    assert online["area_m2"] == [None, 27.5]
    assert online["floor"] == [5, None]
    assert online["district"] == rows["district"].iloc[[5, 7]].tolist()

    (record,) = open_log(platform.audit_log).records()
    report = IngestReport.model_validate_json((output(tmp_path, "records").parent / "report").read_text())
    assert (record.event, record.subject) == ("data.ingested", "rentals")
    assert record.details["data"] == report.data_digest
    assert (record.details["rows_kept"], record.details["rows_refused"]) == (299, 1)
    events = [json.loads(line) for line in Path(platform.lineage_log).read_text().splitlines()]
    assert [(event["job"]["name"], event["eventType"]) for event in events] == [
        (f"training.{name}", state) for name in ("ingest", "validate", "featurize") for state in ("START", "COMPLETE")
    ]
    for place in (platform.audit_log, platform.lineage_log):
        assert "784000" not in Path(place).read_text()


def test_a_failed_step_stops_the_run_with_its_reason(tmp_path: Path, platform: Platform) -> None:
    run = first_steps(tmp_path, platform, rents().rename(columns={"rent": "rnet"}))

    assert run.returncode != 0
    assert "ingest: failed" in run.stdout + run.stderr
    assert "lacks the columns rent (did you mean rnet?)" in run.stdout + run.stderr
    events = [json.loads(line) for line in Path(platform.lineage_log).read_text().splitlines()]
    assert [event["eventType"] for event in events] == ["START", "FAIL"]
    (failure,) = open_log(platform.audit_log).records()
    assert (failure.event, failure.subject, failure.details["step"]) == ("pipeline.failed", "rentals", "ingest")


def test_running_logs_and_emits(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in platform.to_environment().items():
        monkeypatch.setenv(key, value)
    handlers = logging.getLogger().handlers[:]
    try:
        with running("validate", "run-1", "rentals", ["records"], []) as found:
            assert found == platform
        with pytest.raises(DataError), running("validate", "run-1", "rentals", [], []):
            raise DataError("rents.csv is empty")
    finally:
        logging.getLogger().handlers[:] = handlers

    told = capsys.readouterr().err
    assert "falaj INFO validate: started" in told
    assert "falaj INFO validate: done in 0.0 s" in told
    assert "falaj ERROR validate: failed: rents.csv is empty" in told


def test_a_shell_without_a_platform_says_what_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Platform.model_fields:
        monkeypatch.delenv(f"FALAJ_{name.upper()}", raising=False)
    handlers = logging.getLogger().handlers[:]
    try:
        with pytest.raises(ConfigError, match="falaj up"), running("validate", "run-1", "rentals", [], []):
            raise AssertionError
    finally:
        logging.getLogger().handlers[:] = handlers
