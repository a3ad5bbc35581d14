"""The inference log: every answered inference, without identifiers, as Parquet.

`<folder>/<model>/date=YYYY-MM-DD/<segment>.parquet` holds the columns `time` (µs, UTC), `inference_id`, `row`
(within its request), `model`, `version`, one for each feature, one for each output. It is complete and blocks no
request: an answer is sent only when its rows are in a journal segment (see `journal`), and a thread turns closed
segments into Parquet. A Parquet file is named after its segment, so a crash between its writing and the segment's
deletion repeats the file and duplicates nothing.
"""

import datetime as dt
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import FalajError
from core.model_spec import ModelSpec, Tensor
from serving.runtime import journal
from serving.runtime.identity import texts
from serving.runtime.journal import Batch, Header, Segment
from serving.runtime.metrics import Metrics
from serving.runtime.model import Array, Arrays

JOURNAL = "_journal"
"""The folder of segments beside a model's dates: readers of datasets skip names that begin with an underscore."""
_DAY_US = 86_400_000_000
_RETRY_S = 1.0
_RECOVER_S = 60.0
_PROBE_BYTES = 1 << 16

logger = logging.getLogger("falaj.log")


class LogWriteError(FalajError):
    """The journal cannot be written, so nothing may be answered."""


class InferenceLog:
    """Appends to the journal and keeps its thread. `append` and `rotate` belong to one thread, the event loop's."""

    def __init__(self, folder: Path, metrics: Metrics, rotate_seconds: float, rotate_bytes: int) -> None:
        self._folder = folder
        self._metrics = metrics
        self._rotate_seconds = rotate_seconds
        self._rotate_bytes = rotate_bytes
        self._headers: dict[tuple[str, int], Header] = {}
        self._rows: dict[str, Any] = {}
        self._open: dict[tuple[str, int], Segment] = {}
        self._closed: queue.Queue[Segment | None] = queue.Queue()
        self._pending: deque[Segment] = deque()
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._work, name="inference-log", daemon=True)

    @property
    def failure(self) -> str | None:
        """Why the log cannot be written now; None where it can. A disk that has room again heals it by itself."""
        return self._failure

    def start(self) -> None:
        """Check that the folder can be written, take over what dead processes left, and start the thread."""
        self._probe()
        self._thread.start()

    def register(self, model: str, version: int, spec: ModelSpec) -> tuple[str, int]:
        """Make a version known; the key that is returned is what `append` takes."""
        key = (model, version)
        self._headers[key] = Header(model=model, version=version, inputs=spec.inputs, outputs=spec.outputs)
        self._rows[model] = self._metrics.log_rows.labels(model)
        return key

    def append(self, key: tuple[str, int], ids: bytes, rows: list[int], inputs: Arrays, outputs: Arrays) -> None:
        """Log a batch before it is answered: one write() to the page cache.

        Args:
            key: From `register`.
            ids: 16 bytes a request.
            rows: How many rows each request has.
            inputs: What the graph was given.
            outputs: What it gave.

        Raises:
            LogWriteError: The disk is full or broken; nothing was logged.
        """
        try:
            segment = self._open.get(key)
            if segment is None:
                header = self._headers[key]
                segment = Segment.create(self._folder / header.model / JOURNAL, header)
                self._open[key] = segment
            written = segment.append(ids, rows, inputs, outputs)
        except OSError as error:
            self._metrics.log_failures.labels("journal").inc()
            self._fail(error)
            raise LogWriteError(f"the inference log cannot be written ({os.strerror(error.errno or 0)})") from error
        self._metrics.log_bytes.inc(written)
        self._rows[key[0]].inc(len(inputs[0]))
        if segment.size >= self._rotate_bytes:
            self._close(key)

    def rotate(self, everything: bool = False) -> None:
        """Close the segments that are old enough, or all."""
        horizon = time.time() - self._rotate_seconds
        for key, segment in list(self._open.items()):
            if everything or segment.opened <= horizon:
                self._close(key)

    def close(self, timeout: float) -> None:
        """Turn all that is left into Parquet; what does not fit into `timeout` seconds is done at the next start."""
        self.rotate(everything=True)
        self._closed.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive() or self._pending:
            logger.warning("the inference log has segments left, which the next start turns into Parquet")

    def _close(self, key: tuple[str, int]) -> None:
        self._closed.put(self._open.pop(key))

    def _fail(self, error: OSError) -> None:
        if self._failure is None:
            logger.error("the inference log %s cannot be written: %s", self._folder, error)
        self._failure = os.strerror(error.errno or 0)

    def _probe(self) -> None:
        """Find out whether the disk takes data again, with a file as large as several batches."""
        path = self._folder / f".probe-{os.getpid()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("wb") as probe:
                    probe.write(bytes(_PROBE_BYTES))
            finally:
                path.unlink(missing_ok=True)
        except OSError as error:
            self._fail(error)
            return
        if self._failure is not None:
            logger.warning("the inference log can be written again")
        self._failure = None

    def _work(self) -> None:
        stopping = False
        recovered = -_RECOVER_S
        while True:
            if time.monotonic() - recovered >= _RECOVER_S:
                self._pending.extend(self._leftovers())
                recovered = time.monotonic()
            try:
                segment = self._closed.get(timeout=_RETRY_S)
                while True:
                    if segment is None:
                        stopping = True
                    else:
                        self._pending.append(segment)
                    segment = self._closed.get_nowait()
            except queue.Empty:
                pass
            if self._failure is not None:
                self._probe()
            progressed = self._convert_pending()
            if stopping and (not self._pending or not progressed):
                return

    def _convert_pending(self) -> bool:
        """Turn pending segments into Parquet, the oldest first, until one fails."""
        progressed = True
        while self._pending and progressed:
            segment = self._pending[0]
            try:
                convert(segment.path, self._folder)
                segment.remove()
                self._pending.popleft()
            except (OSError, pa.ArrowException) as error:
                self._metrics.log_failures.labels("parquet").inc()
                logger.error("%s cannot be turned into Parquet yet: %s", segment.path.name, error)
                progressed = False
        self._metrics.log_backlog_bytes.set(sum(segment.size for segment in self._pending))
        oldest = min((segment.opened for segment in (*self._pending, *list(self._open.values()))), default=None)
        self._metrics.log_lag_seconds.set(0 if oldest is None else time.time() - oldest)
        return progressed

    def _leftovers(self) -> Iterator[Segment]:
        for path in sorted(self._folder.glob(f"*/{JOURNAL}/*{journal.SUFFIX}")):
            segment = Segment.take_over(path)
            if segment is not None:
                logger.info("recovering %s, which a process that died left behind", path.name)
                yield segment


def convert(segment: Path, folder: Path) -> list[Path]:
    """Write a segment's batches as Parquet, one file a date, each there whole or not at all.

    Args:
        segment: A closed segment.
        folder: The log's folder.

    Returns:
        The files.

    Raises:
        OSError: They cannot be written.
    """
    header, batches, torn = journal.read(segment)
    if torn:
        logger.warning("%s ends in %d bytes of a batch that was never answered: dropped", segment.name, torn)
    if header is None:
        return []
    days: dict[int, list[Batch]] = {}
    for batch in batches:
        days.setdefault(batch.time // _DAY_US, []).append(batch)
    return [
        _write(_table(header, batches), folder / header.model / f"date={_date(day)}" / f"{segment.stem}.parquet")
        for day, batches in days.items()
    ]


def read_log(folder: str | Path, model: str) -> pa.Table:
    """Every answered inference of a model, those included that are not yet Parquet; safe beside a running runtime.

    Returns:
        The columns of the module's description, in the order of time. A column that only some versions have is
        null for the others.

    Raises:
        OSError: A file cannot be read.
    """
    root = Path(folder) / model
    tables: dict[str, pa.Table] = {}
    # Segments first: one that becomes Parquet meanwhile is found there.
    for path in (root / JOURNAL).glob(f"*{journal.SUFFIX}"):
        try:
            header, batches, _ = journal.read(path)
        except FileNotFoundError:
            continue
        if header is not None and batches:
            tables[path.stem] = _table(header, batches)
    files = [path for path in root.glob("date=*/*.parquet") if path.stem not in tables]
    found = [*tables.values(), *(pq.ParquetFile(path).read() for path in files)]
    if not found:
        return _FIXED_SCHEMA.empty_table()
    return pa.concat_tables(found, promote_options="default").sort_by("time")


_FIXED_SCHEMA = pa.schema(
    {
        "time": pa.timestamp("us", "UTC"),
        "inference_id": pa.string(),
        "row": pa.int32(),
        "model": pa.string(),
        "version": pa.int32(),
    }
)


def _table(header: Header, batches: list[Batch]) -> pa.Table:
    counts = np.concatenate([batch.rows for batch in batches]).astype(np.int64)
    rows_of_batches = [len(batch.inputs[0]) for batch in batches]
    rows = int(counts.sum())
    starts = np.cumsum(counts) - counts
    columns: dict[str, Any] = {
        "time": pa.array(np.repeat([batch.time for batch in batches], rows_of_batches), pa.timestamp("us", "UTC")),
        "inference_id": _uuids(b"".join(batch.ids for batch in batches)).take(
            pa.array(np.repeat(np.arange(len(counts)), counts))
        ),
        "row": pa.array((np.arange(rows) - np.repeat(starts, counts)).astype(np.int32)),
        "model": pa.repeat(header.model, rows),
        "version": pa.repeat(pa.scalar(header.version, pa.int32()), rows),
    }
    outputs = {tensor.name for tensor in header.outputs}
    for index, tensor in enumerate(header.inputs):
        values = np.concatenate([batch.inputs[index] for batch in batches]).reshape(rows, -1)
        for position, name in enumerate(_columns(tensor, values.shape[1])):
            taken = name in outputs or name in columns
            columns[f"feature_{name}" if taken else name] = _array(values[:, position], tensor)
    for index, tensor in enumerate(header.outputs):
        values = np.concatenate([batch.outputs[index] for batch in batches]).reshape(rows, -1)
        names = [tensor.name] if values.shape[1] == 1 else _columns(tensor, values.shape[1])
        for position, name in enumerate(names):
            columns[name] = _array(values[:, position], tensor)
    return pa.table(columns)


def _columns(tensor: Tensor, width: int) -> list[str]:
    return list(tensor.columns) or [f"{tensor.name}_{position}" for position in range(width)]


def _array(values: Array, tensor: Tensor) -> pa.Array:
    if tensor.datatype == "BYTES":
        return pa.array(values, pa.string())
    return pa.array(np.ascontiguousarray(values))


def _uuids(ids: bytes) -> pa.Array:
    count = len(ids) // 16
    offsets = np.arange(0, 36 * (count + 1), 36, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(texts(ids).tobytes()))


def _write(table: pa.Table, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as stream:
            pq.write_table(table, stream, compression="zstd")
            stream.flush()
            os.fsync(stream.fileno())
    except (OSError, pa.ArrowException):
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)
    return path


def _date(day: int) -> str:
    return (dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat()
