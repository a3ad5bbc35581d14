"""The checks of this machine: what the environment under test cannot have broken is broken on files alone."""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from core.platform import Environment, Platform
from tests.recovery.state import KEY, make
from verify.declared import Declared
from verify.local import Local
from verify.run import verify


class Files(Local):
    """An environment of which there are files alone, and one process."""

    processes = [psutil.Process()]  # noqa: RUF012

    @property
    def sockets(self) -> Path:
        return self.home / "run"


@pytest.fixture
def local(tmp_path: Path) -> Local:
    home = tmp_path / "home" / "local"
    data = make(tmp_path / "home")
    events = data / "lineage" / "events.jsonl"
    events.write_text('{"eventType": "COMPLETE", "job": {}, "run": {}}\n')
    for folder in ("logs", "conf", "run"):
        (home / folder).mkdir()
    (home / "run" / "supervisor.sock").touch()
    for path in (tmp_path / "home").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    home.chmod(0o700)
    fields = dict.fromkeys(Platform.model_fields, "")
    fields |= {"pseudonym_key_file": str(data / "pseudonym.key"), "audit_log": str(data / "audit" / "audit.jsonl")}
    platform = Platform.model_validate(fields | {"lineage_log": str(events)})
    return Files(home, Environment(platform=platform, services={}))


def _results(local: Local, *parts: str) -> dict[str, str]:
    report = verify(Declared("local", {}), local=local, parts=parts)
    return {check.id: check.result for check in report.checks}


def test_what_is_as_it_must_be_holds(local: Local) -> None:
    assert set(_results(local, "files", "trails").values()) == {"passed"}


def _altered(local: Local) -> None:
    log = Path(local.environment.platform.audit_log)
    log.write_bytes(log.read_bytes().replace(b"jobs/1", b"jobs/9"))


def _named(local: Local) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    from core.model_spec import Live, ModelSpec

    folder = local.data / "models" / "jobs"
    live = Live.model_validate_json((folder / "live.json").read_bytes())
    entity = ModelSpec.model_validate_json((folder / str(live.live) / "model.json").read_bytes()).features.entity
    parquet.write_table(pa.table({entity: ["784"]}), local.data / "inference-log" / "jobs" / "named.parquet")


BROKEN: list[tuple[str, Callable[[Local], object]]] = [
    ("files.folders_are_the_owners_alone", lambda local: (local.home / "logs").chmod(0o750)),
    ("files.key", lambda local: (local.data / "pseudonym.key").write_bytes(b"short")),
    ("files.key", lambda local: (local.data / "pseudonym.key").unlink()),
    ("files.socket", lambda local: (local.sockets / "supervisor.sock").chmod(0o666)),
    ("files.databases", lambda local: (local.data / "tracking.db").write_bytes(b"no database" * 100)),
    ("files.no_secret_in_the_state", lambda local: (local.home / "logs" / "a.log").write_bytes(b"-" + KEY)),
    ("files.no_secret_in_the_state", lambda local: (local.home / "logs" / "a.log").write_text(KEY.hex())),
    ("trails.audit_log", _altered),
    ("trails.lineage", lambda local: (local.data / "lineage" / "events.jsonl").write_text("{}\n")),
    (
        "trails.deployments_were_recorded",
        lambda local: (local.data / "models" / "jobs" / "live.json").write_text('{"live": 3, "previous": 2}'),
    ),
    ("trails.inference_log_names_no_one", _named),
    ("trails.models_have_their_files", lambda local: (local.data / "models" / "jobs" / "1" / "model.onnx").unlink()),
]


@pytest.mark.parametrize(("check", "broken"), BROKEN, ids=[check for check, _ in BROKEN])
def test_what_is_broken_is_found(local: Local, check: str, broken: Callable[[Local], object]) -> None:
    broken(local)
    assert _results(local, check.partition(".")[0])[check] in ("failed", "error")


def test_a_process_that_others_reach_is_found(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    listens = "import socket; s = socket.create_server(('0.0.0.0', 0)); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", listens], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        monkeypatch.setattr(Files, "processes", [psutil.Process(), psutil.Process(process.pid)])
        assert _results(local, "services")["services.loopback_alone"] == "failed"
        process.kill()


def test_a_process_that_only_this_machine_reaches_is_none(local: Local) -> None:
    with socket.create_server(("127.0.0.1", 0)):
        assert _results(local, "services")["services.loopback_alone"] == "passed"


def test_a_process_whose_parent_is_gone_is_found(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = psutil.Process().parent()
    assert parent is not None
    monkeypatch.setattr(Files, "processes", [psutil.Process(), parent])
    assert _results(local, "services")["services.no_foreign_child"] == "failed"
