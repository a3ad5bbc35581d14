"""Requests of one turn of the event loop run together, and a long queue refuses."""

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from core.errors import ServiceError
from serving.runtime import batching
from serving.runtime.arrays import Arrays
from serving.runtime.batching import Batcher, Job
from serving.runtime.errors import ABANDONED, RefusedError
from serving.runtime.identity import identity
from serving.runtime.log import InferenceLog, read_log
from serving.runtime.metrics import Metrics
from serving.runtime.model import Model
from serving.runtime.outputs import Outputs
from tests.serving.conftest import expected, export


class Counted(Model):
    """Notes how many rows each run had, and runs as slowly as it is told to."""

    delay = 0.0

    def run(self, inputs: Arrays) -> Arrays:
        if self.delay:
            time.sleep(self.delay)
            self.runs.append(len(inputs[0]))
        return super().run(inputs)

    def start_counting(self, delay: float) -> None:
        self.runs: list[int] = []
        self.delay = delay


@pytest.fixture
def model(tmp_path: Path) -> Counted:
    model = Counted("jobs", 1, export(tmp_path / "model"), threads=1, max_batch_rows=64, max_batch_tokens=1024)
    model.buckets = tuple(replace(bucket, batch_rows=64) for bucket in model.buckets)
    model.start_counting(1e-6)
    return model


class Asked(Job):
    """Its outcome is its own rows of the outputs, or the reason for none."""

    def __init__(self, rows: np.ndarray, outcome: "asyncio.Future[object]", deadline: float = math.inf) -> None:
        self.inputs = (rows.reshape(-1),)
        self.rows = len(rows)
        self.length = 1
        self.identity = identity(None)
        self.started = time.perf_counter()
        self.deadline = deadline
        self.outcome = outcome

    def done(self, outputs: Outputs | RefusedError, start: int, end: int) -> None:
        refused = isinstance(outputs, RefusedError)
        self.outcome.set_result(outputs if refused else outputs.all(start, end))


def submit_all(model: Model, folder: Path, requests: list[np.ndarray], max_queued_rows: int = 4096) -> list[object]:
    """Submit all in one turn; the outcome of each, in their order."""

    async def run() -> list[object]:
        metrics = Metrics(CollectorRegistry())
        log = InferenceLog(folder / "log", metrics, 1e9, 1 << 30)
        with ThreadPoolExecutor() as executor:
            batcher = Batcher(model, log, metrics, executor, max_queued_rows, 10)
            outcomes: list[asyncio.Future[object]] = []
            for rows in requests:
                future = asyncio.get_running_loop().create_future()
                outcomes.append(future)
                try:
                    batcher.submit(Asked(rows, future))
                except RefusedError as refused:
                    future.set_result(refused)
            return list(await asyncio.gather(*outcomes))

    return asyncio.run(run())


def rows(count: int, age: float = 40.0) -> np.ndarray:
    return np.tile(np.array([age, 12, 5], np.float32), (count, 1))


def test_requests_of_one_turn_run_together_and_each_gets_its_own(model: Counted, tmp_path: Path) -> None:
    requests = [rows(1 + index % 3, age=index) for index in range(60)]
    outcomes = submit_all(model, tmp_path, requests)
    for request, outcome in zip(requests, outcomes, strict=True):
        assert isinstance(outcome, tuple)
        np.testing.assert_allclose(outcome[0], expected(request), rtol=1e-5)
    assert sum(model.runs) == 120
    assert len(model.runs) == 2
    assert read_log(tmp_path / "log", "jobs").num_rows == 120


def test_a_faulty_request_does_not_hurt_its_neighbours(model: Counted, tmp_path: Path) -> None:
    outcomes = submit_all(model, tmp_path, [rows(1), rows(2, age=-1), rows(1, age=np.inf), rows(3, age=20)])
    assert [isinstance(outcome, RefusedError) for outcome in outcomes] == [False, True, True, False]
    assert model.runs == [4]
    assert isinstance(outcomes[3], tuple)
    np.testing.assert_allclose(outcomes[3][0], expected(rows(3, age=20)), rtol=1e-5)
    assert read_log(tmp_path / "log", "jobs")["AGEP"].to_pylist() == [40, 20, 20, 20]


def test_a_request_larger_than_a_batch_runs_alone(model: Counted, tmp_path: Path) -> None:
    submit_all(model, tmp_path, [rows(10), rows(200), rows(10)])
    assert model.runs == [10, 200, 10]


def test_a_full_queue_refuses_and_keeps_what_it_took(model: Counted, tmp_path: Path) -> None:
    outcomes = submit_all(model, tmp_path, [rows(30)] * 5, max_queued_rows=100)
    assert [isinstance(outcome, tuple) for outcome in outcomes] == [True, True, True, False, False]
    refused = outcomes[-1]
    assert isinstance(refused, RefusedError)
    assert refused.status == 503


def test_clients_that_were_refused_are_heard_again_in_their_order(model: Counted, tmp_path: Path) -> None:
    heard: list[int] = []

    class Refused:
        def __init__(self, number: int) -> None:
            self.number = number

        def resume(self) -> None:
            heard.append(self.number)

    async def run() -> int:
        metrics = Metrics(CollectorRegistry())
        log = InferenceLog(tmp_path / "log", metrics, 1e9, 1 << 30)
        with ThreadPoolExecutor() as executor:
            batcher = Batcher(model, log, metrics, executor, 128, 10)
            futures = [asyncio.get_running_loop().create_future() for _ in range(8)]
            for future in futures:
                batcher.submit(Asked(rows(16), future))
            with pytest.raises(RefusedError) as refused:
                batcher.check_room(1)
            assert refused.value.resting is not None
            for number in range(100):
                refused.value.resting.add(Refused(number))
            await futures[0]
            at_first = len(heard)
            await asyncio.gather(*futures)
            while refused.value.resting:
                await asyncio.sleep(0)
            return at_first

    assert asyncio.run(run()) == 0
    assert heard == list(range(100))


def test_jobs_that_nobody_waits_for_are_skipped(model: Counted, tmp_path: Path) -> None:
    async def run() -> list[object]:
        metrics = Metrics(CollectorRegistry())
        log = InferenceLog(tmp_path / "log", metrics, 1e9, 1 << 30)
        with ThreadPoolExecutor() as executor:
            batcher = Batcher(model, log, metrics, executor, 4096, 10)
            futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
            jobs = [Asked(rows(2), future) for future in futures]
            for job in jobs:
                batcher.submit(job)
            jobs[1].cancel()
            return list(await asyncio.gather(*futures))

    first, second, third = asyncio.run(run())
    assert isinstance(first, tuple)
    assert isinstance(third, tuple)
    assert isinstance(second, RefusedError)
    assert second.status == ABANDONED
    assert model.runs == [4]
    assert read_log(tmp_path / "log", "jobs").num_rows == 4


def test_a_slow_graph_leaves_the_event_loop_free(
    model: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "INLINE_SECONDS", 0)
    model.delay = 0.2

    async def run() -> tuple[int, list[object]]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        metrics = Metrics(CollectorRegistry())
        log = InferenceLog(tmp_path / "log", metrics, 1e9, 1 << 30)
        ticker = asyncio.create_task(tick())
        with ThreadPoolExecutor() as executor:
            batcher = Batcher(model, log, metrics, executor, 4096, 10)
            first = asyncio.get_running_loop().create_future()
            batcher.submit(Asked(rows(1), first))
            await asyncio.sleep(0.05)  # what comes while it runs is gathered into one run
            others = [asyncio.get_running_loop().create_future() for _ in range(5)]
            for other in others:
                batcher.submit(Asked(rows(1), other))
            outcomes = await asyncio.gather(first, *others)
        ticker.cancel()
        return ticks, list(outcomes)

    ticks, outcomes = asyncio.run(run())
    assert all(isinstance(outcome, tuple) for outcome in outcomes)
    assert model.runs == [1, 5]
    assert ticks > 10


def test_a_text_column_without_categories_is_not_served(tmp_path: Path) -> None:
    folder = export(tmp_path / "model", text=True)
    described = (folder / "model.json").read_text().replace('"AREA": ["north", "south"]', "")
    (folder / "model.json").write_text(described)
    with pytest.raises(ServiceError, match="no categories for AREA"):
        Model("jobs", 1, folder, threads=1, max_batch_rows=64, max_batch_tokens=1024)
