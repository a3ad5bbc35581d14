"""Publishing: the online store is made to hold exactly the newest record of every entity."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from feast import FeatureStore
from feast.infra.online_stores.helpers import compute_table_id, extract_text_and_num

from core.errors import ConfigError
from features.definitions import Definitions
from features.encoding import encoded, entity_keys

logger = logging.getLogger("falaj.features")

_BUSY_SECONDS = 120
_MARKER = "falaj_published"


@dataclass(frozen=True)
class Published:
    """How many entities are online, whether they were so already, and how many cells of others were removed."""

    entities: int
    unchanged: bool
    removed: int


def publish(
    store: FeatureStore, defined: Definitions, records: pd.DataFrame, event_time: str, digest: str
) -> Published:
    """Put the newest record of every entity online, and remove every other entity.

    SQLite is written in one transaction, in Feast's own schema: readers see the old records until all the
    new ones are there, and a run that dies leaves the old ones. Feast's own materialization takes a
    statement a cell and half a minute for each 250,000 records, and never removes an entity. For Redis see
    `features.redis`.

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
    if kind != "sqlite":
        raise ConfigError(f"online_store.type is {kind}: use sqlite or redis in feature_store.yaml")
    path = Path(store.repo_path) / store.config.online_store.path
    table = compute_table_id(store.project, defined.view)
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
        # Readers go on while a writer writes; what is removed is overwritten, not merely unlinked.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -200000")
        connection.execute(f"CREATE TABLE IF NOT EXISTS {_MARKER} (name TEXT PRIMARY KEY, digest TEXT)")
        connection.execute("BEGIN IMMEDIATE")
        try:
            published = _replace(connection, table, defined, latest, event_time, digest, store)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        if not published.unchanged:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return published


def _replace(
    connection: sqlite3.Connection,
    table: str,
    defined: Definitions,
    latest: pd.DataFrame,
    event_time: str,
    digest: str,
    store: FeatureStore,
) -> Published:
    features = [field.name for field in defined.view.features]
    cells = len(latest) * len(features)
    marker = connection.execute(f"SELECT digest FROM {_MARKER} WHERE name = ?", (table,)).fetchone()
    if marker == (digest,) and _count(connection, table) == cells:
        return Published(len(latest), unchanged=True, removed=0)
    keys = entity_keys(defined, latest, store.config.entity_key_serialization_version)
    connection.executemany(
        f'INSERT INTO "{table}" (entity_key, feature_name, value, value_text, event_ts) VALUES (?, ?, ?, ?, ?) '
        "ON CONFLICT (entity_key, feature_name) DO UPDATE SET value = excluded.value, "
        "value_text = excluded.value_text, event_ts = excluded.event_ts, created_ts = NULL "
        "WHERE value IS NOT excluded.value OR event_ts IS NOT excluded.event_ts",
        _cells(defined, latest, event_time, keys),
    )
    removed = _count(connection, table) - cells
    if removed:
        connection.execute("CREATE TEMP TABLE kept (entity_key BLOB PRIMARY KEY) WITHOUT ROWID")
        connection.executemany("INSERT INTO kept VALUES (?)", ((key,) for key in keys))
        names = ", ".join("?" * len(features))
        connection.execute(
            f'DELETE FROM "{table}" WHERE entity_key NOT IN (SELECT entity_key FROM kept) '
            f"OR feature_name NOT IN ({names})",
            features,
        )
        connection.execute("DROP TABLE kept")
    connection.execute(f"INSERT OR REPLACE INTO {_MARKER} VALUES (?, ?)", (table, digest))
    return Published(len(latest), unchanged=False, removed=removed)


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])


def _cells(
    defined: Definitions, latest: pd.DataFrame, event_time: str, keys: list[bytes]
) -> Iterator[tuple[bytes, str, bytes, str | None, int]]:
    """A row of Feast's table for each entity and feature, in the order of the primary key, which SQLite fills
    fastest. Equal values of a feature are encoded once."""
    columns = []
    for name, (codes, values) in encoded(defined.view, latest).items():
        cells = [(name, value.SerializeToString(), extract_text_and_num(value, False)[0]) for value in values]
        columns.append([cells[code] for code in codes])
    # Feast stores the epoch of a naive local time and reads it back as such.
    stamps, unique_times = pd.factorize(latest[event_time].dt.tz_localize(None))
    seconds = [int(time.timestamp()) for time in pd.DatetimeIndex(unique_times).to_pydatetime()]
    times = [seconds[stamp] for stamp in stamps]
    for position in sorted(range(len(keys)), key=keys.__getitem__):
        for column in columns:
            name, value, text = column[position]
            yield keys[position], name, value, text, times[position]
