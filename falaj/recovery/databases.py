"""The tracking database of one server, brought to another: from the SQLite file of a copy to PostgreSQL."""

import logging
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table, create_engine, delete, func, insert, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from core.errors import ConfigError, DataError
from core.telemetry import silence

_FRESH = {"experiments": 1, "registered_models": 0, "runs": 0}
"""Rows that MLflow's tables hold at most before anyone used them."""
_ROWS = 1000


def used(uri: str) -> bool:
    """Whether anyone has put something into MLflow's tables of a database.

    Raises:
        ConfigError: It cannot be reached.
    """
    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            there = set(inspect(connection).get_table_names())
            return any(_count(connection, name) > most for name, most in _FRESH.items() if name in there)
    except SQLAlchemyError as error:
        raise ConfigError(
            f"{uri} cannot be used ({error}): mend PGHOST, PGUSER, PGPASSWORD and PGSSLROOTCERT"
        ) from error
    finally:
        engine.dispose()


def move(source: Path, uri: str, artifacts: str) -> int:
    """Make MLflow's tables in a database, and fill them with the rows of a SQLite file.

    Args:
        artifacts: Where runs without a place of their own keep their artifacts.

    Returns:
        How many rows there are.

    Raises:
        DataError: The tables of the two are not of the same version of MLflow.
    """
    _create(uri, artifacts)
    origin, engine = create_engine(f"sqlite:///{source}"), create_engine(uri)
    try:
        return _copied(origin, engine)
    finally:
        origin.dispose()
        engine.dispose()


def _create(uri: str, artifacts: str) -> None:
    silence()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # Its tables come with the store: making one makes them.
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    made: Any = SqlAlchemyStore
    made(uri, artifacts).engine.dispose()


def _copied(origin: Engine, engine: Engine) -> int:
    tables = MetaData()
    with origin.connect() as reading, engine.begin() as writing:
        tables.reflect(writing)
        ordered = tables.sorted_tables
        there = set(inspect(reading).get_table_names())
        ours, theirs = (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            for connection in (reading, writing)
        )
        if ours != theirs:
            raise DataError(
                f"the copy's tables are of MLflow's version {ours}, and those made here of {theirs}: restore with the "
                "release that made the copy"
            )
        for table in reversed(ordered):
            writing.execute(delete(table))
        rows = sum(_copy(table, reading, writing) for table in ordered if table.name in there)
        if engine.dialect.name == "postgresql":
            for table in ordered:
                _continue_numbers(table, writing)
    return rows


def _copy(table: Table, reading: Connection, writing: Connection) -> int:
    count = 0
    # Generated columns are made of the others.
    columns = [column for column in table.columns if column.computed is None]
    result = reading.execution_options(stream_results=True).execute(select(*columns))
    while batch := result.fetchmany(_ROWS):
        writing.execute(insert(table), [dict(row._mapping) for row in batch])
        count += len(batch)
    return count


def _continue_numbers(table: Table, writing: Connection) -> None:
    """Let a table's own numbers go on after the greatest that was copied."""
    for column in table.primary_key.columns:
        if str(column.type).upper() not in ("INTEGER", "BIGINT"):
            continue
        sequence = writing.execute(select(func.pg_get_serial_sequence(f'"{table.name}"', column.name))).scalar()
        greatest = writing.execute(select(func.max(column))).scalar()
        if sequence is not None and greatest is not None:
            writing.execute(select(func.setval(sequence, greatest)))


def _count(connection: Connection, table: str) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608
