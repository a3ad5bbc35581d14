"""Journal segments as Parquet files, and as tables: the columns are those of the inference log, see `log`."""

import datetime as dt
import logging
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core import storage
from core.model_spec import Tensor
from serving.runtime import journal
from serving.runtime.arrays import Array
from serving.runtime.identity import texts
from serving.runtime.journal import Batch, Header

_DAY_US = 86_400_000_000
_GROUP_BYTES = 4 << 20
"""Of batches in a row group. Conversion needs a few times as much memory, however large the segment is, and no step of
it keeps the interpreter from requests for longer than a millisecond or two."""

logger = logging.getLogger("falaj.log")


def convert(segment: Path, target: str | Path) -> list[str]:
    """Write a segment's batches as Parquet, one file a date, each there whole or not at all.

    Args:
        segment: A closed segment.
        target: The log's folder, or its address in a bucket.

    Returns:
        The files.

    Raises:
        OSError: The segment cannot be read.
        StorageError: They cannot be written.
    """
    written: list[str] = []
    with segment.open("rb") as file:
        batches = journal.Reader(file)
        if batches.header is not None:
            for day, content in _days(batches.header, batches):
                uri = storage.join(target, batches.header.model, f"date={_date(day)}", f"{segment.stem}.parquet")
                storage.write(uri, content)
                written.append(uri)
    if batches.torn:
        logger.warning("%s ends in %d bytes of a batch that was never answered: dropped", segment.name, batches.torn)
    return written


def _days(header: Header, batches: Iterable[Batch]) -> Iterator[tuple[int, memoryview]]:
    """Days since 1970, each with its file."""
    files: dict[int, _File] = {}
    for day, group in _groups(batches):
        rows = table(header, group)
        if day not in files:
            files[day] = _File(rows.schema)
        files[day].writer.write_table(rows)
    for day, file in files.items():
        yield day, file.content()


class _File:
    """A Parquet file in memory."""

    def __init__(self, schema: pa.Schema) -> None:
        self._stream = pa.BufferOutputStream()
        kinds = {field.name: field.type for field in schema if field.name != "inference_id"}
        # Dictionaries of numbers and zstd would take most of the processor's time that the log costs.
        self.writer = pq.ParquetWriter(
            self._stream,
            schema,
            compression="lz4",
            write_statistics=["time", "version"],
            use_dictionary=[name for name, kind in kinds.items() if pa.types.is_string(kind)],
            use_byte_stream_split=[name for name, kind in kinds.items() if pa.types.is_floating(kind)],
        )

    def content(self) -> memoryview:
        self.writer.close()
        # A copy would keep the interpreter from requests for as long as it takes.
        return memoryview(self._stream.getvalue())


def _groups(batches: Iterable[Batch]) -> Iterator[tuple[int, list[Batch]]]:
    """Days since 1970, each with batches for one row group."""
    for day, same in groupby(batches, lambda batch: batch.time // _DAY_US):
        group: list[Batch] = []
        size = 0
        for batch in same:
            group.append(batch)
            size += batch.size
            if size >= _GROUP_BYTES:
                yield day, group
                group, size = [], 0
        if group:
            yield day, group


def table(header: Header, batches: list[Batch]) -> pa.Table:
    """The rows of a segment's batches, of which there is one at least."""
    counts = np.concatenate([batch.rows for batch in batches]).astype(np.int64)
    rows_of_batches = [int(batch.rows.sum()) for batch in batches]
    rows = int(counts.sum())
    starts = np.cumsum(counts) - counts
    columns: dict[str, Any] = {
        "time": pa.array(np.repeat([batch.time for batch in batches], rows_of_batches), pa.timestamp("us", "UTC")),
        "inference_id": pc.take(
            _uuids(b"".join(batch.ids for batch in batches)), pa.array(np.repeat(np.arange(len(counts)), counts))
        ),
        "row": pa.array((np.arange(rows) - np.repeat(starts, counts)).astype(np.int32)),
        "model": pa.repeat(header.model, rows),
        "version": pa.repeat(pa.scalar(header.version, pa.int32()), rows),
    }
    edges = None
    if any(tensor.is_sequence for tensor in (*header.inputs, *header.outputs)):
        lengths = np.repeat(np.concatenate([batch.lengths for batch in batches]), counts)
        edges = pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))
    outputs = {tensor.name for tensor in header.outputs}
    for index, tensor in enumerate(header.inputs):
        values = _by_column([batch.inputs[index] for batch in batches])
        for name, column in zip(_columns(tensor, len(values)), values, strict=True):
            taken = name in outputs or name in columns
            columns[f"feature_{name}" if taken else name] = _array(column, tensor, edges)
    for index, tensor in enumerate(header.outputs):
        values = _by_column([batch.outputs[index] for batch in batches])
        names = [tensor.name] if len(values) == 1 else _columns(tensor, len(values))
        for name, column in zip(names, values, strict=True):
            columns[name] = _array(column, tensor, edges)
    # Nothing is null, a missing number is NaN: Parquet need not say so of each value.
    schema = pa.schema([pa.field(name, column.type, nullable=False) for name, column in columns.items()])
    return pa.Table.from_arrays(list(columns.values()), schema=schema)


def _by_column(arrays: list[Array]) -> Array:
    """(columns, rows), of sequences (columns, tokens): turned batch by batch, since a batch fits a processor's cache
    and a segment does not."""
    turned = np.empty((arrays[0].size // len(arrays[0]), sum(map(len, arrays))), arrays[0].dtype)
    start = 0
    for array in arrays:
        turned[:, start : start + len(array)] = array.reshape(len(array), -1).T
        start += len(array)
    return turned


def _columns(tensor: Tensor, width: int) -> list[str]:
    if tensor.columns:
        return list(tensor.columns)
    if tensor.is_sequence and width == 1:
        return [tensor.name]
    return [f"{tensor.name}_{position}" for position in range(width)]


def _array(values: Array, tensor: Tensor, edges: pa.Array | None) -> pa.Array:
    if tensor.datatype == "BYTES":
        return pa.array(values, pa.string())
    return pa.ListArray.from_arrays(edges, pa.array(values)) if tensor.is_sequence else pa.array(values)


def _uuids(ids: bytes) -> pa.Array:
    count = len(ids) // 16
    offsets = np.arange(0, 36 * (count + 1), 36, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(texts(ids)))


def _date(day: int) -> str:
    return (dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat()
