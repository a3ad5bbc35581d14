import datetime as dt
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tools.engine import engine_environment, release_stale_locks


def lock(state: Path, **changes: object) -> Path:
    folder = state / ".pulumi" / "locks" / "organization" / "falaj" / "local"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "a.json"
    now = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
    holder = {"pid": os.getpid(), "username": "me", "hostname": socket.gethostname(), "timestamp": now}
    file.write_text(json.dumps(holder | changes))
    file.with_name("a.json.attrs").write_text("{}")
    return file


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_the_lock_of_a_dead_engine_is_removed(tmp_path: Path) -> None:
    file = lock(tmp_path, pid=ended_process())
    assert release_stale_locks(tmp_path) == [file]
    assert not list(file.parent.iterdir())


def test_a_number_that_went_to_a_later_process_does_not_keep_a_lock(tmp_path: Path) -> None:
    assert release_stale_locks(tmp_path) == []
    file = lock(tmp_path, timestamp="2020-01-01T00:00:00.123456789Z")
    assert release_stale_locks(tmp_path) == [file]


@pytest.mark.parametrize("changes", [{}, {"hostname": "elsewhere", "pid": 2**22 + 1}, {"timestamp": "noon"}])
def test_in_doubt_a_lock_stays(tmp_path: Path, changes: dict[str, object]) -> None:
    file = lock(tmp_path, **changes)
    assert release_stale_locks(tmp_path) == []
    assert file.exists()


def test_the_state_lies_where_the_home_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FALAJ_HOME", raising=False)
    assert engine_environment(tmp_path)["PULUMI_BACKEND_URL"] == f"file://{tmp_path}/.falaj/state"
    monkeypatch.setenv("FALAJ_HOME", str(tmp_path / "home"))
    assert engine_environment(tmp_path)["PULUMI_BACKEND_URL"] == f"file://{tmp_path}/home/state"


def test_the_engine_keeps_no_log_of_properties(tmp_path: Path) -> None:
    logs = Path(engine_environment(tmp_path)["PULUMI_HOME"]) / "logs"
    assert logs.is_file()
    assert logs.read_bytes() == b""
