"""How busy the runtime is: what the event loop computes, and runs in threads however little they compute."""

import time

from prometheus_client import CollectorRegistry, generate_latest

from serving.runtime.busy import Busy


def test_a_run_that_computes_nothing_counts_and_rest_does_not() -> None:
    busy = Busy(CollectorRegistry())
    started, before = time.perf_counter(), busy.seconds()
    time.sleep(0.1)
    rested = busy.seconds() - before
    busy.begin()
    busy.begin()
    time.sleep(0.1)
    busy.end()
    during = busy.seconds()
    time.sleep(0.1)
    busy.end()
    assert rested < 0.1
    assert during - before >= 0.1
    assert 0.2 <= busy.seconds() - before <= time.perf_counter() - started


def test_computing_counts_once_beside_a_run() -> None:
    busy = Busy(CollectorRegistry())
    started, before = time.perf_counter(), busy.seconds()
    busy.begin()
    used = time.thread_time()
    while time.thread_time() < used + 0.05:
        pass
    busy.end()
    assert 0.05 <= busy.seconds() - before <= time.perf_counter() - started
    while time.thread_time() < used + 0.1:
        pass
    assert busy.seconds() - before >= 0.1


def test_it_is_exported_as_a_counter() -> None:
    registry = CollectorRegistry()
    Busy(registry)
    assert b"\nfalaj_runtime_busy_seconds_total " in generate_latest(registry)
