"""Featurize: the contract's records become features, offline and online, and training rows joined in time."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from feast import FeatureStore
from pydantic import BaseModel, ConfigDict

from components.records import dtypes
from core import storage
from core.contract import DataContract
from core.digest import bytes_digest
from core.errors import ConfigError, DataError, StorageError
from features.definitions import definitions
from features.online import publish
from features.store import open_store, register

logger = logging.getLogger("falaj.featurize")

_PAIRS = 5_000_000
_JOIN_TIME = "event_timestamp"


class FeaturizeReport(BaseModel):
    """Counts of one run. `removed_cells` are online values of entities or features that are no more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_offline: int
    entities_online: int
    online_unchanged: bool
    removed_cells: int
    rows_training: int


def featurize(
    contract: DataContract, records: Path, feature_store: str | Path, offline_store: str, out_training: Path
) -> FeaturizeReport:
    """Write features offline, register and publish them, and join the training rows.

    The training rows are those whose event time is before `contract.training.until`, midnight UTC; each has
    the features of its entity as they stood at its event time. Columns: entity, event time, features,
    groups, target; sorted by entity and event time.

    Args:
        records: What ingest wrote.
        feature_store: Folder of feature_store.yaml.
        offline_store: A path or an address in a bucket, below which `<contract.name>/features.parquet` is written.
        out_training: Parquet file to write.

    Raises:
        ConfigError: The feature store or the offline store cannot be used.
        ContractError: The entity is known with another type.
        DataError: No row is left to train on.
    """
    rows = pd.read_parquet(records)
    wanted = _training_rows(contract, rows)
    offline = rows[[contract.entity, contract.event_time, *contract.features]]
    path = storage.join(offline_store, contract.name, "features.parquet")
    digest = _write_offline(offline, path)
    logger.info("%s rows are offline", len(offline))
    store = open_store(feature_store)
    defined = definitions(contract, path)
    register(store, defined)
    published = publish(store, defined, offline, contract.event_time, digest)
    logger.info("%s entities are online%s", published.entities, ", as before" if published.unchanged else "")
    training = _join(contract, store, rows, wanted)
    training.to_parquet(out_training, index=False)
    return FeaturizeReport(
        rows_offline=len(offline),
        entities_online=published.entities,
        online_unchanged=published.unchanged,
        removed_cells=published.removed,
        rows_training=len(training),
    )


def _training_rows(contract: DataContract, rows: pd.DataFrame) -> pd.DataFrame:
    until = contract.training.until
    if until is not None:
        rows = rows[rows[contract.event_time] < pd.Timestamp(until, tz="UTC")]
    if rows.empty:
        raise DataError(f"no row of {contract.name} has an event time before {until}: set training.until later")
    return rows[[contract.entity, contract.event_time, *contract.groups, contract.target]]


def _write_offline(rows: pd.DataFrame, uri: str) -> str:
    data = rows.to_parquet(index=False)
    try:
        storage.write(uri, data)
    except StorageError as error:
        raise ConfigError(f"the offline store cannot be written: {error}; mend FALAJ_OFFLINE_STORE") from error
    return bytes_digest(data)


def _join(contract: DataContract, store: FeatureStore, rows: pd.DataFrame, wanted: pd.DataFrame) -> pd.DataFrame:
    key = [contract.entity, contract.event_time]
    asked = wanted[key].rename(columns={contract.event_time: _JOIN_TIME})
    # Feast pairs every asked row with all records of its entity before it picks one: bound the pairs in memory.
    pairs = asked[contract.entity].map(rows[contract.entity].value_counts()).to_numpy(dtype=np.int64)
    service = store.get_feature_service(contract.name)
    joined = pd.concat(
        store.get_historical_features(entity_df=part.reset_index(drop=True), features=service).to_df()
        for _, part in asked.groupby(pairs.cumsum() // _PAIRS)
    ).rename(columns={_JOIN_TIME: contract.event_time})
    training = joined.merge(wanted, on=key, how="inner", validate="one_to_one")
    if len(training) != len(wanted):
        raise DataError(
            f"the point-in-time join gave {len(training)} of {len(wanted)} rows of {contract.name}: "
            "another run may be writing its offline features; run again when that has ended"
        )
    order = [*key, *contract.features, *contract.groups, contract.target]
    types = dtypes(contract)
    return training[order].astype({name: types[name] for name in order}).sort_values(key, ignore_index=True)
