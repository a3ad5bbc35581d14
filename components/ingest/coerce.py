"""From what files hold (text, floats that mean integers, dictionaries) to the types of the contract."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.contract import Column, Type

_MISSING = frozenset({"na", "n/a", "nan", "nat", "null", "none"})
"""What exports write for a missing value, in any case; nothing of this is an identifier's or category's value
unless the contract lists it."""
_FIRST, _LAST = pd.Timestamp.min.ceil("s").tz_localize("UTC"), pd.Timestamp.max.floor("s").tz_localize("UTC")
_ZONED = r"[T ][0-9]{2}.*(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)$"
_INTEGER = r"[+-]?[0-9]{1,18}(?:\.0*)?"


@dataclass(frozen=True)
class Coerced:
    """(n,) values of the contract's type, and which rows have none: `null` is empty, `wrong` is not of the type.

    Values of those rows are missing (NA, NaN, NaT) and to be looked at by nobody.
    """

    values: "pd.Series[Any]"
    null: NDArray[np.bool_]
    wrong: NDArray[np.bool_]


def as_text(values: pa.ChunkedArray) -> "pd.Series[str]":
    """(n,) the cells as text without surrounding space, NA where empty or of a type with no plain text (lists, bytes).

    A float that holds an integer reads as one: files of integers with gaps come as floats, and an identifier
    must be the same text in every file.
    """
    kind = _scalar(values.type)
    if not _readable(kind):
        return pd.Series(pd.NA, index=range(len(values)), dtype=pd.StringDtype("pyarrow"))
    values = values.cast(kind)
    if pa.types.is_floating(kind):
        numbers = values.to_pandas().astype("float64")
        whole = (numbers == np.floor(numbers)) & (numbers.abs() < 2**53)
        text = numbers.astype("string").where(numbers.notna())
        text[whole] = numbers[whole].astype("int64").astype("string")
        return pd.Series(text, dtype=pd.StringDtype("pyarrow"))
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    trimmed = pc.utf8_trim_whitespace(values.cast(pa.string()))
    filled = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
    return pd.Series(filled.to_pandas(types_mapper=lambda _: pd.StringDtype("pyarrow")))


def coerce(values: pa.ChunkedArray, column: Column) -> Coerced:
    """Give a column the type of its contract: float64, Int64, string or datetime64[ns, UTC].

    Integers may be written as whole floats, timestamps in ISO 8601 (without a zone they are UTC).
    """
    if column.type is Type.TIMESTAMP and (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)):
        return _timestamps(_parsed(values.to_pandas(date_as_object=False)), values.is_null().to_numpy())
    text = as_text(values)
    if column.type is not Type.STRING:
        listed = {str(value) for value in column.values or ()}
        absent = text.str.lower().isin(_MISSING - {value.lower() for value in listed})
        text = text.mask(absent)
    null = text.isna().to_numpy()
    if not _readable(_scalar(values.type)):
        return Coerced(text, ~null, null)
    if column.type is Type.TIMESTAMP:
        # A bare number has no unit: seconds and milliseconds cannot be told apart.
        text = text.mask(text.str.fullmatch(r"[+-]?[0-9.]+").fillna(False))
        # Parsed together, a time without a zone would take the zone of the one before it.
        zoned = text.str.contains(_ZONED).fillna(False).astype(bool)
        return _timestamps(_parsed(text.where(zoned)).fillna(_parsed(text.where(~zoned))), null)
    if column.type is Type.FLOAT:
        numbers = pd.to_numeric(text.astype(object), errors="coerce").astype("float64")
        finite = np.isfinite(numbers.to_numpy())
        return Coerced(numbers.where(finite), null, ~finite & ~null)
    if column.type is Type.INTEGER or isinstance((column.values or ("",))[0], int):
        whole = text.str.fullmatch(_INTEGER).fillna(False).to_numpy(dtype=bool)
        digits = text[whole].str.replace(r"\.0*$", "", regex=True)
        integers = np.zeros(len(text), dtype=np.int64)
        integers[whole] = digits.to_numpy(dtype=object).astype(np.int64)
        return Coerced(pd.Series(pd.arrays.IntegerArray(integers, ~whole)), null, ~whole & ~null)
    return Coerced(text, null, np.zeros(len(text), dtype=bool))


def _parsed(values: "pd.Series[Any]") -> "pd.Series[Any]":
    times = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")
    # Nanoseconds reach from 1677 to 2262; files may hold coarser and further.
    return times.where(times.between(_FIRST, _LAST)).astype("datetime64[ns, UTC]")


def _timestamps(times: "pd.Series[Any]", null: NDArray[np.bool_]) -> Coerced:
    return Coerced(times, null, times.isna().to_numpy() & ~null)


def _scalar(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _readable(kind: pa.DataType) -> bool:
    tests = (
        pa.types.is_null,
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_timestamp,
        pa.types.is_date,
    )
    return any(test(kind) for test in tests)
