"""Who has agreed to the purpose: a register of decisions, joined by subject, purpose, version and time."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.ingest.coerce import Coerced, coerce
from components.ingest.source import read_source
from core.contract import Column, DataContract, Role, Type
from core.errors import ConsentError, DataError

_STATUS = ("granted", "withdrawn")
_COLUMNS = {
    "purpose": Column(type=Type.STRING, role=Role.ENTITY, description="id of the purpose"),
    "version": Column(type=Type.INTEGER, role=Role.FEATURE, description="version of the purpose"),
    "status": Column(type=Type.CATEGORY, role=Role.FEATURE, values=_STATUS, description="the decision"),
    "time": Column(type=Type.TIMESTAMP, role=Role.EVENT_TIME, description="when it was made"),
}


@dataclass(frozen=True)
class Register:
    """The subjects whose latest decision on the contract's purpose is a grant, as raw identifiers."""

    granted: "pd.Index[str]"
    digest: str


def locate(source: str, data_uri: str) -> str:
    """Where the register lies: a path without a scheme is relative to the data file."""
    if "://" in source or source.startswith("/"):
        return source
    folder, slash, _ = data_uri.rpartition("/")
    return f"{folder}{slash}{source}"


def read_register(contract: DataContract, data_uri: str, now: dt.datetime) -> Register:
    """Resolve the contract's consent register at the time `now`.

    The latest decision of a subject on this purpose and this version of it counts. At equal times a
    withdrawal wins. A grant dated after `now` does not count yet; a withdrawal always does.

    Raises:
        ConsentError: The register is missing, unreadable, or has a decision on this purpose that cannot be
            understood. Nobody is then taken to have consented.
    """
    if contract.consent is None:
        raise ConsentError(f"the contract {contract.name} names no consent register: set consent.source in it")
    uri = locate(contract.consent.source, data_uri)
    try:
        source = read_source(uri, ["subject", *_COLUMNS])
    except DataError as error:
        raise ConsentError(f"the consent register cannot be used, so nobody counts as consenting: {error}") from error
    if source.malformed:
        raise ConsentError(f"{uri}: {source.malformed} lines have more or fewer cells than the header: mend them")
    cells = {name: coerce(source.table[name], column) for name, column in _COLUMNS.items()}
    cells["subject"] = coerce(source.table["subject"], contract.columns[contract.entity])
    everyone = np.ones(source.table.num_rows, dtype=bool)
    _require(uri, cells, ("purpose", "version"), everyone)
    purpose, version = cells["purpose"].values, cells["version"].values
    ours = ((purpose == contract.purpose.id) & (version == contract.purpose.version)).to_numpy(dtype=bool)
    _require(uri, cells, ("subject", "status", "time"), ours)
    decisions = pd.DataFrame({name: cells[name].values for name in ("subject", "status", "time")})[ours]
    unknown = ~decisions["status"].isin(_STATUS)
    if unknown.any():
        raise ConsentError(
            f"{uri}: {unknown.sum()} decisions have a status other than {' or '.join(_STATUS)}: mend them"
        )
    decisions["granted"] = decisions["status"] == "granted"
    decisions = decisions[~decisions["granted"] | (decisions["time"] <= now)]
    latest = decisions.sort_values(["time", "granted"], ascending=[True, False]).drop_duplicates("subject", keep="last")
    return Register(pd.Index(latest.loc[latest["granted"], "subject"].astype("string")), source.digest)


def _require(uri: str, cells: dict[str, Coerced], columns: tuple[str, ...], rows: NDArray[np.bool_]) -> None:
    for name in columns:
        unusable = int(((cells[name].null | cells[name].wrong) & rows).sum())
        if unusable:
            raise ConsentError(
                f"{uri}: {unusable} decisions have no usable {name}, so nobody counts as consenting: mend them"
            )
