from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from components.featurize import step
from components.featurize.step import FeaturizeReport, featurize
from components.records import dtypes
from core.contract import DataContract, parse_contract
from core.errors import ConfigError, DataError
from features.store import open_store


def contract(**training: Any) -> DataContract:
    document: dict[str, Any] = {
        "name": "loans",
        "version": 1,
        "title": "Loans",
        "description": "Whether a loan is repaid.",
        "owner": {"team": "credit", "contact": "credit@example.ae"},
        "task": "binary_classification",
        "columns": {
            "customer": {"type": "string", "role": "entity", "description": "Number"},
            "repaid": {"type": "category", "role": "target", "values": [0, 1], "description": "Repaid"},
            "event_timestamp": {"type": "timestamp", "role": "event_time", "description": "Time"},
            "sex": {"type": "category", "role": "group", "values": ["f", "m"], "description": "Sex"},
            "balance": {"type": "float", "role": "feature", "nullable": True, "description": "AED"},
            "children": {"type": "integer", "role": "feature", "nullable": True, "description": "Children"},
            "home": {"type": "category", "role": "feature", "values": ["own", "rent"], "description": "Home"},
        },
        "purpose": {"id": "credit_risk", "version": 1, "description": "Decide on loans."},
        "lawful_basis": "not_personal",
        "retention": {"days": 30},
        "automated_decision": {"high_impact": False, "human_review": False},
        "training": training,
        "quality": {"roc_auc": {"min": 0.6}},
        "fairness": {"limits": {"demographic_parity_difference": 0.2}},
        "drift": {"limit": 0.1},
    }
    return parse_contract(yaml.safe_dump(document, sort_keys=False))


def records(times: int = 4, customers: int = 3) -> pd.DataFrame:
    """Each customer at several days; `balance` tells customer and day, so a leaked value would show."""
    rows = [
        {
            "customer": f"C{customer}",
            "repaid": (customer + day) % 2,
            "event_timestamp": pd.Timestamp("2025-01-01", tz="UTC") + pd.Timedelta(days=day),
            "sex": "fm"[customer % 2],
            "balance": None if day == 1 else customer * 1000 + day,
            "children": None if day == 2 else customer,
            "home": ["own", "rent"][day % 2],
        }
        for day in reversed(range(times))
        for customer in range(customers)
    ]
    return pd.DataFrame(rows).astype(dtypes(contract()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "feature_store.yaml").write_text(
        yaml.safe_dump(
            {
                "project": "falaj",
                "provider": "local",
                "registry": str(tmp_path / "registry.db"),
                "online_store": {"type": "features.packed.PackedOnlineStore", "path": "online.db"},
                "offline_store": {"type": "dask"},
                "entity_key_serialization_version": 3,
            }
        )
    )
    return tmp_path


def run(folder: Path, rows: pd.DataFrame, **training: Any) -> tuple[FeaturizeReport, pd.DataFrame]:
    rows.to_parquet(folder / "records.parquet", index=False)
    report = featurize(
        contract(**training), folder / "records.parquet", folder, str(folder / "offline"), folder / "training.parquet"
    )
    return report, pd.read_parquet(folder / "training.parquet")


def expected(rows: pd.DataFrame) -> pd.DataFrame:
    order = ["customer", "event_timestamp", "balance", "children", "home", "sex", "repaid"]
    return rows[order].sort_values(["customer", "event_timestamp"], ignore_index=True)


def test_training_rows_have_the_features_of_their_own_time(folder: Path) -> None:
    report, training = run(folder, records())

    pd.testing.assert_frame_equal(training, expected(records()))
    assert report == FeaturizeReport(
        rows_offline=12, entities_online=3, online_unchanged=False, removed_cells=0, rows_training=12
    )


def test_no_value_leaks_from_the_future(folder: Path) -> None:
    """Asked at a time between two records, the join gives the older one; before the first, none."""
    run(folder, records())
    store = open_store(folder)
    asked = pd.DataFrame(
        {
            "customer": ["C0", "C0", "C2", "C2"],
            "event_timestamp": pd.to_datetime(
                ["2025-01-01T00:00", "2025-01-03T23:59", "2025-01-04T12:00", "2025-01-02T00:00"], utc=True
            ),
        }
    )

    joined = store.get_historical_features(asked, store.get_feature_service("loans")).to_df()

    joined = joined.sort_values(["customer", "event_timestamp"])
    assert joined["balance"].fillna(-1).tolist() == [0, 2, -1, 2003]


@pytest.mark.parametrize(("until", "days"), [("2025-01-03", 2), ("2025-01-04", 3), ("2026-01-01", 4)])
def test_rows_from_until_on_do_not_train_and_are_served(folder: Path, until: str, days: int) -> None:
    report, training = run(folder, records(), until=until)

    before = records().query("event_timestamp < @pd.Timestamp(@until, tz='UTC')")
    pd.testing.assert_frame_equal(training, expected(before))
    assert report.rows_offline == 12
    assert report.rows_training == days * 3
    store = open_store(folder)
    online = store.get_online_features(store.get_feature_service("loans"), [{"customer": "C1"}]).to_dict()
    assert (online["balance"], online["children"], online["home"]) == ([1003], [1], ["rent"])


def test_no_row_before_until_is_an_error(folder: Path) -> None:
    with pytest.raises(DataError, match=r"before 2024-01-01: set training\.until later"):
        run(folder, records(), until="2024-01-01")
    assert not (folder / "offline").exists()


def test_the_same_records_are_published_once(folder: Path) -> None:
    _, first = run(folder, records())
    report, second = run(folder, records())

    assert report.online_unchanged
    pd.testing.assert_frame_equal(first, second)


def test_the_offline_file_is_replaced_whole(folder: Path) -> None:
    run(folder, records())
    run(folder, records(customers=2))

    offline = pd.read_parquet(folder / "offline" / "loans" / "features.parquet")
    assert list(offline.columns) == ["customer", "event_timestamp", "balance", "children", "home"]
    assert sorted(set(offline["customer"])) == ["C0", "C1"]
    assert [path.name for path in (folder / "offline" / "loans").iterdir()] == ["features.parquet"]


def test_a_join_in_parts_gives_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole = run(folder, records(times=9, customers=5))
    monkeypatch.setattr(step, "_PAIRS", 50)

    _, parts = run(folder, records(times=9, customers=5))

    pd.testing.assert_frame_equal(parts, whole)


def test_an_offline_store_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "offline").write_text("a file")

    with pytest.raises(ConfigError, match="FALAJ_OFFLINE_STORE"):
        run(folder, records())
