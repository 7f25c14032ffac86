"""Metrics for Prometheus at ``/metrics``.

Knows numbers; nothing of requests or HTTP. Labels come from short fixed lists: no model text, key
or address ever becomes one. Each server has its own registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_REQUEST_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)

_GAUGES = {
    "num_running": ("unisono_requests_running", "Requests that are being computed."),
    "num_waiting": ("unisono_requests_waiting", "Requests in the engine's queue."),
    "oldest_wait_s": ("unisono_oldest_wait_seconds", "How long the first in the queue has waited."),
}
_COUNTERS = {
    "num_preemptions": ("unisono_preemptions", "Requests that made room and were recomputed."),
    "prefix_queried_tokens": ("unisono_prefix_queried_tokens", "Prompt tokens looked up."),
    "prefix_hit_tokens": ("unisono_prefix_hit_tokens", "Prompt tokens found in the cache."),
    "prompt_tokens": ("unisono_prompt_tokens", "Prompt tokens of admitted requests."),
    "generated_tokens": ("unisono_generated_tokens", "Tokens that were generated."),
    "accepted_tokens": ("unisono_accepted_tokens", "Generated tokens that had been drafted."),
    "rejected_tokens": ("unisono_rejected_tokens", "Drafted tokens that did not come."),
    "steps": ("unisono_engine_steps", "Steps of the engine."),
}


class Metrics:
    """Args:
    engine_stats: the engine's newest counters, by name; empty while there is none.
    num_restarts: how often the engine process was restarted.
    """

    def __init__(
        self,
        engine_stats: Callable[[], Mapping[str, float]],
        num_restarts: Callable[[], int],
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_EngineCollector(engine_stats, num_restarts))
        self._first_token = self._histogram(
            "time_to_first_token_seconds", "From request to first token.", _FIRST_TOKEN_BUCKETS
        )
        self._next_token = self._histogram(
            "time_per_output_token_seconds", "Between two tokens of an answer.", _TOKEN_BUCKETS
        )
        self._answer = self._histogram(
            "request_duration_seconds", "From request to the end of an answer.", _REQUEST_BUCKETS
        )
        self._finished = Counter(
            "unisono_answers", "Answers by how they ended.", ["reason"], registry=self._registry
        )
        self._responses = Counter(
            "unisono_http_responses",
            "HTTP responses by class of status.",
            ["status"],
            registry=self._registry,
        )

        self._disconnects = Counter(
            "unisono_client_disconnects",
            "Clients that left before their response was complete.",
            registry=self._registry,
        )

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"unisono_{name}", text, buckets=buckets, registry=self._registry)

    def first_token(self, seconds: float) -> None:
        self._first_token.observe(seconds)

    def next_tokens(self, seconds: float, num_tokens: int) -> None:
        """Some tokens that arrived together, ``seconds`` after the one before them."""
        for _ in range(num_tokens):
            self._next_token.observe(seconds / num_tokens)

    def finished(self, reason: str, seconds: float) -> None:
        """``reason``: ``stop``, ``length``, ``pooled``, ``disconnect`` or ``error``."""
        self._finished.labels(reason).inc()
        self._answer.observe(seconds)

    def response(self, status: int) -> None:
        self._responses.labels(f"{status // 100}xx").inc()

    def client_left(self) -> None:
        self._disconnects.inc()

    def render(self) -> bytes:
        """The text format."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    def __init__(
        self, engine_stats: Callable[[], Mapping[str, float]], num_restarts: Callable[[], int]
    ) -> None:
        self._engine_stats = engine_stats
        self._num_restarts = num_restarts

    def collect(self) -> Iterable[Metric]:
        stats = self._engine_stats()
        yield CounterMetricFamily(
            "unisono_engine_restarts", "Restarts of the engine process.", self._num_restarts()
        )
        for key, (name, text) in _GAUGES.items():
            yield GaugeMetricFamily(name, text, stats.get(key, 0))
        for key, (name, text) in _COUNTERS.items():
            yield CounterMetricFamily(name, text, stats.get(key, 0))
        num_blocks = stats.get("num_blocks", 0)
        used = 1 - stats.get("num_free_blocks", 0) / num_blocks if num_blocks else 0.0
        yield GaugeMetricFamily("unisono_kv_cache_usage_ratio", "KV blocks in use, 0 to 1.", used)
