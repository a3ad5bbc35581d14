"""What Prometheus sees of the runtime, at /metrics beside KServe's own."""

from dataclasses import dataclass

from prometheus_client import Counter, Gauge
from prometheus_client.registry import REGISTRY, CollectorRegistry

from serving.runtime.busy import Busy
from serving.runtime.errors import ABANDONED
from serving.runtime.histogram import Histogram, Tally

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_AGES = (60, 600, 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400, 90 * 86_400, 365 * 86_400, 3 * 365 * 86_400)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_OUTCOMES = {
    200: "ok",
    400: "invalid",
    404: "not_found",
    413: "too_large",
    ABANDONED: "abandoned",
    503: "unavailable",
    504: "too_late",
}


@dataclass(frozen=True, slots=True)
class VersionMetrics:
    """The children of one version, looked up once: a look-up by labels costs more than the count."""

    answered: Counter
    seconds: Tally
    queue_seconds: Tally
    batch_rows: Tally
    batch_seconds: Tally
    queued_rows: Gauge
    batch_limit: Gauge
    tokens: Counter
    padded_tokens: Counter


class Metrics:
    """All that the runtime counts."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.busy = Busy(registry)
        self.requests = Counter(
            "falaj_inference_requests",
            "Inference requests by how they ended",
            ["model", "version", "outcome"],
            registry=registry,
        )
        version = ("model", "version")
        self._seconds = Histogram(
            "falaj_inference_seconds",
            "Time from a request's last byte to its answer",
            version,
            _SECONDS,
            registry,
        )
        self._queue_seconds = Histogram(
            "falaj_inference_queue_seconds",
            "Time from a request's last byte to the run that its rows are in",
            version,
            _SECONDS,
            registry,
        )
        self._batch_rows = Histogram("falaj_inference_batch_rows", "Rows run together", version, _ROWS, registry)
        self._batch_seconds = Histogram(
            "falaj_inference_batch_seconds", "Time of one run of the graph", version, _SECONDS, registry
        )
        self._batch_limit = Gauge(
            "falaj_inference_batch_limit_rows",
            "Rows that are run together at most, as measured at warm-up; of the shortest sequences",
            version,
            registry=registry,
        )
        self._tokens = Counter(
            "falaj_inference_tokens",
            "Of sequences: rows times length of all runs, what was filled up included",
            version,
            registry=registry,
        )
        self._padded_tokens = Counter(
            "falaj_inference_padded_tokens", "Those that were only filled up", version, registry=registry
        )
        self._queued_rows = Gauge("falaj_inference_queued_rows", "Rows that wait", version, registry=registry)
        self.live_version = Gauge(
            "falaj_model_live_version", "The version that answers; 0 after an unload", ["model"], registry=registry
        )
        self.provider = Gauge(
            "falaj_model_provider", "1 for what a version runs on", ["model", "version", "provider"], registry=registry
        )
        self.feature_seconds = Histogram(
            "falaj_feature_lookup_seconds",
            "Time of one look-up in the online store",
            ("model", "outcome"),
            _SECONDS,
            registry,
        )
        self.feature_age_seconds = Histogram(
            "falaj_feature_age_seconds",
            "Age of the oldest record of a look-up, by its event time",
            ("model",),
            _AGES,
            registry,
        )
        self.log_rows = Counter("falaj_log_rows", "Rows written to the inference log", ["model"], registry=registry)
        self.log_failures = Counter(
            "falaj_log_failures", "Failed writes of the inference log", ["stage"], registry=registry
        )
        self.log_lag_seconds = Gauge(
            "falaj_log_lag_seconds", "Age of the oldest journal segment that is not yet Parquet", registry=registry
        )
        self.log_bytes = Counter("falaj_log_journal_bytes", "Bytes appended to the journal", registry=registry)
        self.log_backlog_bytes = Gauge(
            "falaj_log_backlog_bytes", "Bytes of closed journal segments that are not yet Parquet", registry=registry
        )

    def of_version(self, model: str, version: int) -> VersionMetrics:
        labels = (model, str(version))
        return VersionMetrics(
            self.requests.labels(*labels, "ok"),
            self._seconds.labels(*labels),
            self._queue_seconds.labels(*labels),
            self._batch_rows.labels(*labels),
            self._batch_seconds.labels(*labels),
            self._queued_rows.labels(*labels),
            self._batch_limit.labels(*labels),
            self._tokens.labels(*labels),
            self._padded_tokens.labels(*labels),
        )

    def refused(self, model: str, version: str, status: int) -> None:
        """Count a request that was not answered. `model` and `version` are of the repository, else ""."""
        self.requests.labels(model, version, _OUTCOMES.get(status, "error")).inc()
