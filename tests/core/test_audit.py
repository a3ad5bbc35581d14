import json
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.audit import GENESIS, FileLog, Record
from core.digest import bytes_digest, canonical
from core.errors import AuditError


@pytest.fixture
def log(tmp_path: Path) -> FileLog:
    log = FileLog(tmp_path / "audit" / "audit.jsonl")
    for number in range(5):
        log.append("data.ingested", f"employment/{number}", rows_kept=number)
    return log


def test_records_follow_one_another(log: FileLog) -> None:
    records = list(log.records())

    assert [record.sequence for record in records] == [1, 2, 3, 4, 5]
    assert [record.previous for record in records] == [GENESIS, *(record.hash for record in records[:-1])]
    assert log.verify() == 5


def test_nothing_logged_is_valid(tmp_path: Path) -> None:
    assert FileLog(tmp_path / "none.jsonl").verify() == 0


@pytest.mark.parametrize("line", range(5))
def test_an_altered_line_is_found(log: FileLog, line: int) -> None:
    lines = log.path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b'"rows_kept":', b'"rows_kept":1')
    log.path.write_bytes(b"".join(lines))

    with pytest.raises(AuditError, match=f"line {line + 1}: the line was altered"):
        log.verify()


def test_a_line_written_anew_with_the_same_meaning_is_found(log: FileLog) -> None:
    log.path.write_bytes(log.path.read_bytes().replace(b'":', b'": ', 1))

    with pytest.raises(AuditError, match="line 1: the line was altered"):
        log.verify()


def test_a_last_line_altered_together_with_its_hash_is_found(log: FileLog) -> None:
    lines = log.path.read_bytes().splitlines()
    forged = json.loads(lines[-1]) | {"actor": "somebody else"}
    forged["hash"] = bytes_digest(canonical({key: value for key, value in forged.items() if key != "hash"}))
    log.path.write_bytes(b"\n".join([*lines[:-1], canonical(forged)]) + b"\n")

    with pytest.raises(AuditError, match="line 5: is not the line that was written"):
        log.verify()
    with pytest.raises(AuditError):
        log.append("environment.up", "local")


@pytest.mark.parametrize("line", range(5))
def test_a_removed_line_is_found(log: FileLog, line: int) -> None:
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(lines[:line] + lines[line + 1 :]))

    with pytest.raises(AuditError, match="removed"):
        log.verify()


@pytest.mark.parametrize("kept", range(5))
def test_a_cut_end_is_found_by_verify_and_by_the_next_append(log: FileLog, kept: int) -> None:
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(lines[:kept]))

    with pytest.raises(AuditError, match="its end was removed"):
        log.verify()
    with pytest.raises(AuditError, match="its end was removed"):
        log.append("environment.up", "local")


def test_a_removed_log_is_found(log: FileLog) -> None:
    log.path.unlink()

    with pytest.raises(AuditError, match="its end was removed"):
        log.verify()


def test_a_removed_head_is_found(log: FileLog) -> None:
    log.path.with_suffix(".head.json").unlink()

    with pytest.raises(AuditError, match="head"):
        log.verify()


def test_a_damaged_head_is_found(log: FileLog) -> None:
    log.path.with_suffix(".head.json").write_text("{}")

    with pytest.raises(AuditError, match="head"):
        log.verify()


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_change_of_the_lines_is_found(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = FileLog(tmp_path_factory.mktemp("audit") / "audit.jsonl")
    for number in range(4):
        log.append("data.ingested", f"run/{number}")
    lines = log.path.read_bytes().splitlines()
    changed = data.draw(
        st.one_of(
            st.permutations(lines),
            st.lists(st.sampled_from(lines), max_size=6),
            st.tuples(st.integers(0, 4), st.binary(max_size=20).filter(lambda line: b"\n" not in line)).map(
                lambda added: [*lines[: added[0]], added[1], *lines[added[0] :]]
            ),
        )
    )

    log.path.write_bytes(b"".join(line + b"\n" for line in changed))

    if changed == lines:
        assert log.verify() == 4
    else:
        with pytest.raises(AuditError):
            log.verify()


@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_any_changed_byte_is_found(position: int, byte: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = FileLog(tmp_path_factory.mktemp("audit") / "audit.jsonl")
    for number in range(3):
        log.append("data.ingested", f"run/{number}")
    original = log.path.read_bytes()
    changed = bytearray(original)
    changed[position % len(original)] = byte
    log.path.write_bytes(changed)

    if bytes(changed) == original:
        assert log.verify() == 3
    else:
        with pytest.raises(AuditError):
            log.verify()


@pytest.mark.parametrize("size", [1, 100, 200_000])
def test_a_torn_last_line_heals(log: FileLog, size: int) -> None:
    with log.path.open("ab") as file:
        file.write(b"x" * size)

    assert log.verify() == 5
    log.append("environment.up", "local")
    assert log.verify() == 6


def test_a_lost_line_end_is_no_torn_line(log: FileLog) -> None:
    os.truncate(log.path, log.path.stat().st_size - 1)

    with pytest.raises(AuditError, match="its end was removed"):
        log.verify()
    with pytest.raises(AuditError, match="its end was removed"):
        log.append("environment.up", "local")


def test_a_record_whose_head_was_never_written_counts(log: FileLog) -> None:
    head = log.path.with_suffix(".head.json").read_bytes()
    log.append("environment.up", "local")
    log.path.with_suffix(".head.json").write_bytes(head)

    assert log.verify() == 6
    assert log.append("environment.down", "local").sequence == 7


def test_a_long_line_can_be_followed(log: FileLog) -> None:
    log.append("environment.up", "local", note="x" * 200_000)

    assert log.append("environment.down", "local").sequence == 7
    assert log.verify() == 7


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(AuditError, match="cannot be opened"):
        FileLog(tmp_path / "file" / "audit.jsonl").append("environment.up", "local")


def _append_many(path: Path, worker: int) -> None:
    log = FileLog(path)
    for number in range(25):
        log.append("model.deployed", f"{worker}/{number}")


def test_concurrent_appenders_keep_the_chain_whole(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_many, args=(path, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        FileLog(path).verify()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0

    subjects = [record.subject for record in FileLog(path).records()]
    assert sorted(subjects) == sorted(f"{worker}/{number}" for worker in range(4) for number in range(25))


def test_unknown_fields_are_refused(log: FileLog) -> None:
    record = json.loads(log.path.read_bytes().splitlines()[0])

    with pytest.raises(ValueError, match="extra"):
        Record.model_validate(record | {"note": "added"})
