"""What those who write online features and those who read them agree on, without Feast, whose import alone takes
longer than a service's start: the keys of entities, and the layout of a file in which an entity is a row."""

import sqlite3
import struct
from collections.abc import Mapping, Sequence

Cell = int | float | str | bytes | None
"""A value of a feature. None is missing; bytes are Feast's own encoding of what SQLite has no type for."""

_STRING, _INT64 = 2, 4
_KEY, _TIME = '"@key"', '"@time"'


class EntityKeys:
    """Keys of entities with one join key, in version 3 of Feast's encoding.

    https://github.com/feast-dev/feast/blob/master/docs/specs/online_store_format.md
    """

    VERSION = 3

    def __init__(self, join_key: str) -> None:
        name = join_key.encode()
        head = struct.pack("<III", 1, _STRING, len(name)) + name
        self._text = head + struct.pack("<I", _STRING)
        self._number = head + struct.pack("<II", _INT64, 8)

    def __call__(self, value: str | int) -> bytes:
        if isinstance(value, int):
            return self._number + value.to_bytes(8, "little", signed=True)
        text = value.encode()
        return self._text + len(text).to_bytes(4, "little") + text


class PackedTable:
    """The table of a view: a row an entity, with its key, the microseconds since 1970 of its event time, and a column
    a feature.

    Columns have no declared type, so that SQLite keeps each value as it was given.
    """

    def __init__(self, project: str, view: str) -> None:
        self.name = f"{project}_{view}"
        self._quoted = _quoted(self.name)

    def features(self, connection: sqlite3.Connection) -> list[str] | None:
        """Names of its columns of features; None where there is no such table, or one of another layout."""
        names = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({self._quoted})")]
        system = [name.strip('"') for name in (_KEY, _TIME)]
        return names[2:] if names[:2] == system else None

    def drop(self) -> str:
        return f"DROP TABLE IF EXISTS {self._quoted}"

    def create(self, features: Sequence[str]) -> str:
        columns = [f"{_KEY} BLOB PRIMARY KEY", f"{_TIME} INTEGER", *map(_quoted, features)]
        return f"CREATE TABLE {self._quoted} ({', '.join(columns)}) WITHOUT ROWID"

    def add(self, feature: str) -> str:
        return f"ALTER TABLE {self._quoted} ADD COLUMN {_quoted(feature)}"

    def count(self) -> str:
        return f"SELECT count(*) FROM {self._quoted}"

    def upsert(self, features: Sequence[str]) -> str:
        """Takes a row's key, time and the features; a row that is there already is left alone where it is the same."""
        names = [_TIME, *map(_quoted, features)]
        marks = ", ".join("?" * (1 + len(names)))
        changes = ", ".join(f"{name} = excluded.{name}" for name in names)
        differs = " OR ".join(f"{name} IS NOT excluded.{name}" for name in names)
        return (
            f"INSERT INTO {self._quoted} ({', '.join([_KEY, *names])}) VALUES ({marks}) "
            f"ON CONFLICT ({_KEY}) DO UPDATE SET {changes} WHERE {differs}"
        )

    def remove_all_but(self, kept: str) -> str:
        """Removes the rows whose keys are not in the first column of the table `kept`."""
        return f"DELETE FROM {self._quoted} WHERE {_KEY} NOT IN (SELECT * FROM {_quoted(kept)})"

    def lookup(self, features: Sequence[str]) -> "Lookup":
        # A name in quotes that is no column would be taken for a text by SQLite, were it not said of which table.
        columns = ", ".join(f"t.{name}" for name in (_TIME, *map(_quoted, features), _KEY))
        return Lookup(f"SELECT {columns} FROM {self._quoted} AS t WHERE t.{_KEY} IN ")


class Lookup:
    """Reads entities by their keys, many at a time."""

    def __init__(self, select: str) -> None:
        self._select = select
        self._statements: dict[int, str] = {}

    def __call__(self, cursor: sqlite3.Cursor, keys: Sequence[bytes]) -> Mapping[bytes, tuple[Cell, ...]]:
        """Rows of the entities that there are: time, features, key.

        Raises:
            sqlite3.Error: The file, the table or a column is missing, or cannot be read.
        """
        # Only so many statements are ever compiled: to compile one for a hundred keys takes longer than to run it.
        size = 1 << (len(keys) - 1).bit_length()
        statement = self._statements.get(size)
        if statement is None:
            statement = self._statements[size] = f"{self._select}({', '.join('?' * size)})"
        cursor.execute(statement, [*keys, *[keys[0]] * (size - len(keys))])
        return {row[-1]: row for row in cursor.fetchall()}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
