"""Validate: records obey the contract's schema, and do not look like another table than last time."""

import logging
from pathlib import Path

import pandas as pd
from pandera.errors import SchemaErrors
from pydantic import BaseModel, ConfigDict, ValidationError

from components.validate.profile import Profile, distance, profile
from components.validate.schema import schema
from core import storage
from core.contract import DataContract
from core.errors import ConfigError, DataError, StorageError

logger = logging.getLogger("falaj.validate")

BROKEN = 0.8
"""A distance above which a column has next to nothing in common with last time: another unit or another
column, not drift. Numbers that all fall beyond the last decile of a column without gaps are at 0.87."""


class ValidationReport(BaseModel):
    """`distances` are from the previous run's profile, by column; empty where there was none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    distances: dict[str, float]
    drifted: tuple[str, ...]
    warnings: tuple[str, ...]
    profile: Profile


def validate(contract: DataContract, records: Path, profiles_uri: str, out_report: Path) -> ValidationReport:
    """Check records against the contract and against the previous valid run.

    A change beyond the contract's drift limit is a warning: a new period may differ, and training on it is
    the remedy. A distance above `BROKEN` is an error, unless the contract's version was raised since, which
    says that the change is meant. The new profile replaces the old one only when all is well.

    Args:
        records: What ingest wrote.
        profiles_uri: A path or an address in a bucket, below which `<contract.name>.json` is kept.
        out_report: JSON file to write.

    Raises:
        DataError: The records break the schema, a column is another than last time, or the previous
            profile is damaged.
        ConfigError: The profiles cannot be read or written.
    """
    rows = pd.read_parquet(records)
    _check_schema(contract, rows)
    uri = f"{profiles_uri.rstrip('/')}/{contract.name}.json"
    past = _previous(uri)
    present = profile(contract, rows)
    distances = {
        name: found
        for name, column in (past.columns if past else {}).items()
        if name in present.columns and (found := distance(column, rows[name])) is not None
    }
    limit = contract.drift.limit
    drifted = tuple(name for name, found in distances.items() if found > limit)
    report = ValidationReport(
        rows=len(rows),
        distances=distances,
        drifted=drifted,
        warnings=(
            *_plain_warnings(present),
            *(f"{name}: distance {distances[name]:.3f} from the last run, limit {limit:g}" for name in drifted),
        ),
        profile=present,
    )
    out_report.write_text(report.model_dump_json(indent=2) + "\n")
    broken = [name for name in drifted if distances[name] > max(BROKEN, limit)]
    if past and broken and past.contract_version == contract.version:
        raise DataError(
            f"{', '.join(broken)} of {contract.name} have next to nothing in common with the last run (distance above "
            f"{max(BROKEN, limit):g}): mend the data or, where the change is meant, raise the contract's version"
        )
    try:
        storage.write(uri, present.model_dump_json(indent=2).encode())
    except StorageError as error:
        raise ConfigError(f"the profile cannot be written: {error}; mend FALAJ_PROFILES") from error
    return report


def _check_schema(contract: DataContract, rows: pd.DataFrame) -> None:
    try:
        schema(contract).validate(rows, lazy=True)
    except SchemaErrors as error:
        # Failure cases quote values, which may be about a person: say which check, and how often.
        cases = error.failure_cases
        cases["column"] = cases["column"].where(cases["schema_context"] == "Column", "the table")
        counts = cases.groupby(["column", "check"], sort=True).size()
        faults = "\n".join(f"  {column}: {check}: {count}" for (column, check), count in counts.items())
        raise DataError(
            f"the records of {contract.name} break its contract: ingest them again with the contract they are "
            f"checked against\n{faults}"
        ) from None


def _previous(uri: str) -> Profile | None:
    try:
        text = storage.read(uri)
        return None if text is None else Profile.model_validate_json(text)
    except ValidationError:
        raise DataError(f"the last run's profile {uri} is damaged: delete it to start afresh") from None
    except StorageError as error:
        raise ConfigError(f"the last run's profile cannot be read: {error}; mend FALAJ_PROFILES") from error


def _plain_warnings(present: Profile) -> list[str]:
    warnings = []
    for name, column in present.columns.items():
        if column.distinct == 0:
            warnings.append(f"{name}: empty in every row")
        elif column.distinct == 1:
            warnings.append(f"{name}: the same in every row")
        elif column.missing > 0.5:
            warnings.append(f"{name}: missing in {column.missing:.0%} of the rows")
    return warnings
