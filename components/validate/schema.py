"""The pandera schema of records.parquet, made from the contract."""

import pandera.pandas as pa

from components.records import dtypes
from core.contract import Column, DataContract

_PSEUDONYM = r"^[0-9a-f]{32}$"


def schema(contract: DataContract) -> pa.DataFrameSchema:
    """Columns of the contract in its order and no others, each with its type, range, values and nulls;
    entity and event time together are unique, and a personal entity is a pseudonym."""
    columns = {
        name: pa.Column(dtype, checks=_checks(contract.columns[name]), nullable=contract.columns[name].nullable)
        for name, dtype in dtypes(contract).items()
    }
    if contract.personal:
        entity = columns[contract.entity]
        entity.checks = [pa.Check.str_matches(_PSEUDONYM, error="not a pseudonym")]
    return pa.DataFrameSchema(
        columns, strict=True, ordered=True, unique=[contract.entity, contract.event_time], name=contract.name
    )


def _checks(column: Column) -> list[pa.Check]:
    checks = []
    if column.min is not None:
        checks.append(pa.Check.ge(column.min))
    if column.max is not None:
        checks.append(pa.Check.le(column.max))
    if column.values is not None:
        checks.append(pa.Check.isin(column.values))
    return checks
