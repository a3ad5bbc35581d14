import datetime as dt
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from components.ingest.step import IngestOutputs, IngestReport, ingest
from core.digest import file_digest
from core.errors import ConfigError, ConsentError, ContractError, DataError
from core.pseudonym import Pseudonymiser

Pseudonym = Callable[[str], str]
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
KEY = b"k" * 32


def contract() -> dict[str, Any]:
    return {
        "name": "loans",
        "version": 1,
        "title": "Loans",
        "description": "Whether a loan is repaid.",
        "owner": {"team": "credit", "contact": "credit@example.ae"},
        "task": "binary_classification",
        "columns": {
            "customer": {"type": "string", "role": "entity", "personal": True, "description": "Number"},
            "applied": {"type": "timestamp", "role": "event_time", "description": "Time"},
            "income": {"type": "float", "role": "feature", "min": 0, "max": 100, "nullable": True, "description": "k"},
            "children": {"type": "integer", "role": "feature", "min": 0, "description": "Children"},
            "home": {"type": "category", "role": "feature", "values": ["own", "rent", "NA"], "description": "Home"},
            "region": {
                "type": "category",
                "role": "feature",
                "values": [1, 2],
                "nullable": True,
                "description": "Region",
            },
            "repaid": {"type": "category", "role": "target", "values": [0, 1], "description": "Repaid"},
        },
        "purpose": {"id": "credit_risk", "version": 2, "description": "Decide on loans."},
        "lawful_basis": "consent",
        "consent": {"source": "consent.csv"},
        "retention": {"days": 30},
        "automated_decision": {"high_impact": False, "human_review": False},
        "training": {},
        "quality": {"roc_auc": {"min": 0.6}},
        "drift": {"limit": 0.1},
    }


def rows() -> pd.DataFrame:
    """As text, the way a CSV comes; all four obey the contract."""
    return pd.DataFrame(
        {
            "customer": ["007", "8", "9", "NA"],
            "applied": ["2025-01-01", "2025-01-02T03:04:05+04:00", "2025-01-03 00:00", "2025-01-04T00:00:00Z"],
            "income": ["1.5", "", "3e1", "100"],
            "children": ["0", "1.0", " 2 ", "3"],
            "home": ["own", "rent", "NA", "own"],
            "region": ["1", "2.0", "", "null"],
            "repaid": ["0", "1", "1", "0"],
        }
    )


def decisions() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subject": ["007", "8", "9", "NA"],
            "purpose": "credit_risk",
            "version": "2",
            "status": "granted",
            "time": "2024-01-01",
        }
    )


@dataclass
class Case:
    """The three files of one ingest, and the run of it."""

    folder: Path
    contract: dict[str, Any] = field(default_factory=contract)
    rows: pd.DataFrame = field(default_factory=rows)
    decisions: pd.DataFrame = field(default_factory=decisions)
    data_name: str = "data.csv"

    @property
    def out(self) -> IngestOutputs:
        folder = self.folder / "out"
        return IngestOutputs(
            folder / "contract.yaml", folder / "records.parquet", folder / "refused.parquet", folder / "report.json"
        )

    def write(self) -> None:
        (self.folder / "contract.yaml").write_text(yaml.safe_dump(self.contract, sort_keys=False))
        (self.folder / "key").write_bytes(KEY)
        self.decisions.to_csv(self.folder / "consent.csv", index=False)
        path = self.folder / self.data_name
        self.rows.to_parquet(path) if path.suffix == ".parquet" else self.rows.to_csv(path, index=False)

    def run(self) -> IngestReport:
        """Ingest the files as they lie there."""
        self.out.records.parent.mkdir(exist_ok=True)
        return ingest(
            str(self.folder / "contract.yaml"),
            str(self.folder / self.data_name),
            self.folder / "key",
            self.out,
            now=NOW,
        )

    def write_and_run(self) -> IngestReport:
        self.write()
        return self.run()

    @property
    def records(self) -> pd.DataFrame:
        return pd.read_parquet(self.out.records)

    @property
    def refused(self) -> pd.DataFrame:
        return pd.read_parquet(self.out.refused)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


@pytest.fixture
def pseudonym() -> Callable[[str], str]:
    return Pseudonymiser(KEY, "customer")


def times(rows: pd.DataFrame) -> "pd.Series[pd.Timestamp]":
    return pd.Series([pd.Timestamp(text, tz="UTC") for text in rows["applied"]])


def test_rows_come_out_typed_pseudonymised_and_in_the_contract_order(case: Case, pseudonym: Pseudonym) -> None:
    case.rows = case.rows[list(reversed(case.rows.columns))].assign(note="x")

    report = case.write_and_run()

    records = case.records
    assert dict(records.dtypes.astype(str)) == {
        "customer": "string",
        "applied": "datetime64[ns, UTC]",
        "income": "float64",
        "children": "int64",
        "home": "string",
        "region": "Int64",
        "repaid": "int64",
    }
    assert records["customer"].tolist() == [pseudonym(one) for one in ("007", "8", "9", "NA")]
    assert records["applied"].tolist() == [
        pd.Timestamp("2025-01-01", tz="UTC"),
        pd.Timestamp("2025-01-01T23:04:05", tz="UTC"),
        pd.Timestamp("2025-01-03", tz="UTC"),
        pd.Timestamp("2025-01-04", tz="UTC"),
    ]
    np.testing.assert_array_equal(records["income"], [1.5, np.nan, 30.0, 100.0])
    assert records["children"].tolist() == [0, 1, 2, 3]
    assert records["home"].tolist() == ["own", "rent", "NA", "own"]
    assert records["region"].fillna(-1).tolist() == [1, 2, -1, -1]
    assert records["repaid"].tolist() == [0, 1, 1, 0]
    assert report == IngestReport(
        rows_read=4,
        rows_kept=4,
        rows_refused=0,
        refused={},
        dropped_columns=("note",),
        data_digest=file_digest(case.folder / "data.csv"),
        contract_digest=file_digest(case.folder / "contract.yaml"),
        consent_digest=file_digest(case.folder / "consent.csv"),
    )
    assert IngestReport.model_validate_json(case.out.report.read_text()) == report
    assert case.out.contract.read_bytes() == (case.folder / "contract.yaml").read_bytes()
    assert case.refused.empty


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(lambda rows: rows, id="text"),
        pytest.param(
            lambda rows: rows.assign(
                applied=times(rows).dt.tz_convert("Asia/Dubai"),
                income=pd.to_numeric(rows["income"]),
                children=pd.to_numeric(rows["children"]).astype("int8"),
                home=rows["home"].astype("category"),
                region=[1.0, 2.0, None, None],
                repaid=[False, True, True, False],
            ),
            id="typed",
        ),
        pytest.param(
            lambda rows: rows.assign(
                applied=times(rows).dt.tz_localize(None),
                region=pd.Series([1.0, 2.0, None, None]).astype("category"),
                repaid=pd.Series([0, 1, 1, 0], dtype="category"),
                children=pd.Series([0, 1, 2, 3], dtype="Int64"),
            ),
            id="categoricals",
        ),
    ],
)
def test_parquet_gives_the_same_records_as_csv(case: Case, stored: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    case.write_and_run()
    expected = case.records
    case.rows, case.data_name = stored(case.rows), "data.parquet"

    case.write_and_run()

    pd.testing.assert_frame_equal(case.records, expected)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_a_byte_order_mark_and_gzip_are_understood(case: Case, delimiter: str) -> None:
    case.write_and_run()
    expected = case.records
    text = case.rows.to_csv(index=False, sep=delimiter, lineterminator="\r\n")
    (case.folder / "data.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    case.data_name = "data.csv.gz"

    case.run()

    pd.testing.assert_frame_equal(case.records, expected)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("income", "-0.1", "income: below 0"),
        ("income", "100.1", "income: above 100"),
        ("income", "a lot", "income: not a finite number"),
        ("income", "inf", "income: not a finite number"),
        ("children", "", "children: empty"),
        ("children", "N/A", "children: empty"),
        ("children", "1.5", "children: not a whole number"),
        ("children", "9" * 30, "children: not a whole number"),
        ("children", "-1", "children: below 0"),
        ("home", "Own", "home: not one of its values"),
        ("home", "", "home: empty"),
        ("region", "3", "region: not one of its values"),
        ("region", "one", "region: not a value of its type"),
        ("repaid", "", "repaid: empty"),
        ("applied", "", "applied: empty"),
        ("applied", "yesterday", "applied: not a timestamp in ISO 8601"),
        ("applied", "03/04/2025", "applied: not a timestamp in ISO 8601"),
        ("applied", "1735689600", "applied: not a timestamp in ISO 8601"),
        ("applied", "9999-12-31", "applied: not a timestamp in ISO 8601"),
        ("applied", "2026-01-01T00:00:01Z", "applied: in the future"),
    ],
)
def test_a_row_that_breaks_a_rule_is_kept_aside_with_the_reason(
    case: Case, pseudonym: Pseudonym, column: str, value: str, reason: str
) -> None:
    case.rows.loc[1, column] = value

    report = case.write_and_run()

    assert report.refused == {reason: 1}
    assert (report.rows_read, report.rows_kept, report.rows_refused) == (4, 3, 1)
    refused = case.refused
    assert list(refused.columns) == [*case.contract["columns"], "reason"]
    assert refused.loc[0, "customer"] == pseudonym("8")
    assert refused.loc[0, "reason"] == reason
    assert refused[column].fillna("").tolist() == [value]
    assert pseudonym("8") not in case.records["customer"].tolist()


@pytest.mark.parametrize("value", [["a"], {"a": 1}, b"\xff", dt.time(1)])
def test_a_column_of_another_kind_is_refused(case: Case, value: object) -> None:
    case.data_name = "data.parquet"
    case.rows["income"] = pd.Series([value] * 4)

    with pytest.raises(DataError, match="income: not a finite number: 4"):
        case.write_and_run()


def test_all_reasons_of_a_row_are_told(case: Case) -> None:
    case.rows.loc[1, ["income", "home"]] = ["-1", "tent"]

    report = case.write_and_run()

    assert report.rows_refused == 1
    assert case.refused.loc[0, "reason"] == "income: below 0; home: not one of its values"


def test_of_rows_with_the_same_entity_and_time_the_first_good_one_is_kept(case: Case) -> None:
    case.rows = pd.concat([case.rows.assign(children="x"), case.rows, case.rows.assign(income="2")], ignore_index=True)

    report = case.write_and_run()

    assert report.refused == {"children: not a whole number": 4, "duplicate": 4}
    assert case.records["income"].fillna(-1).tolist() == [1.5, -1, 30, 100]


def test_an_entity_may_return_at_another_time(case: Case) -> None:
    case.rows = pd.concat([case.rows, case.rows.assign(applied="2025-06-01")], ignore_index=True)

    assert case.write_and_run().rows_kept == 8


def test_lines_with_more_or_fewer_cells_are_counted(case: Case) -> None:
    case.write()
    with (case.folder / "data.csv").open("a") as file:
        file.write("10,2025-01-01,1\n11,2025-01-01,1,1,own,1,1,more\n12,2025-0")

    report = case.run()

    assert report.refused == {"malformed line": 3}
    assert (report.rows_read, report.rows_kept, report.rows_refused) == (7, 4, 3)


def test_quoted_cells_may_hold_delimiters_and_newlines(case: Case) -> None:
    case.rows["note"] = 'a, "b"\nc'

    assert case.write_and_run().rows_kept == 4


# Consent


def add(case: Case, **decision: str) -> None:
    given = {"subject": "8", "purpose": "credit_risk", "version": "2", "status": "granted", "time": "2024-06-01"}
    case.decisions = pd.concat([case.decisions, pd.DataFrame([given | decision])], ignore_index=True)


def drop(case: Case, subject: str) -> None:
    case.decisions = case.decisions[case.decisions["subject"] != subject]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ([{"status": "withdrawn"}], False),
        ([{"status": "withdrawn"}, {"time": "2024-07-01"}], True),
        ([{"time": "2024-07-01"}, {"status": "withdrawn"}], True),
        ([{"status": "withdrawn", "time": "2023-01-01"}], True),
        ([{"status": "withdrawn", "time": "2024-01-01"}], False),
        ([{"status": "withdrawn", "time": "2027-01-01"}], False),
        ([{"status": "withdrawn"}, {"time": "2027-01-01"}], False),
        ([{"status": "withdrawn", "version": "1"}], True),
        ([{"status": "withdrawn", "purpose": "marketing"}], True),
        ([{"status": "withdrawn", "subject": "08"}], True),
        ([{"status": "withdrawn", "time": "2024-06-01T01:00:00+04:00"}, {"time": "2024-05-31T22:00:00Z"}], True),
    ],
)
def test_the_latest_decision_on_purpose_and_version_counts(
    case: Case, pseudonym: Pseudonym, changes: list[dict[str, str]], kept: bool
) -> None:
    for change in changes:
        add(case, **change)

    report = case.write_and_run()

    assert (pseudonym("8") in case.records["customer"].tolist()) == kept
    assert report.refused == ({} if kept else {"consent": 1})


@pytest.mark.parametrize("change", [{"purpose": "marketing"}, {"version": "1"}, {"time": "2027-01-01"}])
def test_a_grant_of_another_purpose_version_or_of_the_future_is_none(case: Case, change: dict[str, str]) -> None:
    drop(case, "8")
    add(case, **change)

    assert case.write_and_run().refused == {"consent": 1}


def test_of_who_has_not_consented_only_pseudonym_and_reason_are_kept(case: Case, pseudonym: Pseudonym) -> None:
    drop(case, "8")
    case.rows.loc[1, ["income", "home"]] = ["-1", "tent"]

    report = case.write_and_run()

    assert report.refused == {"consent": 1}
    assert case.refused.loc[0].dropna().to_dict() == {"customer": pseudonym("8"), "reason": "consent"}


def test_a_row_without_an_identifier_has_no_consent(case: Case) -> None:
    case.rows.loc[1, "customer"] = ""

    assert case.write_and_run().refused == {"consent": 1}
    assert case.refused.loc[0].dropna().to_dict() == {"reason": "consent"}


def test_identifiers_compare_as_strings_whatever_the_files_hold(case: Case) -> None:
    case.rows = case.rows.iloc[1:3].assign(customer=[8.0, 9.0])
    case.data_name = "data.parquet"
    case.decisions = case.decisions.iloc[1:3].assign(subject=[8, 9])

    assert case.write_and_run().rows_kept == 2


def test_the_register_may_be_parquet_at_an_absolute_path(case: Case) -> None:
    path = case.folder / "elsewhere.parquet"
    case.decisions.assign(version=2, time=pd.Timestamp("2024-01-01")).to_parquet(path)
    case.contract["consent"]["source"] = str(path)

    assert case.write_and_run().rows_kept == 4


def test_without_a_register_nobody_has_consented(case: Case) -> None:
    case.write()
    (case.folder / "consent.csv").unlink()

    with pytest.raises(ConsentError, match="nobody counts as consenting"):
        case.run()
    assert not case.out.records.exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.drop(columns="status"), "lacks the columns status"),
        (lambda table: table.assign(status="yes"), "status other than granted or withdrawn"),
        (lambda table: table.assign(status=["granted"] * 3 + [""]), "1 decisions have no usable status"),
        (lambda table: table.assign(time=["2024-01-01"] * 3 + ["soon"]), "1 decisions have no usable time"),
        (lambda table: table.assign(subject=["007", "8", "9", ""]), "1 decisions have no usable subject"),
        (lambda table: table.assign(version="two"), "4 decisions have no usable version"),
        (lambda table: table.assign(purpose=""), "4 decisions have no usable purpose"),
    ],
)
def test_an_ill_formed_register_is_none(
    case: Case, spoil: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    case.decisions = spoil(case.decisions)

    with pytest.raises(ConsentError, match=message):
        case.write_and_run()


def test_a_damaged_register_is_none(case: Case) -> None:
    case.write()
    with (case.folder / "consent.csv").open("a") as file:
        file.write("8,credit_risk\n")

    with pytest.raises(ConsentError, match="1 lines have more or fewer cells"):
        case.run()
    (case.folder / "consent.csv").write_bytes(b"")
    with pytest.raises(ConsentError, match="is empty"):
        case.run()


def test_no_register_is_asked_for_on_another_basis(case: Case) -> None:
    case.contract["lawful_basis"] = "contract"
    del case.contract["consent"]
    case.write()
    (case.folder / "consent.csv").unlink()

    report = case.run()

    assert report.rows_kept == 4
    assert report.consent_digest is None


# Entities


def test_what_is_not_personal_keeps_its_identifiers_and_needs_no_key(case: Case) -> None:
    case.contract["lawful_basis"] = "not_personal"
    del case.contract["consent"]
    case.contract["columns"]["customer"] = {"type": "integer", "role": "entity", "description": "Number"}
    case.rows["customer"] = ["7", "008", "9.0", "x"]
    case.write()
    (case.folder / "key").unlink()

    report = case.run()

    assert report.refused == {"customer: not a whole number": 1}
    assert case.records["customer"].tolist() == [7, 8, 9]
    assert case.records["customer"].dtype == "int64"
    assert case.refused["customer"].tolist() == ["x"]


def test_a_personal_integer_is_hashed_in_its_plain_form_even_when_refused(case: Case, pseudonym: Pseudonym) -> None:
    case.contract["lawful_basis"] = "contract"
    del case.contract["consent"]
    case.contract["columns"]["customer"]["type"] = "integer"
    case.rows["customer"] = ["7", "008", "9.0", "Fatima"]

    case.write_and_run()

    assert case.records["customer"].tolist() == [pseudonym(one) for one in ("7", "8", "9")]
    assert case.refused["customer"].tolist() == [pseudonym("Fatima")]


def test_long_integers_keep_every_digit(case: Case, pseudonym: Pseudonym) -> None:
    case.contract["lawful_basis"] = "contract"
    del case.contract["consent"]
    case.contract["columns"]["customer"]["type"] = "integer"
    case.rows["customer"] = ["784199012345671", "784199012345672", "123456789012345678", ""]

    case.write_and_run()

    long = ["784199012345671", "784199012345672", "123456789012345678"]
    assert case.records["customer"].tolist() == [pseudonym(one) for one in long]


# What cannot be read


def test_no_row_left_is_an_error_with_the_reasons(case: Case) -> None:
    case.rows["home"] = "tent"

    with pytest.raises(DataError, match=r"none of the 4 rows .*home: not one of its values: 4"):
        case.write_and_run()
    assert len(case.refused) == 4
    assert json.loads(case.out.report.read_text())["rows_kept"] == 0
    assert not case.out.records.exists()


def test_missing_columns_are_listed_with_the_likely_typo(case: Case) -> None:
    case.rows = case.rows.rename(columns={"income": "incme", "children": "Children", "home": "dwelling"})

    with pytest.raises(DataError) as caught:
        case.write_and_run()

    assert "data.csv lacks the columns income (did you mean incme?), children (did you mean Children?), home:" in str(
        caught.value
    )


@pytest.mark.parametrize("size", [0, 3, 100, 2000])
def test_a_truncated_parquet_is_named(case: Case, size: int) -> None:
    case.data_name = "data.parquet"
    case.write()
    path = case.folder / "data.parquet"
    path.write_bytes(path.read_bytes()[:size])

    with pytest.raises(DataError, match=r"data\.parquet .*write it again"):
        case.run()


def test_a_parquet_damaged_within_is_named(case: Case) -> None:
    case.data_name = "data.parquet"
    case.write()
    path = case.folder / "data.parquet"
    data = bytearray(path.read_bytes())
    data[4:60] = bytes(56)
    path.write_bytes(data)

    with pytest.raises(DataError, match=r"data\.parquet is not a whole Parquet file"):
        case.run()


def test_a_truncated_gzip_is_named(case: Case) -> None:
    case.data_name = "data.csv.gz"
    case.write()
    path = case.folder / "data.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(DataError, match=r"data\.csv\.gz is cut short"):
        case.run()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"customer,applied,income,children,home,region,repaid\n", "holds no rows"),
        (b'customer,applied,income,children,home,region,repaid\n"7,Fatima,1,1,own,1,1\n', "obeys|open quote|no rows"),
        (b"customer,applied,income,children,home,region,repaid\n7,\xe9,1,1,own,1,1\n", "UTF-8"),
        (b"customer,applied,income,children,home,region,repaid,home\n7,2025-01-01,1,1,own,1,1,own\n", "more than once"),
    ],
)
def test_a_spoilt_csv_is_named_without_quoting_it(case: Case, content: bytes, message: str) -> None:
    case.write()
    (case.folder / "data.csv").write_bytes(content)

    with pytest.raises(DataError, match=message) as caught:
        case.run()
    assert "data.csv" in str(caught.value)
    assert "Fatima" not in str(caught.value)


@pytest.mark.parametrize("name", ["none.csv", "data.xlsx", "folder.csv"])
def test_what_is_no_readable_file_is_named(case: Case, name: str) -> None:
    case.write()
    (case.folder / "folder.csv").mkdir()
    case.data_name = name

    with pytest.raises(DataError, match=name):
        case.run()


def test_an_unknown_protocol_and_a_missing_contract_are_named(case: Case) -> None:
    case.write()
    with pytest.raises(DataError, match="nosuch://"):
        ingest(str(case.folder / "contract.yaml"), "nosuch://bucket/data.csv", case.folder / "key", case.out)
    with pytest.raises(ContractError, match=r"none\.yaml"):
        ingest(str(case.folder / "none.yaml"), str(case.folder / "data.csv"), case.folder / "key", case.out)


def test_a_missing_key_is_named(case: Case) -> None:
    case.write()
    (case.folder / "key").unlink()

    with pytest.raises(ConfigError, match="pseudonym key"):
        case.run()


def test_a_quarter_of_a_million_rows_take_seconds(case: Case) -> None:
    count = 277_000
    random = np.random.default_rng(0)
    case.contract["columns"] |= {
        f"code{number}": {"type": "category", "role": "feature", "values": [1, 2, 3, 4], "description": "Code"}
        for number in range(12)
    }
    data: dict[str, Any] = {f"code{number}": random.integers(1, 6, count) for number in range(12)}
    case.rows = pd.concat([case.rows] * (count // 4), ignore_index=True).assign(
        customer=np.arange(count).astype(str), **data
    )
    case.decisions = pd.DataFrame({"subject": case.rows["customer"]}).assign(
        purpose="credit_risk", version=2, status="granted", time="2024-01-01"
    )
    case.write()
    started = dt.datetime.now(dt.UTC)

    report = case.run()

    assert 0 < report.rows_kept < count
    assert dt.datetime.now(dt.UTC) - started < dt.timedelta(seconds=30)
