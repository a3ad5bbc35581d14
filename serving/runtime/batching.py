"""Joins concurrent requests into one run of the graph, with no timer: what was parsed in one turn of the event
loop runs together, so that an idle server adds no wait and a busy one gathers larger batches by itself.

Sequences run together where they are filled up to the same length (see `lengths`). Whose turn it is says the oldest.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from serving.runtime.arrays import DTYPES, Array, Arrays
from serving.runtime.errors import GONE, RefusedError, abandoned, late, unavailable
from serving.runtime.identity import Identity
from serving.runtime.lengths import Cut, fill_up
from serving.runtime.log import InferenceLog, LogWriteError
from serving.runtime.metrics import Metrics
from serving.runtime.model import Bucket, Model
from serving.runtime.outputs import Outputs
from serving.runtime.resting import Resting

INLINE_SECONDS = 0.004
"""The longest run that may hold the event loop; a longer one goes to a thread."""
_MAKE_WAY = 1 / 16
"""The share of those who had their turn that others get in place of them."""
_MEMORY = 0.9
"""How much of the estimated pace stays after a run."""


class Job:
    """Rows of one request, and what to do with their outputs. The moments are of `time.perf_counter`."""

    __slots__ = ("deadline", "identity", "inputs", "length", "rows", "started")

    inputs: Sequence[Array]
    """Flat, see `codec.Query`."""
    rows: int
    length: int
    """Of its sequences; 1 of a model without."""
    identity: Identity
    started: float
    """When the request was there whole."""
    deadline: float
    """When an answer is of no use any more."""

    def done(self, outputs: Outputs | RefusedError, start: int, end: int) -> None:
        """Take the outputs of the run and which of its rows are the request's own, or the reason for none.

        Called once, on the event loop, when the rows are in the log.
        """
        raise NotImplementedError

    def cancel(self) -> None:
        """Skip its turn, if it still waits for one: nobody waits for the answer any more."""
        self.deadline = GONE


class Batcher:
    """The queue of one version. All methods are called on the event loop."""

    def __init__(
        self,
        model: Model,
        log: InferenceLog,
        metrics: Metrics,
        executor: Executor,
        max_queued_rows: int,
        max_queue_seconds: float,
    ) -> None:
        self._model = model
        self._log = log
        self._journal_key = log.register(model.name, model.version, model.spec)
        self._metrics = metrics.of_version(model.name, model.version)
        self._busy = metrics.busy
        self._metrics.queued_rows.set_function(lambda: self._rows)
        self._metrics.batch_limit.set(max(bucket.batch_rows for bucket in model.buckets))
        self._executor = executor
        self._buckets = model.buckets
        self._inputs = [
            (tensor if tensor.is_sequence else None, DTYPES[tensor.datatype], tensor.shape[1:])
            for tensor in model.spec.inputs
        ]
        self._max_queued_rows = max_queued_rows
        self._max_queue_seconds = max_queue_seconds
        self._queues: dict[int, deque[Job]] = {}
        """Jobs by the length of their run; none is empty."""
        self._resting = Resting()
        self._rows = 0
        self._work = 0.0
        """Seconds that all jobs would take as measured at warm-up."""
        self._pace = 1.0
        """How many seconds one of those takes now."""
        self._job_rows = 1.0
        self._job_work = model.buckets[-1].row_seconds
        """Rows and work of a request, as the last run had them."""
        self._owed = 0.0
        """Turns that clients who rest are to get."""
        self._scheduled = False
        self._running = False

    def check_room(self, rows: int) -> None:
        """Whether so many rows more can be taken now.

        Raises:
            RefusedError: 503, the queue is full, or so long that its end would come too late.
        """
        if self._queues and (
            self._rows + rows > self._max_queued_rows or self._work * self._pace > self._max_queue_seconds
        ):
            raise unavailable(f"the queue of {self._model.name} is full", self._resting)

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            RefusedError: 503, the queue is full; 504, the job's deadline would pass before its turn.
        """
        if self._queues:
            self.check_room(job.rows)
            if job.deadline < math.inf and time.perf_counter() + self._work * self._pace > job.deadline:
                raise late(f"the queue of {self._model.name} is longer than the request can wait")
        rows, bucket = job.rows, self._buckets[job.length]
        queue = self._queues.get(bucket.length)
        if queue is None:
            queue = self._queues[bucket.length] = deque()
        queue.append(job)
        self._rows += rows
        self._work += rows * bucket.row_seconds
        if not self._scheduled and not self._running:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._run_batch)

    def _run_batch(self) -> None:
        self._scheduled = False
        if self._running:
            # An answer in the last turn brought the next request of its client, which scheduled a run of its own.
            return
        started = time.perf_counter()
        jobs = self._take(started)
        self._wake(len(jobs))
        if jobs:
            bucket = self._buckets[jobs[0].length]
            inputs = self._join(jobs, bucket)
            faults = self._model.faults(inputs)
            if faults is not None:
                jobs = self._refuse_faulty(jobs, inputs, faults)
                inputs = self._join(jobs, bucket) if jobs else inputs
        if jobs:
            self._metrics.queue_seconds.observe_since([job.started for job in jobs], started)
            if bucket.seconds(len(inputs[0])) <= INLINE_SECONDS:
                self._finish(jobs, bucket, inputs, self._timed_run(bucket, inputs))
            else:
                self._running = True
                self._busy.begin()
                future = asyncio.get_running_loop().run_in_executor(self._executor, self._timed_run, bucket, inputs)
                future.add_done_callback(lambda done: self._finish_threaded(jobs, bucket, inputs, done))
        if (self._queues or self._resting) and not self._running:
            self._schedule()

    def _take(self, now: float) -> list[Job]:
        """The oldest job and those after it that run at its length, as many as fit; one that is larger than a run on
        its own runs alone."""
        jobs: list[Job] = []
        if not self._queues:
            return jobs
        length, *others = self._queues
        if others:
            length = min(self._queues, key=lambda length: self._queues[length][0].started)
        queue, bucket = self._queues[length], self._buckets[length]
        rows = rows_gone = 0
        gone: list[Job] = []
        while queue and (not jobs or rows + queue[0].rows <= bucket.batch_rows):
            job = queue.popleft()
            if job.deadline < now:
                gone.append(job)
                rows_gone += job.rows
                continue
            jobs.append(job)
            rows += job.rows
        self._rows -= rows + rows_gone
        self._work -= (rows + rows_gone) * bucket.row_seconds
        if not queue:
            del self._queues[length]
            if not self._queues:
                # What rounding left over.
                self._work = 0.0
        if jobs:
            self._job_rows = rows / len(jobs)
            self._job_work = self._job_rows * bucket.row_seconds
        for job in gone:
            abandons = job.deadline == GONE
            job.done(abandoned() if abandons else late("the request's time had passed before its turn"), 0, 0)
        return jobs

    def _wake(self, taken: int) -> None:
        """Hear so many who rest as half the room is for: the other half is for those who were not refused.

        A few for those who were taken at the least: else the same clients would have their turn again and again.
        """
        room = min(
            (self._max_queued_rows / 2 - self._rows) / self._job_rows,
            (self._max_queue_seconds / 2 / self._pace - self._work) / self._job_work,
        )
        self._owed = self._owed % 1 + taken * _MAKE_WAY
        self._resting.wake(math.floor(max(math.ceil(room), self._owed)))

    def _join(self, jobs: list[Job], bucket: Bucket) -> Arrays:
        joined = []
        given = zip(*[job.inputs for job in jobs], strict=True)
        for (sequence, dtype, shape), arrays in zip(self._inputs, given, strict=True):
            if sequence is not None:
                shape = (bucket.length, *shape[1:])
                arrays = tuple(
                    [
                        array if job.length == bucket.length else fill_up(array, job.rows, bucket.length, sequence)
                        for job, array in zip(jobs, arrays, strict=True)
                    ]
                )
            joined.append(_batch(arrays, dtype).reshape(-1, *shape))
        return tuple(joined)

    def _refuse_faulty(
        self, jobs: list[Job], inputs: Arrays, faults: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
    ) -> list[Job]:
        sound = []
        start = 0
        for job in jobs:
            end = start + job.rows
            if faults[start:end].any():
                job.done(self._model.fault(tuple([array[start:end] for array in inputs])), 0, 0)
            else:
                sound.append(job)
            start = end
        return sound

    def _timed_run(self, bucket: Bucket, inputs: Arrays) -> Arrays | RefusedError:
        started = time.perf_counter()
        try:
            return self._model.run(inputs)
        except RefusedError as refused:
            return refused
        finally:
            seconds = time.perf_counter() - started
            self._metrics.batch_seconds.observe(seconds)
            pace = seconds / (len(inputs[0]) * bucket.row_seconds)
            self._pace = _MEMORY * self._pace + (1 - _MEMORY) * pace

    def _finish_threaded(
        self, jobs: list[Job], bucket: Bucket, inputs: Arrays, future: "asyncio.Future[Arrays | RefusedError]"
    ) -> None:
        self._running = False
        self._busy.end()
        outcome = unavailable("the runtime stops") if future.cancelled() else future.result()
        self._finish(jobs, bucket, inputs, outcome)
        if (self._queues or self._resting) and not self._scheduled:
            self._schedule()

    def _finish(self, jobs: list[Job], bucket: Bucket, inputs: Arrays, arrays: Arrays | RefusedError) -> None:
        batch_rows = len(inputs[0])
        rows = [job.rows for job in jobs]
        edges: list[int] | None = None
        if not isinstance(arrays, RefusedError):
            lengths: list[int] = []
            if self._model.spec.sequences is not None:
                lengths = [job.length for job in jobs]
                cut = Cut(rows, lengths, bucket.length)
                edges = cut.edges
                inputs, arrays = cut(inputs, self._model.spec.inputs), cut(arrays, self._model.spec.outputs)
                self._metrics.tokens.inc(batch_rows * bucket.length)
                self._metrics.padded_tokens.inc(cut.padding)
            try:
                ids = b"".join([job.identity[0] for job in jobs])
                self._log.append(self._journal_key, ids, rows, inputs, arrays, lengths)
            except LogWriteError as error:
                arrays = unavailable(str(error))
        if isinstance(arrays, RefusedError):
            for job in jobs:
                job.done(arrays, 0, 0)
            return
        self._metrics.batch_rows.observe(batch_rows)
        outputs = Outputs(arrays, self._model.spec, edges)
        start = 0
        for job in jobs:
            end = start + job.rows
            job.done(outputs, start, end)
            start = end
        self._metrics.answered.inc(len(jobs))
        self._metrics.seconds.observe_since([job.started for job in jobs], time.perf_counter())


def _batch(arrays: tuple[Array, ...], dtype: np.dtype[Any]) -> Array:
    """One flat array of `dtype`. What does not fit a float becomes infinite."""
    joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    if joined.dtype == dtype:
        return joined
    with np.errstate(over="ignore"):
        return joined.astype(dtype)
