"""A small use case about people, with consent, whose files each test may spoil."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from components.ingest.step import IngestOutputs, IngestReport, ingest
from core.pseudonym import Pseudonymiser

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
