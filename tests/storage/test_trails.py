"""The audit log and the lineage in a bucket: what holds of the file holds of the objects, and more writers."""

import json
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from core import storage
from core.audit import GENESIS, AuditLog, open_log
from core.digest import ROOT, bytes_digest, canonical
from core.errors import AuditError, DataError
from core.lineage import step
from falaj.cli import app
from tests.storage.servers import REGION, ObjectStore


@pytest.fixture
def place(s3: ObjectStore, request: pytest.FixtureRequest) -> str:
    """A bucket whose objects cannot be removed or replaced, only hidden by newer versions."""
    name = f"locked{abs(hash(request.node.nodeid)):x}"
    s3.client.create_bucket(
        Bucket=name, ObjectLockEnabledForBucket=True, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    s3.client.put_object_lock_configuration(
        Bucket=name,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
        },
    )
    return f"s3://{name}/audit"


@pytest.fixture
def log(place: str) -> AuditLog:
    log = open_log(place)
    for number in range(3):
        log.append("data.ingested", f"employment/{number}", rows_kept=number)
    return log


def uri(log: AuditLog, sequence: int) -> str:
    return f"{log.place}/{sequence:012d}.json"


def altered(log: AuditLog, sequence: int, **fields: Any) -> bytes:
    return canonical(json.loads(storage.read(uri(log, sequence)) or b"") | fields)


_WRITER = """
import sys
from core.audit import open_log
for number in range(6):
    open_log(sys.argv[1]).append("data.ingested", f"{sys.argv[2]}/{number}")
"""


def test_records_follow_one_another(log: AuditLog) -> None:
    records = list(log.records())

    assert [record.sequence for record in records] == [1, 2, 3]
    assert [record.previous for record in records] == [GENESIS, *(record.hash for record in records[:-1])]
    assert log.verify() == 3
    assert storage.names(log.place) == [*(f"{number:012d}.json" for number in range(1, 4)), "head.json"]


def test_nothing_logged_is_valid(place: str) -> None:
    assert open_log(place).verify() == 0


def test_several_writers_cannot_fork_the_chain(place: str) -> None:
    command = [sys.executable, "-c", _WRITER, place]
    writers = [subprocess.Popen([*command, name], cwd=ROOT) for name in ("one", "two", "three")]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]

    records = list(open_log(place).records())
    assert len(records) == 18
    assert {record.subject for record in records} == {
        f"{name}/{number}" for name in ("one", "two", "three") for number in range(6)
    }


def test_an_altered_record_is_found(log: AuditLog) -> None:
    storage.write(uri(log, 2), altered(log, 2, actor="somebody else"))

    with pytest.raises(AuditError, match="record 2: the record was altered"):
        log.verify()


def test_a_last_record_altered_together_with_its_hash_is_found(log: AuditLog) -> None:
    forged = json.loads(altered(log, 3, actor="somebody else"))
    forged["hash"] = bytes_digest(canonical({key: value for key, value in forged.items() if key != "hash"}))
    storage.write(uri(log, 3), canonical(forged))

    with pytest.raises(AuditError, match="record 3: is not the record that was written"):
        log.verify()
    with pytest.raises(AuditError, match="record 3: is not the record that was written"):
        log.append("environment.up", "prod")


@pytest.mark.parametrize("sequence", range(1, 4))
def test_a_hidden_record_is_found(log: AuditLog, sequence: int) -> None:
    storage.delete(uri(log, sequence))

    with pytest.raises(AuditError, match="removed"):
        log.verify()


def test_a_hidden_end_stops_the_next_append(log: AuditLog) -> None:
    storage.delete(uri(log, 3))

    with pytest.raises(AuditError, match=r"000000000003\.json is missing, yet 3 records were written"):
        log.append("environment.up", "prod")


def test_a_hidden_head_is_found(log: AuditLog) -> None:
    storage.delete(f"{log.place}/head.json")

    with pytest.raises(AuditError, match=r"head\.json is missing"):
        log.verify()
    with pytest.raises(AuditError, match=r"head\.json is missing"):
        log.append("environment.up", "prod")


@pytest.mark.parametrize("written", [1, 3])
def test_a_writer_that_died_before_it_wrote_the_head_is_caught_up_with(place: str, written: int) -> None:
    log = open_log(place)
    for number in range(written):
        head = storage.read(f"{place}/head.json")
        log.append("data.ingested", f"employment/{number}")
    if head is None:
        storage.delete(f"{place}/head.json")
    else:
        storage.write(f"{place}/head.json", head)

    assert log.verify() == written
    log.append("environment.up", "prod")
    assert log.verify() == written + 1


def test_what_the_bucket_keeps_cannot_be_removed(s3: ObjectStore, log: AuditLog) -> None:
    bucket, _, key = uri(log, 3).removeprefix("s3://").partition("/")
    version = s3.client.list_object_versions(Bucket=bucket, Prefix=key)["Versions"][0]["VersionId"]

    with pytest.raises(s3.client.exceptions.ClientError, match="AccessDenied"):
        s3.client.delete_object(Bucket=bucket, Key=key, VersionId=version)


def test_a_missing_bucket_is_named(s3: ObjectStore) -> None:
    with pytest.raises(AuditError, match=r"s3://nosuch/audit cannot be written: .* the bucket does not exist"):
        open_log("s3://nosuch/audit").append("environment.up", "prod")
    with pytest.raises(AuditError, match=r"s3://nosuch/audit cannot be read: .* the bucket does not exist"):
        open_log("s3://nosuch/audit").verify()


def test_the_command_verifies_it(log: AuditLog) -> None:
    done = CliRunner().invoke(app, ["audit", "verify", "--log", log.place, "--json"])
    assert json.loads(done.stdout) == {"log": log.place, "records": 3, "valid": True}
    storage.write(uri(log, 2), altered(log, 2, subject="another"))

    failed = CliRunner().invoke(app, ["audit", "verify", "--log", log.place])
    assert isinstance(failed.exception, AuditError)


def test_lineage_is_an_object_an_event(bucket: str) -> None:
    place = f"{bucket}/lineage"
    with step(place, "training", "run-1", "ingest", ["loans.source"], ["loans.records"]):
        pass
    with pytest.raises(DataError), step(place, "training", "run-1", "validate", [], []):
        raise DataError("records.csv is empty")

    (day,) = storage.names(place)
    found = [json.loads(storage.read(f"{place}/{day}/{name}") or b"") for name in storage.names(f"{place}/{day}")]
    assert sorted((event["job"]["name"], event["eventType"]) for event in found) == [
        ("training.ingest", "COMPLETE"),
        ("training.ingest", "START"),
        ("training.validate", "FAIL"),
        ("training.validate", "START"),
    ]
