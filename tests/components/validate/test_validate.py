import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from components.records import dtypes
from components.validate.profile import SMALLEST_CELL, Numbers, distance, profile
from components.validate.step import ValidationReport, validate
from core.contract import DataContract, parse_contract
from core.errors import ConfigError, DataError

COUNT = 1000


def contract(**changes: Any) -> DataContract:
    document: dict[str, Any] = {
        "name": "loans",
        "version": 1,
        "title": "Loans",
        "description": "Whether a loan is repaid.",
        "owner": {"team": "credit", "contact": "credit@example.ae"},
        "task": "binary_classification",
        "columns": {
            "customer": {"type": "string", "role": "entity", "personal": True, "description": "Number"},
            "applied": {"type": "timestamp", "role": "event_time", "description": "Time"},
            "income": {"type": "float", "role": "feature", "min": 0, "nullable": True, "description": "k"},
            "children": {"type": "integer", "role": "feature", "min": 0, "max": 20, "description": "Children"},
            "home": {"type": "category", "role": "feature", "values": ["own", "rent", "other"], "description": "Home"},
            "repaid": {"type": "category", "role": "target", "values": [0, 1], "description": "Repaid"},
        },
        "purpose": {"id": "credit_risk", "version": 1, "description": "Decide on loans."},
        "lawful_basis": "contract",
        "retention": {"days": 30},
        "automated_decision": {"high_impact": False, "human_review": False},
        "training": {},
        "quality": {"roc_auc": {"min": 0.6}},
        "drift": {"limit": 0.1},
    }
    return parse_contract(yaml.safe_dump(document | changes, sort_keys=False))


def records(seed: int = 0, count: int = COUNT) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "customer": [f"{number:032x}" for number in range(count)],
            "applied": pd.Timestamp("2025-01-01", tz="UTC"),
            "income": np.where(random.random(count) < 0.1, np.nan, random.gamma(2, 5, count)),
            "children": random.integers(0, 5, count),
            "home": random.choice(["own", "rent"], count),
            "repaid": random.integers(0, 2, count),
        }
    ).astype(dtypes(contract()))


def run(folder: Path, rows: pd.DataFrame, **changes: Any) -> ValidationReport:
    rows.to_parquet(folder / "records.parquet", index=False)
    return validate(contract(**changes), folder / "records.parquet", str(folder / "profiles"), folder / "report.json")


def test_the_first_run_has_nothing_to_compare_with(tmp_path: Path) -> None:
    report = run(tmp_path, records())

    assert report.distances == {}
    assert report.warnings == ()
    assert report.rows == COUNT
    assert ValidationReport.model_validate_json((tmp_path / "report.json").read_text()) == report
    assert json.loads((tmp_path / "profiles" / "loans.json").read_text()) == report.profile.model_dump(mode="json")


def test_the_same_rows_are_at_no_distance_and_a_like_sample_is_near(tmp_path: Path) -> None:
    run(tmp_path, records())

    assert set(run(tmp_path, records()).distances.values()) == {0.0}
    assert max(run(tmp_path, records(seed=1)).distances.values()) < 0.08


def test_drift_is_a_warning_and_becomes_the_new_profile(tmp_path: Path) -> None:
    run(tmp_path, records())
    moved = records()
    moved["income"] *= 2

    report = run(tmp_path, moved)

    assert report.drifted == ("income",)
    assert report.distances["income"] > 0.1
    assert len(report.warnings) == 1
    assert report.warnings[0].startswith("income: distance 0.")
    assert run(tmp_path, moved).drifted == ()


def test_a_column_with_nothing_in_common_stops_until_the_version_is_raised(tmp_path: Path) -> None:
    run(tmp_path, records())
    other = records()
    other["income"] = other["income"] * 0 + 1e6
    other["home"] = pd.Series(["other"] * COUNT, dtype="string")

    for _ in range(2):
        with pytest.raises(
            DataError, match=r"income, home of loans have next to nothing in common .* raise the contract's"
        ):
            run(tmp_path, other)
    assert json.loads((tmp_path / "report.json").read_text())["drifted"] == ["income", "home"]

    assert run(tmp_path, other, version=2).drifted == ("income", "home")
    assert run(tmp_path, other, version=2).drifted == ()


def test_a_change_in_missing_values_is_drift(tmp_path: Path) -> None:
    run(tmp_path, records())
    holed = records()
    holed.loc[::2, "income"] = np.nan

    assert run(tmp_path, holed).drifted == ("income",)


def test_empty_constant_and_mostly_missing_columns_are_warnings(tmp_path: Path) -> None:
    rows = records()
    rows["children"] = 3
    rows["income"] = np.where(rows.index < COUNT * 3 // 4, np.nan, rows.index.to_numpy())

    assert run(tmp_path, rows).warnings == (
        "income: missing in 75% of the rows",
        "children: the same in every row",
    )
    rows["income"] = np.nan
    assert "income: empty in every row" in run(tmp_path, rows).warnings


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("customer", "784-1990-1234567-1", "customer: not a pseudonym: 1"),
        ("income", -1.0, "income: greater_than_or_equal_to(0.0): 1"),
        ("children", 21, "children: less_than_or_equal_to(20.0): 1"),
        ("home", "tent", "home: isin("),
        ("repaid", 2, "repaid: isin("),
    ],
)
def test_a_value_that_breaks_the_schema_is_counted_and_not_quoted(
    tmp_path: Path, column: str, value: str | float, told: str
) -> None:
    rows = records()
    rows.loc[7, column] = value

    with pytest.raises(DataError) as caught:
        run(tmp_path, rows)

    assert told in str(caught.value)
    assert "784-1990" not in str(caught.value)
    assert not (tmp_path / "profiles").exists()


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (records().drop(columns="home"), "column_in_dataframe"),
        (records().assign(note="x"), "column_in_schema"),
        (records()[list(reversed(records().columns))], "column_ordered"),
        (records().astype({"children": "float64"}), "children: dtype('int64')"),
        (records().assign(home=None).astype({"home": "string"}), "home: not_nullable"),
        (pd.concat([records(), records()]), "multiple_fields_uniqueness"),
    ],
    ids=["missing", "extra", "order", "type", "null", "duplicate"],
)
def test_a_table_of_another_shape_breaks_the_schema(tmp_path: Path, rows: pd.DataFrame, told: str) -> None:
    with pytest.raises(DataError) as caught:
        run(tmp_path, rows)

    assert told in str(caught.value)


def test_a_damaged_profile_is_named(tmp_path: Path) -> None:
    run(tmp_path, records())
    (tmp_path / "profiles" / "loans.json").write_text("{")

    with pytest.raises(DataError, match=r"loans\.json is damaged: delete it"):
        run(tmp_path, records())


def test_profiles_that_cannot_be_kept_are_named(tmp_path: Path) -> None:
    (tmp_path / "profiles").write_text("a file")

    with pytest.raises(ConfigError, match="FALAJ_PROFILES"):
        run(tmp_path, records())


def test_a_new_column_has_no_past(tmp_path: Path) -> None:
    run(tmp_path, records())
    columns = contract().model_dump(mode="json")["columns"]
    columns["age"] = {"type": "integer", "role": "feature", "description": "Age"}
    rows = records().assign(age=np.arange(COUNT))[list(columns)]

    assert "age" not in run(tmp_path, rows, columns=columns).distances
    assert "age" in run(tmp_path, rows, columns=columns).distances


def test_no_count_below_the_smallest_cell_can_be_read_from_a_profile() -> None:
    rows = records()
    rows["home"] = pd.Series(["own"] * (COUNT - 3) + ["rent"] * 2 + ["other"], dtype="string")
    rows["income"] = [np.nan] * 3 + [0.0] * 4 + [5.0] * (COUNT - 7)

    columns = profile(contract(), rows).columns

    assert columns["home"].distribution is not None
    assert columns["home"].distribution.model_dump() == {"kind": "categories", "shares": {"own": 1.0}, "rest": 0.0}
    assert columns["income"].missing == 0
    assert isinstance(columns["income"].distribution, Numbers)
    assert columns["income"].distribution.shares == (0.0, 1.0, 0.0)


def test_too_few_rows_have_no_profile(tmp_path: Path) -> None:
    few = records(count=SMALLEST_CELL - 1)

    report = run(tmp_path, few)

    assert all(column.distribution is None for column in report.profile.columns.values())
    assert run(tmp_path, few).distances == {}


def test_entity_and_event_time_are_not_profiled() -> None:
    assert list(profile(contract(), records()).columns) == ["income", "children", "home", "repaid"]


@given(
    past=st.lists(st.floats(0, 1e9), min_size=100, max_size=200),
    present=st.lists(st.floats(0, 1e9) | st.none(), min_size=1, max_size=200),
)
@settings(max_examples=100, deadline=None)
def test_a_distance_lies_between_0_and_1(past: list[float], present: list[float | None]) -> None:
    rows = records(count=len(past)).assign(income=past)
    column = profile(contract(), rows).columns["income"]

    found = distance(column, pd.Series(present, dtype="float64"))

    assert found is not None
    assert 0 <= found <= 1
    assert distance(column, rows["income"]) == 0
