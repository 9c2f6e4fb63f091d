"""Prometheus metrics of the server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counters of requests and batches, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix = "tf_mixed_nash_serving"
        self.requests = Counter(
            f"{prefix}_requests",
            "Requests answered, by protocol, method, model and canonical code.",
            ["api", "method", "model", "code"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            f"{prefix}_request_seconds",
            "Time from a request's arrival to its answer.",
            ["api", "method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.rows = Counter(
            f"{prefix}_rows",
            "Rows answered, by model and version.",
            ["model", "version"],
            registry=self.registry,
        )
        self.batch_rows = Histogram(
            f"{prefix}_batch_rows",
            "Rows of the batches that were run.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 1024),
            registry=self.registry,
        )
        self.batch_requests = Counter(
            f"{prefix}_batched_requests", "Requests in the batches.", registry=self.registry
        )
        self.queued_rows = Gauge(
            f"{prefix}_queued_rows", "Rows that wait for a thread.", registry=self.registry
        )
        self.lost_lines = Gauge(
            f"{prefix}_lost_log_lines",
            "Lines of the log that were dropped, since nobody took them.",
            registry=self.registry,
        )
        self.loaded = Gauge(
            f"{prefix}_version_loaded",
            "1 for each version that serves.",
            ["model", "version"],
            registry=self.registry,
        )

        # The counters of each set of labels: finding them costs as much as counting.
        self._counters: dict[tuple, tuple[Counter, Histogram]] = {}
        self._row_counters: dict[tuple[str, int], Counter] = {}

    def request(self, api: str, method: str, model: str, code: str, seconds: float) -> None:
        """Counts a request that is answered."""
        key = api, method, model, code
        found = self._counters.get(key)
        if found is None:
            found = self.requests.labels(*key), self.seconds.labels(api, method)
            self._counters[key] = found
        counter, histogram = found
        counter.inc()
        histogram.observe(seconds)

    def answered(self, model: str, version: int, rows: int) -> None:
        """Counts the rows of an answer."""
        counter = self._row_counters.get((model, version))
        if counter is None:
            counter = self.rows.labels(model, str(version))
            self._row_counters[model, version] = counter
        counter.inc(rows)

    def batch(self, rows: int, requests: int) -> None:
        """Counts a batch."""
        self.batch_rows.observe(rows)
        self.batch_requests.inc(requests)

    def text(self) -> bytes:
        """Prometheus's text format."""
        return generate_latest(self.registry)
