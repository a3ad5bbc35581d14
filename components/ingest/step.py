"""Ingest: a user's file becomes records that obey the contract; what does not is kept aside with the reason."""

import datetime as dt
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from components.ingest.coerce import Coerced, as_text, coerce
from components.ingest.consent import read_register
from components.ingest.source import Source, read_source
from components.records import dtypes
from core.contract import DataContract, LawfulBasis, Role, Type, parse_contract, read_contract
from core.digest import bytes_digest
from core.errors import DataError
from core.pseudonym import Pseudonymiser

logger = logging.getLogger("falaj.ingest")

NO_CONSENT = "consent"
DUPLICATE = "duplicate"
MALFORMED = "malformed line"


@dataclass(frozen=True)
class IngestOutputs:
    """Files that ingest writes."""

    contract: Path
    records: Path
    refused: Path
    report: Path


class IngestReport(BaseModel):
    """Counts and digests of one ingest; no personal data.

    `refused` counts the rows by reason; a row with several reasons counts under each, so the sum may exceed
    `rows_refused`. Malformed lines of a CSV count as read and refused, but cannot be kept aside.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_read: int
    rows_kept: int
    rows_refused: int
    refused: dict[str, int]
    dropped_columns: tuple[str, ...]
    data_digest: str
    contract_digest: str
    consent_digest: str | None


def ingest(
    contract_uri: str, data_uri: str, key_file: str | Path, out: IngestOutputs, now: dt.datetime | None = None
) -> IngestReport:
    """Read a file against its contract.

    Kept rows have the contract's columns in its order: float64; int64, or Int64 where the column is
    nullable; string; datetime64[ns, UTC]. Where the contract is personal, the entity is a pseudonym.
    A refused row holds the pseudonym, its cells as text and the reasons, separated by "; "; without
    consent it holds the pseudonym and the reason alone. Of rows with the same entity and event time
    the first that obeys the contract is kept.

    Args:
        contract_uri: The contract's YAML, a path or an address in a bucket.
        data_uri: CSV or Parquet, a path or an address in a bucket.
        key_file: The pseudonym key; read only where the contract is personal.
        now: Later event times, and grants of consent, are from the future; the clock's time by default.

    Raises:
        ContractError: The contract is missing or invalid.
        ConfigError: The pseudonym key is missing or too short.
        ConsentError: Consent is needed and its register cannot be relied on.
        DataError: The file cannot be read, lacks a column, or has no row that obeys the contract.
    """
    now = now or dt.datetime.now(dt.UTC)
    text = read_contract(contract_uri)
    contract = parse_contract(text, contract_uri)
    source = read_source(data_uri, contract.columns)
    if not source.table.num_rows:
        raise DataError(f"{data_uri} holds no rows: write it again")
    logger.info("%s rows and %s columns read", source.table.num_rows, len(contract.columns))
    cells = {name: coerce(source.table[name], column) for name, column in contract.columns.items()}

    register = read_register(contract, data_uri, now) if contract.lawful_basis is LawfulBasis.CONSENT else None
    identifiers = cells[contract.entity].values.astype("string")
    agreed = (
        identifiers.isin(register.granted).to_numpy(dtype=bool) if register else np.ones(len(identifiers), dtype=bool)
    )
    faults = _faults(contract, cells, now)
    # What is no identifier by the contract is one to its owner all the same: it is hashed, or kept aside, too.
    identifiers = identifiers.fillna(as_text(source.table[contract.entity]).astype("string"))
    if contract.personal:
        pseudonym = Pseudonymiser.from_file(key_file, contract.entity)
        identifiers = pd.Series([None if pd.isna(one) else pseudonym(one) for one in identifiers], dtype="string")
    reasons = {NO_CONSENT: ~agreed, **{reason: rows & agreed for reason, rows in faults.items()}}
    reasons = {reason: rows for reason, rows in reasons.items() if rows.any()}
    bad = np.logical_or.reduce([~agreed, *reasons.values()])
    repeated = _repeated(identifiers, cells[contract.event_time].values, bad)
    if repeated.any():
        reasons[DUPLICATE] = repeated
    bad |= repeated

    report = IngestReport(
        rows_read=len(bad) + source.malformed,
        rows_kept=int((~bad).sum()),
        rows_refused=int(bad.sum()) + source.malformed,
        refused={reason: int(rows.sum()) for reason, rows in reasons.items()}
        | ({MALFORMED: source.malformed} if source.malformed else {}),
        dropped_columns=source.dropped,
        data_digest=source.digest,
        contract_digest=bytes_digest(text.encode()),
        consent_digest=register.digest if register else None,
    )
    _refused(contract, source, identifiers, reasons, bad).to_parquet(out.refused, index=False)
    out.report.write_text(report.model_dump_json(indent=2) + "\n")
    out.contract.write_text(text)
    if not report.rows_kept:
        counts = ", ".join(f"{reason}: {count}" for reason, count in report.refused.items())
        raise DataError(
            f"{data_uri}: none of the {report.rows_read} rows obeys {contract_uri} ({counts}): "
            "mend the data, the contract or the consent register"
        )
    _records(contract, cells, identifiers, bad).to_parquet(out.records, index=False)
    return report


def _faults(contract: DataContract, cells: dict[str, Coerced], now: dt.datetime) -> dict[str, NDArray[np.bool_]]:
    """(n,) masks of the rows that break a rule, by `<column>: <rule>`."""
    faults: dict[str, NDArray[np.bool_]] = {}
    for name, column in contract.columns.items():
        cell = cells[name]
        faults[f"{name}: not a {_NOUNS[column.type]}"] = cell.wrong
        if not column.nullable:
            faults[f"{name}: empty"] = cell.null
        present = ~cell.null & ~cell.wrong
        if column.min is not None:
            faults[f"{name}: below {column.min:g}"] = present & _true(cell.values < column.min)
        if column.max is not None:
            faults[f"{name}: above {column.max:g}"] = present & _true(cell.values > column.max)
        if column.values is not None:
            faults[f"{name}: not one of its values"] = present & ~_true(cell.values.isin(column.values))
        if column.role is Role.EVENT_TIME:
            faults[f"{name}: in the future"] = present & _true(cell.values > now)
    return faults


_NOUNS = {
    Type.FLOAT: "finite number",
    Type.INTEGER: "whole number",
    Type.CATEGORY: "value of its type",
    Type.STRING: "text",
    Type.TIMESTAMP: "timestamp in ISO 8601",
}


def _true(condition: "pd.Series[bool]") -> NDArray[np.bool_]:
    return condition.fillna(False).to_numpy(dtype=bool)


def _repeated(identifiers: "pd.Series[str]", times: "pd.Series[Any]", bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    rows = pd.DataFrame({"identifier": identifiers, "time": times})[~bad]
    repeated = np.zeros(len(bad), dtype=bool)
    repeated[~bad] = rows.duplicated(keep="first").to_numpy()
    return repeated


def _refused(
    contract: DataContract,
    source: Source,
    identifiers: "pd.Series[str]",
    reasons: dict[str, NDArray[np.bool_]],
    bad: NDArray[np.bool_],
) -> pd.DataFrame:
    rows = np.flatnonzero(bad)
    told: list[list[str]] = [[] for _ in rows]
    for reason, mask in reasons.items():
        for position in np.flatnonzero(mask[rows]):
            told[position].append(reason)
    withheld = reasons.get(NO_CONSENT, np.zeros(len(bad), dtype=bool))[rows]
    cells = {
        name: as_text(source.table[name].take(rows)).mask(withheld)
        for name in contract.columns
        if name != contract.entity
    }
    return pd.DataFrame(
        {contract.entity: identifiers.iloc[rows].reset_index(drop=True)}
        | cells
        | {"reason": ["; ".join(reason) for reason in told]}
    )


def _records(
    contract: DataContract, cells: dict[str, Coerced], identifiers: "pd.Series[str]", bad: NDArray[np.bool_]
) -> pd.DataFrame:
    columns = {
        name: (identifiers if contract.personal and name == contract.entity else cell.values)[~bad]
        for name, cell in cells.items()
    }
    return pd.DataFrame(columns).reset_index(drop=True).astype(dtypes(contract))
