"""A copy of an environment's state: consistent while it is written, brought back whole or not at all."""

import io
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.audit import open_log
from core.errors import AuditError, ConfigError, DataError, FalajError
from core.model_spec import Live
from falaj.recovery.archive import Writer, unpack
from falaj.recovery.local import back_up, restore
from falaj.recovery.sealed import Opener, Sealer, SealError
from tests.recovery.state import KEY, PHRASE, make


@pytest.fixture
def home(tmp_path: Path) -> Path:
    make(tmp_path / "home")
    return tmp_path / "home"


def _copy(home: Path) -> io.BytesIO:
    target = io.BytesIO()
    back_up(home, target, PHRASE)
    return io.BytesIO(target.getvalue())


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_what_was_there_is_there_again(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    manifest = restore(_copy(home), PHRASE, other)

    assert manifest.live == {"jobs": Live(live=2, previous=1)}
    before, after = _files(home / "local" / "data"), _files(other / "local" / "data")
    assert (other / "local" / "data" / "pseudonym.key").read_bytes() == KEY
    same = {name for name in before if name in after and before[name] == after[name]}
    # A line without its end was never acknowledged; databases are the same by what they hold.
    assert set(before) - same == {"lineage/events.jsonl", "audit/audit.jsonl", "audit/audit.head.json"} | {
        name for name in before if ".db" in name or name.endswith(".lock")
    }
    assert after["lineage/events.jsonl"] == b'{"eventType": "COMPLETE"}\n'
    events = [record.event for record in open_log(other / "local" / "data" / "audit" / "audit.jsonl").records()]
    assert events == ["environment.up", "model.deployed", "model.deployed", "environment.restored"]
    folders = [other, *(path for path in other.rglob("*") if path.is_dir())]
    assert {path.stat().st_mode & 0o077 for path in folders} == {0}
    # The engine's state names the places of the former folder.
    assert not (other / "state").exists()


def test_the_engines_state_comes_back_to_its_own_place(home: Path) -> None:
    copy = _copy(home)
    home.rename(home.with_name("lost"))
    restore(copy, PHRASE, home)
    assert (home / "state" / ".pulumi" / "stacks" / "falaj" / "local.json").read_text() == "{}"


def test_what_is_there_is_not_overwritten(home: Path) -> None:
    copy = _copy(home)
    before = _files(home)
    with pytest.raises(ConfigError, match="exists, and a copy is not mixed"):
        restore(copy, PHRASE, home)
    assert _files(home) == before


@pytest.mark.parametrize("kind", ["passphrase", "altered", "cut"])
def test_nothing_is_left_of_a_copy_that_is_not_whole(home: Path, tmp_path: Path, kind: str) -> None:
    data = bytearray(_copy(home).getvalue())
    if kind == "altered":
        data[len(data) // 2] ^= 1
    content = io.BytesIO(bytes(data[: len(data) // 2] if kind == "cut" else data))
    with pytest.raises(SealError):
        restore(content, "another passphrase" if kind == "passphrase" else PHRASE, tmp_path / "other")
    assert _files(tmp_path / "other") == {}


def test_an_altered_audit_log_is_not_copied(home: Path) -> None:
    log = home / "local" / "data" / "audit" / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b"jobs/1", b"jobs/9"))
    with pytest.raises(AuditError, match="line 2"):
        _copy(home)


def test_a_damaged_database_is_not_copied(home: Path) -> None:
    (home / "local" / "data" / "tracking.db").write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match=r"tracking\.db cannot be copied"):
        _copy(home)


def test_a_folder_without_an_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="falaj up"):
        _copy(tmp_path)


@pytest.fixture
def busy(home: Path) -> Iterator[Path]:
    """The same environment while others write to all that can be written."""
    data, stop = home / "local" / "data", threading.Event()

    def count() -> None:
        with closing(sqlite3.connect(data / "tracking.db", timeout=30)) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                connection.execute("INSERT INTO one VALUES (?)", [number])
                connection.execute("INSERT INTO two VALUES (?)", [number])
                connection.commit()

    def log() -> None:
        while not stop.is_set():
            open_log(data / "audit" / "audit.jsonl").append("gates.passed", "jobs")

    def tell() -> None:
        with (data / "lineage" / "more.jsonl").open("w"), (data / "lineage" / "events.jsonl").open("w") as file:
            while not stop.is_set():
                file.write('{"eventType": "COMPLETE"}\n')

    threads = [threading.Thread(target=one) for one in (count, log, tell)]
    for thread in threads:
        thread.start()
    yield home
    stop.set()
    for thread in threads:
        thread.join()


def test_a_copy_is_of_one_moment(busy: Path, tmp_path: Path) -> None:
    for number in range(3):
        other = tmp_path / f"other-{number}"
        manifest = restore(_copy(busy), PHRASE, other)
        data = other / "local" / "data"
        with closing(sqlite3.connect(data / "tracking.db")) as connection:
            one, two = (
                connection.execute(query).fetchone()[0]
                for query in ("SELECT count(*) FROM one", "SELECT count(*) FROM two")
            )
        assert one == two
        assert open_log(data / "audit" / "audit.jsonl").verify() == manifest.records + 1
        text = (data / "lineage" / "events.jsonl").read_text()
        assert text == "" or text.endswith("}\n")


@pytest.mark.parametrize("name", ["../outside", "/outside", "data/../../outside"])
def test_a_copy_writes_nowhere_else(name: str, tmp_path: Path) -> None:
    target = io.BytesIO()
    writer = Writer(Sealer(target, PHRASE))
    writer.add_bytes(name, b"x")
    writer.close(tmp_path, 0, {})
    with pytest.raises(SealError, match="which no copy does"):
        unpack(Opener(io.BytesIO(target.getvalue()), PHRASE), tmp_path / "new")
    assert not (tmp_path / "outside").exists()


def test_what_the_manifest_does_not_name_is_refused(tmp_path: Path) -> None:
    target = io.BytesIO()
    writer = Writer(Sealer(target, PHRASE))
    writer.add_bytes("data/a", b"x")
    writer._files["data/b"] = writer._files["data/a"]
    writer.close(tmp_path, 0, {})
    with pytest.raises(FalajError, match="data/b is not what the copy's manifest says"):
        unpack(Opener(io.BytesIO(target.getvalue()), PHRASE), tmp_path)
