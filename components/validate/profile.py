"""Statistics of a column that may be kept: aggregates alone, and none over so few rows that it tells of a person."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.spatial.distance import jensenshannon

from core.contract import Column, DataContract, Role, Type

SMALLEST_CELL = 10
"""Rows below which a count is not kept: the threshold that census offices commonly use for tables."""
_DECILES = np.linspace(0.1, 0.9, 9)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Numbers(_Model):
    """A numeric column. `edges` are its distinct deciles, the bins between and beyond them have the `shares`;
    the last share is that of missing values. Shares sum to 1."""

    kind: Literal["numbers"] = "numbers"
    mean: float
    deviation: float
    edges: tuple[float, ...]
    shares: tuple[float, ...]


class Categories(_Model):
    """A category. `shares` by value; values with too few rows are together in `rest`, as are missing ones.
    Shares and rest sum to 1; a rest of too few rows is 0."""

    kind: Literal["categories"] = "categories"
    shares: dict[str, float]
    rest: float


class ColumnProfile(_Model):
    """`distribution` is None where there are too few rows to tell of none in particular."""

    missing: float
    distinct: int
    distribution: Annotated[Numbers | Categories, Field(discriminator="kind")] | None


class Profile(_Model):
    """What one valid run of a contract looked like."""

    contract_version: int
    rows: int
    columns: dict[str, ColumnProfile]


def profile(contract: DataContract, records: pd.DataFrame) -> Profile:
    """Describe the features, groups and target; entity and event time are about single persons."""
    return Profile(
        contract_version=contract.version,
        rows=len(records),
        columns={
            name: _column(column, records[name])
            for name, column in contract.columns.items()
            if column.role in (Role.FEATURE, Role.GROUP, Role.TARGET)
        },
    )


def distance(past: ColumnProfile, values: "pd.Series[Any]") -> float | None:
    """Jensen–Shannon distance, 0 to 1 (logarithms to base 2), of a column from its past profile.

    Returns:
        None where the past profile holds no distribution.
    """
    if past.distribution is None:
        return None
    if isinstance(past.distribution, Numbers):
        before = past.distribution.shares
        counts = _bin(values, past.distribution.edges)
    else:
        before = (*past.distribution.shares.values(), past.distribution.rest)
        by_value = values.astype("string").value_counts()
        listed = [int(by_value.get(value, 0)) for value in past.distribution.shares]
        counts = np.array([*listed, len(values) - sum(listed)])
    # Rounding can take the divergence of nearly equal shares below zero, whose root is NaN.
    with np.errstate(invalid="ignore"):
        return float(np.nan_to_num(jensenshannon(before, _shares(counts), base=2)))


def _column(column: Column, values: "pd.Series[Any]") -> ColumnProfile:
    missing, distinct = float(values.isna().mean()), int(values.nunique())
    distribution: Numbers | Categories | None = None
    if column.type is Type.CATEGORY:
        counts = values.astype("string").value_counts().sort_index()
        counts = counts[counts >= SMALLEST_CELL]
        shares = _shares(np.array([*counts, len(values) - counts.sum()]))
        if len(counts):
            listed = zip(counts.index, shares[:-1], strict=True)
            distribution = Categories(shares={str(name): float(share) for name, share in listed}, rest=shares[-1])
    elif values.notna().sum() >= SMALLEST_CELL * (len(_DECILES) + 1):
        present = values.dropna().to_numpy(dtype=np.float64)
        edges = tuple(float(edge) for edge in np.unique(np.quantile(present, _DECILES)))
        distribution = Numbers(
            mean=float(present.mean()),
            deviation=float(present.std()),
            edges=edges,
            shares=tuple(float(share) for share in _shares(_bin(values, edges))),
        )
    few = round(missing * len(values)) < SMALLEST_CELL
    return ColumnProfile(missing=0.0 if few else missing, distinct=distinct, distribution=distribution)


def _bin(values: "pd.Series[Any]", edges: Sequence[float]) -> NDArray[np.int64]:
    """(len(edges) + 2,) the rows below, between and above the edges, and the missing ones."""
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    bins = np.where(np.isnan(numbers), len(edges) + 1, np.searchsorted(edges, numbers, side="right"))
    return np.bincount(bins, minlength=len(edges) + 2)


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    kept = np.where(counts < SMALLEST_CELL, 0, counts).astype(np.float64)
    return np.divide(kept, max(1.0, kept.sum()))
