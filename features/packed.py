"""Feast's online store for one machine: SQLite with a row an entity.

Feast's own keeps a row a value, with the names of entity and feature in each and in two indices: many times the size,
and as many rows to read and to write.
"""

import math
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from feast import Entity, FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from feast.utils import make_tzaware
from feast.value_type import ValueType
from pydantic import StrictStr

from core.online import Cell, PackedTable

TYPE = "features.packed.PackedOnlineStore"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BUSY_SECONDS = 120
_NATIVE = {
    ValueType.INT64: "int64_val",
    ValueType.INT32: "int32_val",
    ValueType.BOOL: "bool_val",
    ValueType.DOUBLE: "double_val",
    ValueType.FLOAT: "float_val",
    ValueType.STRING: "string_val",
}
_KINDS: dict[type, tuple[str, ...]] = {
    int: ("int64_val", "int32_val", "bool_val"),
    float: ("double_val", "float_val"),
    str: ("string_val",),
}


class PackedOnlineStoreConfig(FeastConfigBaseModel):
    """`online_store` of feature_store.yaml."""

    type: Literal["features.packed.PackedOnlineStore"] = "features.packed.PackedOnlineStore"
    path: StrictStr
    """The file; where it is relative, to the folder of feature_store.yaml."""


class PackedOnlineStore(OnlineStore):
    """What Feast reads and writes is what its own store gives, but that NaN is stored as a missing value."""

    _connection: sqlite3.Connection | None = None

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        connection, packed = self._connected(config), packed_table(config, table)
        kinds = native_kinds(table)
        with connection:
            for key, values, event_time, _ in data:
                row = [serialize_entity_key(key, config.entity_key_serialization_version), microseconds(event_time)]
                row += [to_cell(value, kinds.get(name)) for name, value in values.items()]
                connection.execute(packed.upsert(list(values)), row)
                if progress:
                    progress(1)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        if not entity_keys:
            return []
        names = requested_features or [field.name for field in table.features]
        kinds = native_kinds(table)
        keys = [serialize_entity_key(key, config.entity_key_serialization_version) for key in entity_keys]
        rows = packed_table(config, table).lookup(names)(self._connected(config).cursor(), keys)
        found: dict[bytes, tuple[datetime | None, dict[str, Value] | None]] = {}
        for key, (moment, *cells, _) in rows.items():
            values = {name: to_value(cell, kinds.get(name)) for name, cell in zip(names, cells, strict=True)}
            found[key] = _EPOCH + timedelta(microseconds=moment), values  # type: ignore[arg-type]  # An integer.
        return [found.get(key, (None, None)) for key in keys]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],  # noqa: ARG002  # A table an entity there is not.
        entities_to_keep: Sequence[Entity],  # noqa: ARG002
        partial: bool,  # noqa: ARG002
    ) -> None:
        """Make tables and columns that are missing; a column that no feature has any more stays until the next
        publishing, so that those who still ask for it are answered."""
        connection = self._connected(config)
        with connection:
            for view in tables_to_keep:
                prepare(connection, packed_table(config, view), [field.name for field in view.features])
            for view in tables_to_delete:
                connection.execute(packed_table(config, view).drop())

    def teardown(
        self,
        config: RepoConfig,
        tables: Sequence[FeatureView],
        entities: Sequence[Entity],  # noqa: ARG002
    ) -> None:
        """Drop the tables; the file stays, for those who have it open would go on with the one that is gone."""
        with closing(self._connected(config)) as connection, connection:
            for view in tables:
                connection.execute(packed_table(config, view).drop())
        self._connection = None

    def _connected(self, config: RepoConfig) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(config)
        return self._connection


def connect(config: RepoConfig) -> sqlite3.Connection:
    """A connection for any thread, in which readers go on while a writer writes, and what is removed is overwritten,
    not merely unlinked."""
    path = Path(config.repo_path or ".") / config.online_store.path
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def packed_table(config: RepoConfig, view: FeatureView) -> PackedTable:
    """The table of a view, with its version where the registry keeps several."""
    name = compute_versioned_name(view, config.registry.enable_online_feature_view_versioning)
    return PackedTable(config.project, name)


def prepare(connection: sqlite3.Connection, table: PackedTable, features: Sequence[str]) -> None:
    """Make the table, or its columns that are missing; one of another layout is made anew."""
    known = table.features(connection)
    if known is None:
        connection.execute(table.drop())
        connection.execute(table.create(features))
    else:
        for feature in features:
            if feature not in known:
                connection.execute(table.add(feature))


def native_kinds(view: FeatureView) -> dict[str, str | None]:
    """By feature, the kind of Feast's values that SQLite has a type for; None where it has none."""
    return {field.name: _NATIVE.get(field.dtype.to_value_type()) for field in view.features}


def to_cell(value: Value, kind: str | None) -> Cell:
    """What is stored. A value of another kind than its feature's is stored in Feast's encoding."""
    is_a = value.WhichOneof("val")
    if is_a is None:
        return None
    if is_a != kind:
        return bytes(value.SerializeToString())
    cell: Cell = getattr(value, kind)
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def to_value(cell: Cell, kind: str | None) -> Value:
    """What Feast reads."""
    if cell is None:
        return Value()
    if isinstance(cell, bytes):
        value: Value = Value.FromString(cell)
        return value
    kinds = _KINDS[type(cell)]
    value = Value()
    # The type of a feature may have changed since.
    setattr(value, kind if kind in kinds else kinds[0], cell)
    return value


def microseconds(moment: datetime) -> int:
    """Since 1970; a time without a zone is in UTC, as everywhere in Feast."""
    return (make_tzaware(moment) - _EPOCH) // timedelta(microseconds=1)
