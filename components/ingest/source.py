"""Reading a table as its owner left it: CSV or Parquet, in a folder or a bucket, before any type is believed."""

import csv
import difflib
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from core import storage
from core.digest import bytes_digest
from core.errors import DataError, StorageError

_DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Source:
    """A file's columns: of strings, with null where a cell is empty, from CSV; as stored, from Parquet.

    `malformed` counts the lines of a CSV that have more or fewer cells than its header.
    """

    table: pa.Table
    dropped: tuple[str, ...]
    malformed: int
    digest: str


def read_source(uri: str, columns: Collection[str]) -> Source:
    """Read `columns` of a file and name the others, which are dropped before they are looked at.

    The digest is of the very bytes that were parsed.

    Args:
        uri: A path or an address in a bucket, ending in .csv, .csv.gz, .parquet or .pq.
        columns: The columns to read; each must be there.

    Raises:
        DataError: The file is missing, unreadable, cut short or of another format, or lacks a column.
    """
    suffixes = [suffix.lower() for suffix in PurePosixPath(uri).suffixes]
    parquet = suffixes[-1:] in ([".parquet"], [".pq"])
    compressed = suffixes[-2:] == [".csv", ".gz"]
    if not (parquet or compressed or suffixes[-1:] == [".csv"]):
        raise DataError(f"{uri}: only .csv, .csv.gz and .parquet files are read: convert it, or mend its name")
    try:
        data = storage.read(uri)
    except StorageError as error:
        raise DataError(str(error)) from error
    if data is None:
        raise DataError(f"{uri} cannot be read: there is no such file")
    if not data:
        raise DataError(f"{uri} is empty: write it again")
    if parquet:
        table, dropped, malformed = *_parquet(uri, data, columns), 0
    else:
        table, dropped, malformed = _csv(uri, _inflated(uri, data) if compressed else data, columns)
    return Source(table, dropped, malformed, bytes_digest(data))


def _parquet(uri: str, data: bytes, columns: Collection[str]) -> tuple[pa.Table, tuple[str, ...]]:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        dropped = _dropped(uri, file.schema_arrow.names, columns)
        return file.read(columns=list(columns)), dropped
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{uri} is not a whole Parquet file (cut short or damaged?): write it again") from error


def _inflated(uri: str, data: bytes) -> bytes:
    try:
        inflater = zlib.decompressobj(wbits=31)
        inflated = inflater.decompress(data)
    except zlib.error as error:
        raise DataError(f"{uri} is not a gzip file: write it again") from error
    if not inflater.eof:
        raise DataError(f"{uri} is cut short: write it again")
    return inflated


def _csv(uri: str, data: bytes, columns: Collection[str]) -> tuple[pa.Table, tuple[str, ...], int]:
    try:
        text = data.split(b"\n", 1)[0].decode("utf-8-sig").strip("\r")
    except UnicodeDecodeError as error:
        raise DataError(f"{uri} is not UTF-8 text: save it as CSV in UTF-8") from error
    delimiter = max(_DELIMITERS, key=text.count)
    header = [name.strip() for name in next(csv.reader([text], delimiter=delimiter), [])]
    dropped = _dropped(uri, header, columns)
    malformed = 0

    def skip(_: pc.InvalidRow) -> str:
        nonlocal malformed
        malformed += 1
        return "skip"

    try:
        table = pc.read_csv(
            pa.BufferReader(data),
            # One thread: the handler counts without a lock, and quoted newlines cannot be split over blocks.
            read_options=pc.ReadOptions(column_names=header, skip_rows=1, use_threads=False),
            parse_options=pc.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pc.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(columns, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowException as error:
        # Arrow quotes the offending line, which may be about a person.
        raise DataError(
            f"{uri} is not CSV in UTF-8 with one header line and a record a line: check it for an open quote"
        ) from error
    return table, dropped, malformed


def _dropped(uri: str, found: list[str], columns: Collection[str]) -> tuple[str, ...]:
    missing = [name for name in columns if name not in found]
    dropped = tuple(name for name in found if name not in columns)
    if missing:
        folded = {name.casefold(): name for name in dropped}
        hints = []
        for name in missing:
            close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.7)
            hints.append(f"{name} (did you mean {folded[close[0]]}?)" if close else name)
        raise DataError(f"{uri} lacks the columns {', '.join(hints)}: rename them there or in the contract")
    twice = sorted({name for name in columns if found.count(name) > 1})
    if twice:
        raise DataError(f"{uri} has the column {twice[0]} more than once: keep one")
    return dropped
