"""Publishing: the online store is made to hold exactly the newest record of every entity."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pandas as pd
from feast import FeatureStore

from core.errors import ConfigError
from core.online import Cell, PackedTable
from features.definitions import Definitions
from features.encoding import encoded, entity_keys
from features.packed import TYPE as PACKED
from features.packed import connect, microseconds, native_kinds, packed_table, to_cell

logger = logging.getLogger("falaj.features")

_MARKER = "falaj_published"
_KEPT = "kept"


@dataclass(frozen=True)
class Published:
    """How many entities are online, whether they were so already, and how many values of others were removed."""

    entities: int
    unchanged: bool
    removed: int


def publish(
    store: FeatureStore, defined: Definitions, records: pd.DataFrame, event_time: str, digest: str
) -> Published:
    """Put the newest record of every entity online, and remove every other entity.

    SQLite is written in one transaction: readers see the old records until all the new ones are there, and a run
    that dies leaves the old ones. Feast's own materialization takes a statement an entity, and never removes one.
    For Redis see `features.redis`.

    Args:
        defined: The definitions, registered.
        records: (n, 2 + k): entity, event time (datetime64[ns, UTC]) and the view's features.
        event_time: Name of the event time's column.
        digest: Of `records`; where it is the digest last published, nothing is written.

    Raises:
        ConfigError: The online store is of another kind, or cannot be used.
    """
    entity = defined.entity.join_key
    latest = records.sort_values(event_time, kind="stable").drop_duplicates(entity, keep="last")
    kind = store.config.online_store.type
    if kind == "redis":
        # Imported where it is needed: a local environment has none.
        from features.redis import publish_redis

        unchanged, removed = publish_redis(store, defined, latest, event_time, digest)
        return Published(len(latest), unchanged=unchanged, removed=removed)
    if kind != PACKED:
        raise ConfigError(f"online_store.type is {kind}: use {PACKED} or redis in feature_store.yaml")
    with closing(connect(store.config)) as connection:
        connection.isolation_level = None
        connection.execute("PRAGMA cache_size = -200000")
        connection.execute(f"CREATE TABLE IF NOT EXISTS {_MARKER} (name TEXT PRIMARY KEY, digest TEXT)")
        connection.execute("BEGIN IMMEDIATE")
        try:
            published = _replace(connection, defined, latest, event_time, digest, store)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        if not published.unchanged:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return published


def _replace(
    connection: sqlite3.Connection,
    defined: Definitions,
    latest: pd.DataFrame,
    event_time: str,
    digest: str,
    store: FeatureStore,
) -> Published:
    table = packed_table(store.config, defined.view)
    features = sorted(field.name for field in defined.view.features)
    known = table.features(connection) or []
    marker = connection.execute(f"SELECT digest FROM {_MARKER} WHERE name = ?", (table.name,)).fetchone()
    before = _count(connection, table) if known else 0
    same_features = sorted(known) == features
    if marker == (digest,) and before == len(latest) and same_features:
        return Published(len(latest), unchanged=True, removed=0)
    keys = entity_keys(defined, latest, store.config.entity_key_serialization_version)
    gone = 0
    if known:
        connection.execute(f"CREATE TEMP TABLE {_KEPT} (key BLOB PRIMARY KEY) WITHOUT ROWID")
        connection.executemany(f"INSERT INTO {_KEPT} VALUES (?)", ((key,) for key in keys))
        gone = connection.execute(table.remove_all_but(_KEPT)).rowcount
        connection.execute(f"DROP TABLE {_KEPT}")
    if not same_features:
        connection.execute(table.drop())
        connection.execute(table.create(features))
    connection.executemany(table.upsert(features), _rows(defined, latest, event_time, keys))
    connection.execute(f"INSERT OR REPLACE INTO {_MARKER} VALUES (?, ?)", (table.name, digest))
    lost = sum(feature not in features for feature in known)
    return Published(len(latest), unchanged=False, removed=gone * len(known) + (before - gone) * lost)


def _count(connection: sqlite3.Connection, table: PackedTable) -> int:
    return int(connection.execute(table.count()).fetchone()[0])


def _rows(
    defined: Definitions, latest: pd.DataFrame, event_time: str, keys: list[bytes]
) -> Iterator[tuple[bytes, int, *tuple[Cell, ...]]]:
    """A row for each entity, in the order of the keys, which SQLite fills fastest. Equal values of a feature are
    encoded once."""
    kinds = native_kinds(defined.view)
    columns = []
    for name, (codes, values) in encoded(defined.view, latest).items():
        cells = [to_cell(value, kinds[name]) for value in values]
        columns.append([cells[code] for code in codes])
    stamps, unique_times = pd.factorize(latest[event_time])
    moments = [microseconds(time) for time in pd.DatetimeIndex(unique_times).to_pydatetime()]
    times = [moments[stamp] for stamp in stamps]
    for position in sorted(range(len(keys)), key=keys.__getitem__):
        yield keys[position], times[position], *(column[position] for column in columns)
