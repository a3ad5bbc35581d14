"""A small environment's state, as one that ran leaves it behind."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from core.audit import open_log
from tests.serving.conftest import publish

PHRASE = "a passphrase of some length"
KEY = bytes(range(32))


def make(home: Path, registry: bool = False) -> Path:
    """Fill a folder, with MLflow's own tables where `registry` is true; returns the folder of the data."""
    data = home / "local" / "data"
    data.mkdir(parents=True)
    (data / "pseudonym.key").write_bytes(KEY)
    publish(data / "models", 1)
    publish(data / "models", 2, previous=1, bias=1.0)
    for name in ("feature-registry", "online-features"):
        pairs(data / f"{name}.db")
    if registry:
        register(data)
    else:
        pairs(data / "tracking.db")
    for name in ("artifacts/1/run/artifacts/model/MLmodel", "profiles/jobs.json", "offline-features/jobs/a.parquet"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(name)
    day = data / "inference-log" / "jobs" / "date=2026-11-21"
    day.mkdir(parents=True)
    parquet.write_table(pa.table({"time": [1], "inference_id": ["a"]}), day / "1-1-a.parquet")
    log = open_log(data / "audit" / "audit.jsonl")
    log.append("environment.up", "local")
    log.append("model.deployed", "jobs/1", version=1)
    log.append("model.deployed", "jobs/2", version=2)
    (data / "lineage").mkdir()
    (data / "lineage" / "events.jsonl").write_text('{"eventType": "COMPLETE"}\n{"eventType": "ST')
    state = home / "state" / ".pulumi" / "stacks" / "falaj"
    state.mkdir(parents=True)
    (state / "local.json").write_text("{}")
    return data


def pairs(file: Path) -> None:
    """A database of two tables that are always written together."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        for table in ("one", "two"):
            connection.execute(f"CREATE TABLE {table} (number INTEGER)")
        connection.commit()


def register(data: Path) -> None:
    """A registry with a run, and a model of which a version is live."""
    from mlflow.entities.model_registry import ModelVersionTag
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking

    uri = f"sqlite:///{data / 'tracking.db'}"
    any_tracking: Any = Tracking
    tracking = any_tracking(uri, "mlflow-artifacts:/")
    experiment = tracking.create_experiment("jobs")
    run = tracking.create_run(experiment, "someone", 1, [], "first")
    any_registry: Any = Registry
    registry = any_registry(uri)
    registry.create_registered_model("jobs")
    place = f"mlflow-artifacts:/{experiment}/{run.info.run_id}/artifacts/model"
    tags = [ModelVersionTag("falaj.data", "sha256:1")]
    registry.create_model_version("jobs", place, run.info.run_id, tags=tags)
    registry.set_registered_model_alias("jobs", "live", "1")
    tracking.engine.dispose()
    registry.engine.dispose()
