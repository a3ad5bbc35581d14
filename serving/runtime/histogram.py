"""A histogram for the hot path: what Prometheus reads of it is computed when Prometheus asks.

`prometheus_client.Histogram.observe` takes a lock and looks through its buckets for each value, which for a small
model is a tenth of an answer's time. This one has one
writer at a time, the event loop or the run of its version in a thread.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString


class Tally:
    """The values of one combination of labels."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_since(self, moments: Sequence[float], now: float) -> None:
        """Observe `now` less each of the moments."""
        bounds, counts = self.bounds, self.counts
        for moment in moments:
            counts[bisect_left(bounds, now - moment)] += 1
        self.total += now * len(moments) - sum(moments)


class Histogram(Collector):
    """A family of tallies by labels."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._bounds = tuple(bounds)
        self._names = [*map(floatToGoString, bounds), "+Inf"]
        self._tallies: dict[tuple[str, ...], Tally] = {}
        registry.register(self)

    def labels(self, *values: str) -> Tally:
        return self._tallies.setdefault(values, Tally(self._bounds))

    def describe(self) -> Iterator[Metric]:
        yield HistogramMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, tally in list(self._tallies.items()):
            seen = 0
            buckets = []
            for name, count in zip(self._names, list(tally.counts), strict=True):
                seen += count
                buckets.append((name, float(seen)))
            family.add_metric(values, buckets, tally.total)
        yield family
