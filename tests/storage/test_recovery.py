"""A copy of a local environment's state on the stores of a site: the same models answer, the same trails go on."""

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from core import storage
from core.audit import open_log
from core.errors import ConfigError
from core.model_spec import Live
from falaj.commands import backup as commands
from falaj.commands.restore import restore as local_restore
from falaj.recovery import sealed
from falaj.recovery.local import back_up
from falaj.recovery.site import Stores, restore
from serving.runtime.log import read_log
from serving.store import open_models
from tests.recovery.state import KEY, PHRASE, make
from tests.serving.conftest import expected
from tests.storage.servers import Database, ObjectStore
from tests.storage.test_models import ROW, running

TRACKING = "postgresql+psycopg:///restored"


@pytest.fixture
def stores(bucket: str) -> Stores:
    folders = ("artifacts", "offline-features", "profiles", "lineage", "models", "audit", "inference-log")
    return Stores({name: f"{bucket}/{name}" for name in folders} | {"tracking": TRACKING})


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    monkeypatch.setattr(sealed, "_WORK", 1)
    make(tmp_path / "home", registry=True)
    target = io.BytesIO()
    back_up(tmp_path / "home", target, PHRASE)
    return io.BytesIO(target.getvalue())


@pytest.mark.timeout(300)
def test_a_local_environment_goes_on_at_a_site(
    s3: ObjectStore,
    postgres: Database,
    stores: Stores,
    copy: io.BytesIO,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (postgres.environment | {"RUNTIME_OUTPUT": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    postgres.create("restored")
    key = tmp_path / "pseudonym.key"

    manifest = restore(copy, PHRASE, stores, "onprem", key, tmp_path)

    assert manifest.live == {"jobs": Live(live=2, previous=1)}
    assert key.read_bytes() == KEY
    models = open_models(stores.uris["models"])
    assert (models.versions("jobs"), models.live("jobs")) == ([1, 2], Live(live=2, previous=1))
    assert storage.read(f"{stores.uris['artifacts']}/1/run/artifacts/model/MLmodel")
    assert storage.names(stores.uris["profiles"]) == ["jobs.json"]
    assert read_log(stores.uris["inference-log"], "jobs")["inference_id"].to_pylist() == ["a"]
    _registry_goes_on()
    events = [record.event for record in open_log(stores.uris["audit"]).records()]
    assert events == ["environment.up", "model.deployed", "model.deployed", "environment.restored"]
    with running(
        stores.uris["models"], stores.uris["inference-log"], "--log-spool", str(tmp_path / "spool")
    ) as runtime:
        answer = httpx.post(f"{runtime.url}/v2/models/jobs/infer", json=ROW).raise_for_status().json()
    assert answer["model_version"] == "2"
    (output,) = [output for output in answer["outputs"] if output["name"] == "probability"]
    np.testing.assert_allclose(output["data"], expected([ROW["inputs"][0]["data"]], bias=1.0), rtol=1e-5)

    with pytest.raises(ConfigError, match=r"audit, .*restored holds something already"):
        restore(copy, PHRASE, stores, "onprem", tmp_path / "other.key", tmp_path)


def _registry_goes_on() -> None:
    """What was registered is there, and what comes next gets numbers of its own."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking

    any_registry: Any = Registry
    any_tracking: Any = Tracking
    registry, tracking = any_registry(TRACKING), any_tracking(TRACKING, "mlflow-artifacts:/")
    version = registry.get_model_version_by_alias("jobs", "live")
    assert (int(version.version), version.tags) == (1, {"falaj.data": "sha256:1"})
    assert tracking.get_run(version.run_id).info.run_name == "first"
    assert tracking.create_experiment("another") == "2"
    for store in (registry, tracking):
        store.engine.dispose()


def test_a_stack_names_its_stores(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    assert Stores.of("onprem", root).uris == {
        "artifacts": "s3://falaj-artifacts/artifacts",
        "offline-features": "s3://falaj-features/offline-features",
        "profiles": "s3://falaj-curated/profiles",
        "lineage": "s3://falaj-audit/lineage",
        "models": "s3://falaj-artifacts/models",
        "tracking": "postgresql+psycopg:///tracking",
        "audit": "s3://falaj-audit/audit",
        "inference-log": "s3://falaj-inference-log/inference-log",
    }
    with pytest.raises(ConfigError, match=r"prod is no stack on a site"):
        Stores.of("prod", root)


def test_a_copy_in_a_bucket(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "_WORK", 1)
    monkeypatch.setenv("FALAJ_BACKUP_PASSPHRASE", PHRASE)
    make(tmp_path / "home")
    monkeypatch.setenv("FALAJ_HOME", str(tmp_path / "home"))
    commands.backup(f"{bucket}/copy.age")
    with pytest.raises(ConfigError, match=r"copy\.age exists"):
        commands.backup(f"{bucket}/copy.age")

    monkeypatch.setenv("FALAJ_HOME", str(tmp_path / "other"))
    local_restore(f"{bucket}/copy.age")

    data = tmp_path / "other" / "local" / "data"
    assert (data / "pseudonym.key").read_bytes() == KEY
    assert open_log(data / "audit" / "audit.jsonl").verify() == 4
    monkeypatch.setenv("FALAJ_HOME", str(tmp_path / "third"))
    with pytest.raises(ConfigError, match="there is no"):
        local_restore(f"{bucket}/no.age")
    monkeypatch.setenv("FALAJ_BACKUP_PASSPHRASE", "short")
    with pytest.raises(ConfigError, match="at least 12"):
        local_restore(f"{bucket}/copy.age")
