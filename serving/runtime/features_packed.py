"""Reads features from SQLite, where an entity is a row."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from core.online import EntityKeys, PackedTable
from serving.runtime.errors import unavailable
from serving.runtime.features_store import Found

_BUSY_SECONDS = 0.1
_MAPPED_BYTES = 1 << 30


class PackedStore:
    """The file, opened with the first look-up: a store may be made after the runtime starts.

    A look-up takes microseconds, and readers do not wait for a writer, so that it is made on the event loop.
    """

    def __init__(self, project: str, path: Path) -> None:
        self._project = project
        self._path = path
        self._cursor: sqlite3.Cursor | None = None

    def reader(self, entity: str, view: str, features: Sequence[str]) -> "PackedReader":
        return PackedReader(self, entity, PackedTable(self._project, view), features)

    def cursor(self) -> sqlite3.Cursor:
        """That of all look-ups, none of which leaves rows in it. Raises sqlite3.Error where there is no such file."""
        if self._cursor is None:
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
            self._cursor = connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
        return self._cursor

    async def close(self) -> None:
        if self._cursor is not None:
            self._cursor.connection.close()


class PackedReader:
    """Features of one view."""

    def __init__(self, store: PackedStore, entity: str, table: PackedTable, features: Sequence[str]) -> None:
        self._store = store
        self._key = EntityKeys(entity)
        self._view = table.name
        self._lookup = table.lookup(features)

    def fetch(self, entities: Sequence[str | int], found: Found) -> None:
        keys = [self._key(entity) for entity in entities]
        try:
            rows = self._lookup(self._store.cursor(), keys)
        except sqlite3.Error as error:
            found(unavailable(f"the features of {self._view} cannot be read from the online store ({error})"))
            return
        found([rows.get(key) for key in keys])
