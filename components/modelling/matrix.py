"""From a frame of the contract's columns to what the models take, and which of its rows are held out."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.contract import DataContract, Type
from core.errors import ContractError, DataError

FEATURES = "features"
TEXT_FEATURES = "text_features"
Floats = NDArray[np.float32]
_EXACT = 1 << 24
"""Up to here every integer is a float32 of its own."""


def text_features(contract: DataContract) -> dict[str, tuple[str, ...]]:
    """The features that are categories of strings, and their values, in the contract's order."""
    return {
        name: tuple(str(value) for value in column.values)
        for name, column in contract.features.items()
        if column.values is not None and isinstance(column.values[0], str)
    }


def numeric_features(contract: DataContract) -> tuple[str, ...]:
    """The features that the graph's numeric input holds, integer codes included, in the contract's order."""
    text = text_features(contract)
    return tuple(name for name in contract.features if name not in text)


def code_features(contract: DataContract) -> dict[str, tuple[int, ...]]:
    """The features that are categories of integer codes, and their codes, in the contract's order.

    Raises:
        ContractError: A code is too large for the graph's float32 input.
    """
    text = text_features(contract)
    codes = {
        name: tuple(int(value) for value in column.values)
        for name, column in contract.features.items()
        if column.type is Type.CATEGORY and column.values is not None and name not in text
    }
    for name, values in codes.items():
        if max(abs(value) for value in values) > _EXACT:
            raise ContractError(
                f"columns.{name}.values: codes beyond ±{_EXACT} are not exact in float32: use strings for this category"
            )
    return codes


def tensors(contract: DataContract, frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """The inputs of the exported graph for the rows of `frame`.

    Returns:
        `features` (n, k) float32, missing values as NaN, where any feature is numeric; `text_features` (n, m)
        object, missing values as the empty string, where any is text.
    """
    inputs: dict[str, NDArray[Any]] = {}
    if numeric := numeric_features(contract):
        columns = [frame[name].to_numpy(dtype=np.float32, na_value=np.nan) for name in numeric]
        inputs[FEATURES] = np.stack(columns, axis=1)
    if text := text_features(contract):
        strings = [frame[name].astype("string").fillna("").to_numpy(dtype=object) for name in text]
        inputs[TEXT_FEATURES] = np.stack(strings, axis=1)
    return inputs


def matrix(contract: DataContract, frame: pd.DataFrame) -> Floats:
    """The input of the models themselves: numbers and integer codes as they are, then strings as their position.

    Returns:
        (n, k + m) float32; NaN is a missing number, and a string that is missing or not among the values.
    """
    inputs = tensors(contract, frame)
    blocks = [inputs[FEATURES]] if FEATURES in inputs else []
    for index, values in enumerate(text_features(contract).values()):
        position = {value: float(place) for place, value in enumerate(values)}
        column = [position.get(text, np.nan) for text in inputs[TEXT_FEATURES][:, index]]
        blocks.append(np.asarray(column, dtype=np.float32)[:, None])
    return np.concatenate(blocks, axis=1)


def target(contract: DataContract, frame: pd.DataFrame) -> NDArray[np.float64]:
    """(n,) float64: 0 and 1, or the value to predict."""
    return frame[contract.target].to_numpy(dtype=np.float64)


def is_holdout(contract: DataContract, entities: Iterable[object]) -> NDArray[np.bool_]:
    """(n,): whether a row belongs to the held-out part.

    A hash of the entity decides, so all rows of one entity fall on the same side, in every run and
    whatever other rows there are.
    """
    limit = contract.training.holdout * 2**64
    prefix = f"{contract.name}\0holdout\0".encode()
    hashes = [
        int.from_bytes(hashlib.sha256(prefix + str(entity).encode()).digest()[:8], "big") < limit for entity in entities
    ]
    return np.asarray(hashes, dtype=bool)


def read_training(contract: DataContract, path: Path) -> pd.DataFrame:
    """The training frame that featurize wrote.

    Raises:
        DataError: The file cannot be read, lacks a column, or has no target in a row.
    """
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"the training frame {path} cannot be read: {error}: run the pipeline again") from error
    missing = [name for name in contract.columns if name not in frame]
    if missing:
        raise DataError(f"the training frame {path} lacks the columns {missing}: run featurize with this contract")
    if frame[contract.target].isna().any():
        raise DataError(f"the training frame {path} has rows without {contract.target}: run ingest again")
    return frame
