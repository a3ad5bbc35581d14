"""For how long the runtime has been busy, so that its rate is the share of the time: 1 is a process with no time left.

Busy is when the event loop computes, or a run of a graph is under way in a thread, however little of the processor
that takes: a run on a GPU keeps the next one waiting all the same.
"""

import threading
import time
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry


class Busy(Collector):
    """The seconds in which the process was busy. `begin` and `end` are called on the event loop, which makes it too."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._runs = 0
        self._began = (0.0, 0.0)
        self._waited = 0.0
        """Seconds of runs in threads in which the event loop computed nothing."""
        registry.register(self)

    def begin(self) -> None:
        """A run in a thread begins."""
        if not self._runs:
            self._began = self._now()
        self._runs += 1

    def end(self) -> None:
        """It has ended."""
        self._runs -= 1
        if not self._runs:
            self._waited += self._waiting(self._now())

    def seconds(self) -> float:
        moment, computed = self._now()
        return computed + self._waited + (self._waiting((moment, computed)) if self._runs else 0.0)

    def describe(self) -> Iterator[Metric]:
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        family.add_metric((), self.seconds())
        yield family

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(
            "falaj_runtime_busy_seconds", "Time in which the event loop computed, or a run of a graph was under way"
        )

    def _now(self) -> tuple[float, float]:
        """The moment, and for how long the event loop has computed."""
        return time.perf_counter(), time.clock_gettime(self._clock)

    def _waiting(self, now: tuple[float, float]) -> float:
        return max(now[0] - self._began[0] - (now[1] - self._began[1]), 0.0)
