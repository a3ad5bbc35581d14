import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from core.errors import DataError
from core.lineage import run_uuid, step


def events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_step_that_ends_well_is_started_and_completed(tmp_path: Path) -> None:
    log = tmp_path / "lineage" / "events.jsonl"

    with step(log, "training", "run-1", "ingest", ["loans.source"], ["loans.records", "loans.refused"]):
        assert [event["eventType"] for event in events(log)] == ["START"]

    started, completed = events(log)
    assert completed["eventType"] == "COMPLETE"
    assert started["run"]["runId"] == completed["run"]["runId"]
    for event in (started, completed):
        assert event["job"] == {"namespace": "falaj", "name": "training.ingest", "facets": {}}
        assert event["run"]["facets"]["parent"]["run"]["runId"] == run_uuid("run-1")
        assert [dataset["name"] for dataset in event["inputs"]] == ["loans.source"]
        assert [dataset["name"] for dataset in event["outputs"]] == ["loans.records", "loans.refused"]


@pytest.mark.parametrize(
    ("error", "told"), [(DataError("records.csv is empty"), "records.csv is empty"), (KeyError("Fatima"), "KeyError")]
)
def test_a_step_that_fails_says_so_without_personal_data(tmp_path: Path, error: Exception, told: str) -> None:
    log = tmp_path / "events.jsonl"

    with pytest.raises(type(error)), step(log, "training", "run-1", "ingest", [], []):
        raise error

    failed = events(log)[-1]
    assert failed["eventType"] == "FAIL"
    assert failed["run"]["facets"]["errorMessage"]["message"] == told
    assert "Fatima" not in log.read_text()


def test_a_run_that_is_no_uuid_always_maps_to_the_same() -> None:
    own = "6f2c6f5e-4c0e-4a51-9a5a-0d9d1c1d8f8e"

    assert run_uuid(own) == own
    assert run_uuid("run-1") == run_uuid("run-1") != run_uuid("run-2")
    assert UUID(run_uuid("run-1")).version == 5
