"""Joins concurrent requests into one run of the graph, with no timer: what was parsed in one turn of the event
loop runs together, so that an idle server adds no wait and a busy one gathers larger batches by itself."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from serving.runtime.errors import GONE, RefusedError, abandoned, late, unavailable
from serving.runtime.identity import Identity
from serving.runtime.log import InferenceLog, LogWriteError
from serving.runtime.metrics import Metrics
from serving.runtime.model import DTYPES, Array, Arrays, Model
from serving.runtime.outputs import Outputs
from serving.runtime.resting import Resting

INLINE_SECONDS = 0.004
"""The longest run that may hold the event loop; a longer one goes to a thread."""
_MAKE_WAY = 1 / 16
"""The share of those who had their turn that others get in place of them."""
_MEMORY = 0.9
"""How much of the estimated time of a row stays after a run."""


class Job:
    """Rows of one request, and what to do with their outputs. The moments are of `time.perf_counter`."""

    __slots__ = ("deadline", "identity", "inputs", "rows", "started")

    inputs: Sequence[Array]
    """Flat, see `codec.Query`."""
    rows: int
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
        self._metrics.batch_limit.set(model.batch_rows)
        self._executor = executor
        self._max_queued_rows = max_queued_rows
        self._max_queue_seconds = max_queue_seconds
        self._row_seconds = model.seconds(model.batch_rows) / model.batch_rows
        self._jobs: deque[Job] = deque()
        self._resting = Resting()
        self._rows = 0
        self._job_rows = 1.0
        """Rows of a request, as the last run had them."""
        self._owed = 0.0
        """Turns that clients who rest are to get."""
        self._scheduled = False
        self._running = False

    def check_room(self, rows: int) -> None:
        """Whether so many rows more can be taken now.

        Raises:
            RefusedError: 503, the queue is full, or so long that its end would come too late.
        """
        if self._jobs and (
            self._rows + rows > self._max_queued_rows or self._rows * self._row_seconds > self._max_queue_seconds
        ):
            raise unavailable(f"the queue of {self._model.name} is full", self._resting)

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            RefusedError: 503, the queue is full; 504, the job's deadline would pass before its turn.
        """
        if self._jobs:
            self.check_room(job.rows)
            if job.deadline < math.inf and time.perf_counter() + self._rows * self._row_seconds > job.deadline:
                raise late(f"the queue of {self._model.name} is longer than the request can wait")
        self._jobs.append(job)
        self._rows += job.rows
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
            inputs = self._join(jobs)
            faults = self._model.faults(inputs)
            if faults is not None:
                jobs = self._refuse_faulty(jobs, inputs, faults)
                inputs = self._join(jobs) if jobs else inputs
        if jobs:
            self._metrics.queue_seconds.observe_since([job.started for job in jobs], started)
            if self._model.seconds(len(inputs[0])) <= INLINE_SECONDS:
                self._finish(jobs, inputs, self._timed_run(inputs))
            else:
                self._running = True
                self._busy.begin()
                future = asyncio.get_running_loop().run_in_executor(self._executor, self._timed_run, inputs)
                future.add_done_callback(lambda done: self._finish_threaded(jobs, inputs, done))
        if (self._jobs or self._resting) and not self._running:
            self._schedule()

    def _take(self, now: float) -> list[Job]:
        """The oldest jobs, as many as fit one run; one that is larger than a run on its own runs alone."""
        jobs: list[Job] = []
        rows = 0
        while self._jobs and (not jobs or rows + self._jobs[0].rows <= self._model.batch_rows):
            job = self._jobs.popleft()
            self._rows -= job.rows
            if job.deadline < now:
                gone = job.deadline == GONE
                job.done(abandoned() if gone else late("the request's time had passed before its turn"), 0, 0)
                continue
            jobs.append(job)
            rows += job.rows
        if jobs:
            self._job_rows = rows / len(jobs)
        return jobs

    def _wake(self, taken: int) -> None:
        """Hear so many who rest as half the room is for: the other half is for those who were not refused.

        A few for those who were taken at the least: else the same clients would have their turn again and again.
        """
        room = min(self._max_queued_rows, self._max_queue_seconds / self._row_seconds) / 2 - self._rows
        self._owed = self._owed % 1 + taken * _MAKE_WAY
        self._resting.wake(math.floor(max(math.ceil(room / self._job_rows), self._owed)))

    def _join(self, jobs: list[Job]) -> Arrays:
        return tuple(
            [
                _batch(arrays, DTYPES[tensor.datatype]).reshape(-1, *tensor.shape[1:])
                for tensor, arrays in zip(
                    self._model.spec.inputs, zip(*[job.inputs for job in jobs], strict=True), strict=True
                )
            ]
        )

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

    def _timed_run(self, inputs: Arrays) -> Arrays | RefusedError:
        started = time.perf_counter()
        try:
            return self._model.run(inputs)
        except RefusedError as refused:
            return refused
        finally:
            seconds = time.perf_counter() - started
            self._metrics.batch_seconds.observe(seconds)
            self._row_seconds = _MEMORY * self._row_seconds + (1 - _MEMORY) * seconds / len(inputs[0])

    def _finish_threaded(
        self, jobs: list[Job], inputs: Arrays, future: "asyncio.Future[Arrays | RefusedError]"
    ) -> None:
        self._running = False
        self._busy.end()
        self._finish(jobs, inputs, unavailable("the runtime stops") if future.cancelled() else future.result())
        if (self._jobs or self._resting) and not self._scheduled:
            self._schedule()

    def _finish(self, jobs: list[Job], inputs: Arrays, arrays: Arrays | RefusedError) -> None:
        if not isinstance(arrays, RefusedError):
            try:
                self._log.append(
                    self._journal_key,
                    b"".join([job.identity[0] for job in jobs]),
                    [job.rows for job in jobs],
                    inputs,
                    arrays,
                )
            except LogWriteError as error:
                arrays = unavailable(str(error))
        if isinstance(arrays, RefusedError):
            for job in jobs:
                job.done(arrays, 0, 0)
            return
        self._metrics.batch_rows.observe(len(inputs[0]))
        outputs = Outputs(arrays, self._model.spec)
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
