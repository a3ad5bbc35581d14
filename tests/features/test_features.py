"""Definitions, registration and publishing, up to Feast's own server reading what was published."""

import contextlib
import itertools
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml
from feast import FeatureStore, FileSource, ValueType
from feast.types import Float32, Int64, String

import features.online as online_module
from core.contract import DataContract, parse_contract
from core.errors import ConfigError, ContractError
from features.definitions import Definitions, definitions
from features.online import Published, publish
from features.store import open_store, register
from rehearsal.ports import free_ports


def contract(name: str = "loans", **entity: Any) -> DataContract:
    number = {"type": "float", "role": "feature", "nullable": True, "description": "k"}
    document: dict[str, Any] = {
        "name": name,
        "version": 1,
        "title": "Loans",
        "description": "Whether a loan is repaid.",
        "owner": {"team": "credit", "contact": "credit@example.ae"},
        "task": "binary_classification",
        "columns": {
            "loan": {"type": "string", "role": "entity", "description": "Number"} | entity,
            "opened": {"type": "timestamp", "role": "event_time", "description": "Day"},
            "income": number,
            "children": {"type": "integer", "role": "feature", "description": "Children"},
            "home": {"type": "category", "role": "feature", "values": ["own", "rent"], "description": "Home"},
            "region": {"type": "category", "role": "feature", "values": [1, 2], "description": "Region"},
            "repaid": {"type": "category", "role": "target", "values": [0, 1], "description": "Repaid"},
        },
        "purpose": {"id": "credit_risk", "version": 1, "description": "Decide on loans."},
        "lawful_basis": "not_personal",
        "retention": {"days": 30},
        "automated_decision": {"high_impact": False, "human_review": False},
        "training": {},
        "quality": {"roc_auc": {"min": 0.6}},
        "drift": {"limit": 0.1},
    }
    return parse_contract(yaml.safe_dump(document, sort_keys=False))


def records(count: int = 3, shift: int = 0) -> pd.DataFrame:
    numbers = np.arange(count)
    return pd.DataFrame(
        {
            "loan": [f"L{number}" for number in numbers],
            "opened": pd.Timestamp("2015-07-01", tz="UTC") + pd.to_timedelta(numbers, unit="h"),
            "income": np.where(numbers % 3 == 1, np.nan, numbers + 0.5 + shift),
            "children": numbers + shift,
            "home": pd.Series(np.where(numbers % 2, "rent", "own"), dtype="string"),
            "region": numbers % 2 + 1,
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "feature_store.yaml").write_text(
        yaml.safe_dump(
            {
                "project": "falaj",
                "provider": "local",
                "registry": {"registry_type": "sql", "path": f"sqlite:///{tmp_path}/registry.db"},
                "online_store": {"type": "features.packed.PackedOnlineStore", "path": str(tmp_path / "online.db")},
                "offline_store": {"type": "dask"},
                "entity_key_serialization_version": 3,
            }
        )
    )
    return tmp_path


def registered(folder: Path, agreed: DataContract, rows: pd.DataFrame) -> tuple[FeatureStore, Definitions]:
    path = folder / f"{agreed.name}.parquet"
    rows.to_parquet(path, index=False)
    store, defined = open_store(folder), definitions(agreed, str(path))
    register(store, defined)
    return store, defined


def published(folder: Path, rows: pd.DataFrame, digest: str = "one") -> Published:
    store, defined = registered(folder, contract(), rows)
    return publish(store, defined, rows, "opened", digest)


def online(folder: Path, *loans: str) -> dict[str, list[Any]]:
    store = open_store(folder)
    response = store.get_online_features(store.get_feature_service("loans"), [{"loan": loan} for loan in loans])
    return dict(response.to_dict())


def online_cells(folder: Path) -> list[dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(folder / "online.db")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM falaj_loans")]


def test_definitions_follow_the_contract() -> None:
    defined = definitions(contract(), "/data/features.parquet")

    assert (defined.entity.name, defined.entity.join_key) == ("loan", "loan")
    assert defined.entity.value_type is ValueType.STRING
    assert (defined.view.name, defined.service.name) == ("loans", "loans")
    assert [(field.name, field.dtype) for field in defined.view.features] == [
        ("income", Float32),
        ("children", Int64),
        ("home", String),
        ("region", Int64),
    ]
    assert isinstance(defined.view.batch_source, FileSource)
    assert defined.view.batch_source.path == "/data/features.parquet"
    assert defined.view.batch_source.timestamp_field == "opened"
    assert not defined.view.ttl


def test_an_integer_entity_stays_one_unless_it_is_hashed() -> None:
    assert definitions(contract(type="integer"), "x").entity.value_type is ValueType.INT64
    personal = contract(type="integer").model_copy(update={"lawful_basis": "contract"})
    assert definitions(personal, "x").entity.value_type is ValueType.STRING


def test_a_missing_or_broken_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"feature_store\.yaml is missing"):
        open_store(tmp_path)
    (tmp_path / "feature_store.yaml").write_text("project: falaj\nonline_store: {type: nosuch}\n")
    with pytest.raises(ConfigError, match=r"feature_store\.yaml does not open"):
        open_store(tmp_path)


def test_an_entity_of_two_types_is_refused(folder: Path) -> None:
    registered(folder, contract(), records())

    with pytest.raises(ContractError, match=r"entity loan is STRING .* INT64 in leases"):
        registered(folder, contract("leases", type="integer"), records().assign(loan=[1, 2, 3]))
    assert [view.name for view in open_store(folder).list_feature_views()] == ["loans"]


def test_two_contracts_live_side_by_side(folder: Path) -> None:
    registered(folder, contract(), records())
    registered(folder, contract("leases"), records())

    assert sorted(view.name for view in open_store(folder).list_feature_views()) == ["leases", "loans"]


def test_feast_reads_back_what_was_published(folder: Path) -> None:
    assert published(folder, records()) == Published(entities=3, unchanged=False, removed=0)

    assert online(folder, "L0", "L1", "L2", "L9") == {
        "loan": ["L0", "L1", "L2", "L9"],
        "income": [0.5, None, 2.5, None],
        "children": [0, 1, 2, None],
        "home": ["own", "rent", "own", None],
        "region": [1, 2, 1, None],
    }


def test_the_rows_are_those_that_feast_itself_writes(folder: Path) -> None:
    rows = records()
    published(folder, rows)
    select = "SELECT * FROM falaj_loans ORDER BY 1"
    with contextlib.closing(sqlite3.connect(folder / "online.db")) as connection:
        ours = connection.execute(select).fetchall()
        connection.execute("DELETE FROM falaj_loans")
        connection.commit()
        open_store(folder).write_to_online_store("loans", rows)
        theirs = connection.execute(select).fetchall()

    assert len(ours) == 3
    assert ours == theirs


def test_the_newest_record_of_an_entity_is_online(folder: Path) -> None:
    older = records(shift=10).assign(opened=pd.Timestamp("2001-01-01", tz="UTC"))
    newer = records(shift=20).assign(opened=pd.Timestamp("2020-01-01", tz="UTC"))

    published(folder, pd.concat([records(), newer, older]))

    assert online(folder, "L0", "L1")["children"] == [20, 21]


def test_the_same_records_are_not_written_again(folder: Path) -> None:
    published(folder, records())

    assert published(folder, records()) == Published(entities=3, unchanged=True, removed=0)
    assert not published(folder, records(), digest="two").unchanged


def test_a_store_that_was_emptied_is_filled_again(folder: Path) -> None:
    published(folder, records())
    with contextlib.closing(sqlite3.connect(folder / "online.db")) as connection:
        connection.execute("DELETE FROM falaj_loans WHERE home = 'own'")
        connection.commit()

    assert not published(folder, records()).unchanged
    assert online(folder, "L0")["home"] == ["own"]


def test_who_is_no_more_in_the_records_is_removed_from_the_file_as_well(folder: Path) -> None:
    rows = records(2000).assign(loan=[f"loan-{number:06d}" for number in range(2000)])
    published(folder, rows)
    gone = [f"loan-{number:06d}" for number in range(0, 2000, 100)]
    assert all(loan.encode() in (folder / "online.db").read_bytes() for loan in gone)

    kept = rows[~rows["loan"].isin(gone)]
    assert published(folder, kept, digest="two") == Published(entities=1980, unchanged=False, removed=80)

    assert online(folder, "loan-000100", "loan-000101")["children"] == [None, 101]
    assert not any(loan.encode() in (folder / "online.db").read_bytes() for loan in gone)


def test_changed_and_added_records_replace_the_old(folder: Path) -> None:
    published(folder, records())

    published(folder, records(5, shift=7), digest="two")

    assert online(folder, "L0", "L4")["children"] == [7, 11]


def test_a_feature_that_left_the_contract_leaves_the_store(folder: Path) -> None:
    published(folder, records())
    columns = contract().model_dump(mode="json")
    del columns["columns"]["home"]
    rows = records().drop(columns="home")
    store, defined = registered(folder, DataContract.model_validate(columns), rows)

    # Whoever serves the former contract goes on until the new one is published.
    assert online_cells(folder)[0].keys() == {"@key", "@time", "children", "home", "income", "region"}
    assert publish(store, defined, rows, "opened", "two").removed == 3
    assert [row.keys() for row in online_cells(folder)] == [{"@key", "@time", "children", "income", "region"}] * 3


def test_a_feature_that_joins_the_contract_is_missing_until_it_is_published(folder: Path) -> None:
    columns = contract().model_dump(mode="json")
    del columns["columns"]["home"]
    rows = records().drop(columns="home")
    store, defined = registered(folder, DataContract.model_validate(columns), rows)
    publish(store, defined, rows, "opened", "one")

    registered(folder, contract(), records())
    assert online(folder, "L0")["home"] == [None]
    assert published(folder, records(), "two") == Published(3, unchanged=False, removed=0)
    assert online(folder, "L0")["home"] == ["own"]


def test_a_file_of_feasts_own_store_is_taken_over(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "online.db")) as connection:
        connection.execute("CREATE TABLE falaj_loans (entity_key BLOB, feature_name TEXT, value BLOB)")
        connection.execute("INSERT INTO falaj_loans VALUES ('k', 'home', 'v')")
        connection.commit()

    assert published(folder, records()) == Published(3, unchanged=False, removed=0)
    assert len(online_cells(folder)) == 3


def test_a_failure_half_way_leaves_the_old_records(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(folder, records(50))
    written = online_module._rows

    def torn(*arguments: Any) -> Iterator[Any]:
        yield from itertools.islice(written(*arguments), 25)
        raise KeyboardInterrupt

    monkeypatch.setattr(online_module, "_rows", torn)
    with pytest.raises(KeyboardInterrupt):
        published(folder, records(50, shift=100), digest="two")
    monkeypatch.undo()

    assert online(folder, "L0", "L49")["children"] == [0, 49]
    published(folder, records(50, shift=100), digest="two")
    assert online(folder, "L0", "L49")["children"] == [100, 149]


def test_another_kind_of_online_store_is_refused(folder: Path) -> None:
    store, defined = registered(folder, contract(), records())
    store.config.online_store.type = "dynamodb"

    with pytest.raises(ConfigError, match=r"type is dynamodb: use features\.packed\.PackedOnlineStore or redis"):
        publish(store, defined, records(), "opened", "one")


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    """Feast's own feature server over the folder's store."""
    published(folder, records(500))
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "feast.cli.cli", "-c", str(folder), "serve", "-h", "127.0.0.1", "-p", str(port)]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen([*command, "--no-access-log"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "serve.log").read_text()
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/health").is_success:
                    break
            threading.Event().wait(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def ask(url: str, *loans: str) -> dict[str, list[Any]]:
    response = httpx.post(
        f"{url}/get-online-features",
        json={"feature_service": "loans", "entities": {"loan": list(loans)}},
        timeout=30,
    )
    assert response.is_success, response.text
    answer = response.json()
    return {
        name: result["values"]
        for name, result in zip(answer["metadata"]["feature_names"], answer["results"], strict=True)
    }


def test_feast_serves_one_state_or_the_other_while_a_new_one_is_published(server: str, folder: Path) -> None:
    loans = [f"L{number}" for number in range(20)]
    before = ask(server, *loans)
    assert before["children"] == list(range(20))
    assert before["income"][:3] == [0.5, None, 2.5]
    done = threading.Event()
    seen: list[list[int]] = []

    def read() -> None:
        while not done.is_set():
            seen.append(ask(server, *loans)["children"])

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for shift in range(1, 6):
            published(folder, records(20_000, shift=shift * 1000), digest=str(shift))
    finally:
        done.set()
        reader.join()

    states = [list(range(shift * 1000, shift * 1000 + 20)) for shift in range(6)]
    assert all(state in states for state in seen)
    assert ask(server, *loans)["children"] == states[-1]
