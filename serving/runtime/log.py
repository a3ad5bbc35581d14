"""The inference log: every answered inference, without identifiers, as Parquet.

`<folder>/<model>/date=YYYY-MM-DD/<segment>.parquet` holds the columns `time` (µs, UTC), `inference_id`, `row`
(within its request), `model`, `version`, one for each feature, one for each output; a sequence is a list, as long as
it came. It is complete and blocks no request: an answer is sent only when its rows are in a journal segment (see
`journal`), and a thread turns closed segments into Parquet. A Parquet file is named after its segment, so a crash
between its writing and the segment's deletion repeats the file and duplicates nothing.

Where the log lies in a bucket, the journal is in a folder of this machine, the spool, whose size is bounded: while the
store is away answers go on until the spool is full, and then nothing is answered that could not be logged.
"""

import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core import storage
from core.errors import ConfigError, FalajError, StorageError
from core.model_spec import ModelSpec
from serving.runtime import journal
from serving.runtime.arrays import Arrays
from serving.runtime.journal import Header, Segment
from serving.runtime.log_parquet import convert, table
from serving.runtime.metrics import Metrics

JOURNAL = "_journal"
"""The folder of segments beside a model's dates: readers of datasets skip names that begin with an underscore."""
_RETRY_S = 1.0
_RECOVER_S = 60.0
_PROBE_BYTES = 1 << 16
_NICENESS = 10
"""Of the log's thread, that a request need not wait for a slice of the processor's time while a segment becomes
Parquet; where the processor has no time left at all, this still is a tenth of it, several times what the log needs."""

logger = logging.getLogger("falaj.log")


class LogWriteError(FalajError):
    """The journal cannot be written, so nothing may be answered."""


class InferenceLog:
    """Appends to the journal and keeps its thread. `append` and `rotate` belong to one thread, the event loop's."""

    def __init__(
        self,
        target: str | Path,
        metrics: Metrics,
        rotate_seconds: float,
        rotate_bytes: int,
        spool: Path | None = None,
        spool_bytes: int = 512 << 20,
    ) -> None:
        """A log below `target`.

        Args:
            target: A path, or the address of a bucket.
            spool: Where the journal is; `target` itself by default.
            spool_bytes: How large the journal may become in a spool.

        Raises:
            ConfigError: `target` is in a bucket, and no spool is given.
        """
        folder = spool or storage.local_path(target)
        if folder is None:
            raise ConfigError(
                f"the inference log {target} lies in a bucket: set --log-spool (FALAJ_LOG_SPOOL) to a folder of this "
                "machine for its journal"
            )
        self._target = target
        self._folder = folder
        self._limit = spool_bytes if spool is not None else None
        self._metrics = metrics
        self._rotate_seconds = rotate_seconds
        self._rotate_bytes = rotate_bytes
        self._headers: dict[tuple[str, int], Header] = {}
        self._rows: dict[str, Any] = {}
        self._open: dict[tuple[str, int], Segment] = {}
        # What was closed, counted by the event loop's thread alone; what became Parquet, less what was taken over, by
        # the log's alone.
        self._journalled = 0
        self._settled = 0
        self._closed: queue.Queue[Segment | None] = queue.Queue()
        self._pending: deque[Segment] = deque()
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._work, name="inference-log", daemon=True)

    @property
    def failure(self) -> str | None:
        """Why the log cannot be written now; None where it can. A disk that has room again heals it by itself."""
        if self._failure is None and self._is_full():
            return f"its spool {self._folder} is full, since {self._target} cannot be written"
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

    def append(
        self,
        key: tuple[str, int],
        ids: bytes,
        rows: list[int],
        inputs: Arrays,
        outputs: Arrays,
        lengths: Sequence[int] = (),
    ) -> None:
        """Log a batch before it is answered: one write() to the page cache.

        Args:
            key: From `register`.
            ids: 16 bytes a request.
            rows: How many rows each request has.
            inputs: What the graph was given; of sequences (tokens, …), see `lengths.Cut`.
            outputs: What it gave, likewise.
            lengths: How long the sequences of each request are, of a model that has such.

        Raises:
            LogWriteError: The disk is full or broken, or the spool is full; nothing was logged.
        """
        if self._is_full():
            self._metrics.log_failures.labels("spool").inc()
            raise LogWriteError(f"the inference log cannot be written ({self.failure})")
        try:
            segment = self._open.get(key)
            if segment is None:
                header = self._headers[key]
                segment = Segment.create(self._folder / header.model / JOURNAL, header)
                self._open[key] = segment
            written = segment.append(ids, rows, inputs, outputs, lengths)
        except OSError as error:
            self._metrics.log_failures.labels("journal").inc()
            self._fail(error)
            raise LogWriteError(f"the inference log cannot be written ({os.strerror(error.errno or 0)})") from error
        self._metrics.log_bytes.inc(written)
        self._rows[key[0]].inc(sum(rows))
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
        segment = self._open.pop(key)
        self._journalled += segment.size
        self._closed.put(segment)

    def _is_full(self) -> bool:
        if self._limit is None:
            return False
        open_now = sum(segment.size for segment in list(self._open.values()))
        return self._journalled - self._settled + open_now > self._limit

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
        # On Linux a thread's own; it may not be lowered again where the process has more.
        niceness = max(_NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
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
                convert(segment.path, self._target)
                # Arrow would keep what the largest segment took for the next one as large.
                pa.default_memory_pool().release_unused()
                segment.remove()
                self._pending.popleft()
                self._settled += segment.size
            except (OSError, StorageError, pa.ArrowException) as error:
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
                self._settled -= segment.size
                yield segment


def read_log(target: str | Path, model: str) -> pa.Table:
    """Every answered inference of a model; safe beside a running runtime.

    Args:
        target: The log's folder, of which the journal is read too, or its address in a bucket, where only what is
            Parquet already can be seen.

    Returns:
        The columns of the module's description, in the order of time. A column that only some versions have is
        null for the others.

    Raises:
        OSError: A segment cannot be read.
        StorageError: A file cannot be read.
    """
    folder = storage.local_path(target)
    tables: dict[str, pa.Table] = {}
    # Segments first: one that becomes Parquet meanwhile is found there.
    for path in (folder / model / JOURNAL).glob(f"*{journal.SUFFIX}") if folder is not None else ():
        try:
            with path.open("rb") as file:
                reader = journal.Reader(file)
                batches = list(reader)
        except FileNotFoundError:
            continue
        if reader.header is not None and batches:
            tables[path.stem] = table(reader.header, batches)
    root = storage.join(target, model)
    files = [
        storage.join(root, date, name)
        for date in storage.names(root)
        if date.startswith("date=")
        for name in storage.names(storage.join(root, date))
        if name.endswith(".parquet") and name.removesuffix(".parquet") not in tables and not name.startswith(".")
    ]
    found = [*tables.values(), *(_read(uri) for uri in files)]
    if not found:
        return _FIXED_SCHEMA.empty_table()
    return pa.concat_tables(found, promote_options="default").sort_by("time")


def _read(uri: str) -> pa.Table:
    with storage.opened(uri) as stream:
        return pq.ParquetFile(stream).read()


_FIXED_SCHEMA = pa.schema(
    {
        "time": pa.timestamp("us", "UTC"),
        "inference_id": pa.string(),
        "row": pa.int32(),
        "model": pa.string(),
        "version": pa.int32(),
    }
)
