"""Joins concurrent requests into one run of the graph, with no timer: what was parsed in one turn of the event
loop runs together, so that an idle server adds no wait and a busy one gathers larger batches by itself."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from serving.runtime.errors import RefusedError, unavailable
from serving.runtime.log import InferenceLog, LogWriteError
from serving.runtime.metrics import Metrics
from serving.runtime.model import Arrays, Model

INLINE_SECONDS = 0.004
"""The longest run that may hold the event loop; a longer one goes to a thread."""

Done = Callable[[Arrays | RefusedError], None]


@dataclass(slots=True)
class Job:
    """Rows of one request; `done` is called once, on the event loop, with the outputs or the reason for none."""

    inputs: Arrays
    rows: int
    inference_id: bytes
    done: Done


class Batcher:
    """The queue of one version. All methods are called on the event loop."""

    def __init__(
        self,
        model: Model,
        log: InferenceLog,
        metrics: Metrics,
        executor: Executor,
        max_batch_rows: int,
        max_queued_rows: int,
    ) -> None:
        self._model = model
        self._log = log
        self._journal_key = log.register(model.name, model.version, model.spec)
        self._metrics = metrics.of_version(model.name, model.version)
        self._queued = metrics.queued_rows.labels(model.name)
        self._executor = executor
        self._max_batch_rows = max_batch_rows
        self._max_queued_rows = max_queued_rows
        self._jobs: deque[Job] = deque()
        self._rows = 0
        self._scheduled = False
        self._running = False

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            RefusedError: 503, the queue is full.
        """
        if self._rows + job.rows > self._max_queued_rows and self._jobs:
            raise unavailable(f"the queue of {self._model.name} is full")
        self._jobs.append(job)
        self._rows += job.rows
        if not self._scheduled and not self._running:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._run_batch)

    def _run_batch(self) -> None:
        self._scheduled = False
        jobs = self._take()
        self._queued.set(self._rows)
        inputs = _join(jobs)
        faults = self._model.faults(inputs)
        if faults is not None:
            jobs = self._refuse_faulty(jobs, faults)
            if jobs:
                inputs = _join(jobs)
        if jobs:
            rows = len(inputs[0])
            if self._model.seconds(rows) <= INLINE_SECONDS:
                self._finish(jobs, inputs, self._timed_run(inputs))
            else:
                self._running = True
                future = asyncio.get_running_loop().run_in_executor(self._executor, self._timed_run, inputs)
                future.add_done_callback(lambda done: self._finish_threaded(jobs, inputs, done))
        if self._jobs and not self._running:
            self._schedule()

    def _take(self) -> list[Job]:
        """The oldest jobs, as many as fit one run; one that is larger than a run on its own runs alone."""
        job = self._jobs.popleft()
        jobs, rows = [job], job.rows
        while self._jobs and rows + self._jobs[0].rows <= self._max_batch_rows:
            job = self._jobs.popleft()
            jobs.append(job)
            rows += job.rows
        self._rows -= rows
        return jobs

    def _refuse_faulty(self, jobs: list[Job], faults: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> list[Job]:
        sound = []
        start = 0
        for job in jobs:
            if faults[start : start + job.rows].any():
                job.done(self._model.fault(job.inputs))
            else:
                sound.append(job)
            start += job.rows
        return sound

    def _timed_run(self, inputs: Arrays) -> Arrays | RefusedError:
        started = time.perf_counter()
        try:
            return self._model.run(inputs)
        except RefusedError as refused:
            return refused
        finally:
            self._metrics.batch_seconds.observe(time.perf_counter() - started)

    def _finish_threaded(
        self, jobs: list[Job], inputs: Arrays, future: "asyncio.Future[Arrays | RefusedError]"
    ) -> None:
        self._running = False
        self._finish(jobs, inputs, unavailable("the runtime stops") if future.cancelled() else future.result())
        if self._jobs and not self._scheduled:
            self._schedule()

    def _finish(self, jobs: list[Job], inputs: Arrays, outputs: Arrays | RefusedError) -> None:
        if not isinstance(outputs, RefusedError):
            try:
                self._log.append(
                    self._journal_key,
                    b"".join([job.inference_id for job in jobs]),
                    [job.rows for job in jobs],
                    inputs,
                    outputs,
                )
            except LogWriteError as error:
                outputs = unavailable(str(error))
        if isinstance(outputs, RefusedError):
            for job in jobs:
                job.done(outputs)
            return
        self._metrics.batch_rows.observe(len(inputs[0]))
        if len(jobs) == 1:
            jobs[0].done(outputs)
            return
        start = 0
        for job in jobs:
            end = start + job.rows
            job.done(tuple([array[start:end] for array in outputs]))
            start = end


def _join(jobs: list[Job]) -> Arrays:
    if len(jobs) == 1:
        return jobs[0].inputs
    return tuple([np.concatenate(arrays) for arrays in zip(*[job.inputs for job in jobs], strict=True)])
