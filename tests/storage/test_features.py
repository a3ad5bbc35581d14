"""Feast as the cloud has it: its registry in PostgreSQL, records in a bucket, features in Redis, all by TLS."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import FeatureStore

from core import storage
from core.contract import DataContract
from core.errors import ConfigError
from features.definitions import Definitions, definitions
from features.online import Published, publish
from features.store import open_store, register
from infra.services.feature_server import feature_store
from serving.runtime.errors import RefusedError
from serving.runtime.features_store import open_online_store
from tests.features.test_features import contract, records
from tests.serving.test_features import fetched
from tests.storage.servers import Cache, Database, ObjectStore


def connection(online: Cache) -> str:
    """As a binding writes it."""
    kind = "redis" if len(online.ports) == 1 else "redis_cluster"
    options = ["ssl=true", "username=${REDIS_USERNAME}", 'password="${REDIS_PASSWORD}"']
    return f"{kind}:" + ",".join([f"localhost:{online.ports[0]}", *options, f"ssl_ca_certs={online.authority}"])


def setenv(monkeypatch: pytest.MonkeyPatch, *environments: Mapping[str, str]) -> None:
    for environment in environments:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)


@pytest.fixture
def folder(
    s3: ObjectStore,
    postgres: Database,
    online: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Path:
    setenv(monkeypatch, postgres.environment, online.environment)
    name = f"registry_{abs(hash(request.node.nodeid)):x}"
    postgres.create(name)
    text = feature_store(f"postgresql+psycopg:///{name}", connection(online), 1)
    assert "sesame" not in text
    (tmp_path / "feature_store.yaml").write_text(text)
    return tmp_path


def registered(folder: Path, bucket: str, agreed: DataContract, rows: pd.DataFrame) -> tuple[FeatureStore, Definitions]:
    path = storage.join(bucket, agreed.name, "features.parquet")
    storage.write(path, rows.to_parquet(index=False))
    store, defined = open_store(folder), definitions(agreed, path)
    register(store, defined)
    return store, defined


def looked_up(folder: Path, *loans: str) -> dict[str, list[Any]]:
    store = open_store(folder)
    response = store.get_online_features(store.get_feature_service("loans"), [{"loan": loan} for loan in loans])
    return dict(response.to_dict())


def test_records_are_published_corrected_and_removed(folder: Path, bucket: str) -> None:
    store, defined = registered(folder, bucket, contract(), records(5))
    assert publish(store, defined, records(5), "opened", "one") == Published(5, unchanged=False, removed=0)
    assert looked_up(folder, "L0", "L1", "L2", "L9") == {
        "loan": ["L0", "L1", "L2", "L9"],
        "income": [0.5, None, 2.5, None],
        "children": [0, 1, 2, None],
        "home": ["own", "rent", "own", None],
        "region": [1, 2, 1, None],
    }
    assert publish(store, defined, records(5), "opened", "one").unchanged

    # Corrected without a newer event time; and two are no more, of whom nothing may stay.
    assert publish(store, defined, records(3, shift=7), "opened", "two") == Published(3, unchanged=False, removed=8)
    found = looked_up(folder, "L0", "L1", "L2", "L3", "L4")
    assert found["children"] == [7, 8, 9, None, None]
    assert found["home"] == ["own", "rent", "own", None, None]

    # Another contract has the same entities; removing theirs leaves its features alone.
    other, leases = registered(folder, bucket, contract("leases"), records(5))
    publish(other, leases, records(5), "opened", "three")
    publish(store, defined, records(1), "opened", "four")
    response = other.get_online_features(other.get_feature_service("leases"), [{"loan": "L1"}]).to_dict()
    assert response["children"] == [1]
    assert looked_up(folder, "L1")["children"] == [None]
    publish(store, defined, records(0), "opened", "none")
    publish(other, leases, records(0), "opened", "none")


def test_the_fields_are_those_that_feast_itself_writes(folder: Path, bucket: str) -> None:
    rows = records(4)
    store, defined = registered(folder, bucket, contract(), rows)
    client = store._get_provider().online_store._get_client(store.config.online_store)

    def everything() -> dict[bytes, dict[bytes, bytes]]:
        keys = [key for key in client.scan_iter(match="*") if not key.startswith(b"falaj:")]
        return {key: client.hgetall(key) for key in keys}

    publish(store, defined, rows, "opened", "one")
    ours = everything()
    publish(store, defined, records(0), "opened", "none")
    assert everything() == {}
    store.write_to_online_store("loans", rows)

    assert len(ours) == 4
    assert ours == everything()
    publish(store, defined, records(0), "opened", "none")


def test_the_runtime_reads_what_feast_reads(
    folder: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, defined = registered(folder, bucket, contract(), records(40))
    publish(store, defined, records(40), "opened", "one")
    loans = [*(f"L{number}" for number in range(40)), "L99"]
    columns = ("region", "home", "income", "children")

    rows = fetched(open_online_store(folder, 10), "loan", "loans", columns, *loans)
    assert not isinstance(rows, RefusedError)
    theirs = looked_up(folder, *loans)
    assert rows[-1] is None
    assert [row and row[1:] for row in rows[:-1]] == [*zip(*(theirs[name][:-1] for name in columns), strict=True)]
    opened = records(40)["opened"].astype("int64") // 1000
    assert [row and row[0] for row in rows[:-1]] == opened.tolist()
    assert fetched(open_online_store(folder, 10), "loan", "loans", ("home",), "L1") == [(opened[1], "rent")]

    # What Feast would give as missing values of a view that it does not know either.
    assert fetched(open_online_store(folder, 10), "loan", "nosuch", columns, "L1", "L2") == [None, None]
    monkeypatch.setenv("REDIS_PASSWORD", "wrong")
    refused = fetched(open_online_store(folder, 10), "loan", "loans", columns, "L1", "L2")
    assert isinstance(refused, RefusedError)
    assert refused.status == 503
    assert "the online store cannot be used" in refused.reason
    assert "sesame" not in refused.reason + caplog.text
    publish(store, defined, records(0), "opened", "none")


def test_training_rows_are_joined_from_the_bucket(folder: Path, bucket: str) -> None:
    rows = pd.concat([records(4), records(4, shift=10).assign(opened=pd.Timestamp("2018-01-01", tz="UTC"))])
    store, _ = registered(folder, bucket, contract(), rows)
    asked = pd.DataFrame(
        {
            "loan": ["L1", "L1"],
            "event_timestamp": pd.to_datetime(["2016-01-01", "2019-01-01"], utc=True),
        }
    )
    joined = store.get_historical_features(entity_df=asked, features=store.get_feature_service("loans")).to_df()

    found = joined.sort_values("event_timestamp")["children"].to_numpy(dtype=float)
    assert found.tolist() == [1, 11]


def test_a_refused_user_and_a_missing_database_are_named(
    folder: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, defined = registered(folder, bucket, contract(), records())
    monkeypatch.setenv("REDIS_PASSWORD", "wrong")
    refused = open_store(folder)
    with pytest.raises(ConfigError, match=r"the online store cannot be used: .*REDIS_USERNAME and REDIS_PASSWORD"):
        publish(refused, defined, records(), "opened", "one")
    text = (folder / "feature_store.yaml").read_text()
    (folder / "feature_store.yaml").write_text(text.replace(":///registry", ":///nosuch"))
    with pytest.raises(ConfigError, match=r"the feature registry cannot be used: .*does not exist"):
        register(open_store(folder), defined)
