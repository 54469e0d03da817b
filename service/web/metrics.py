"""GET /metrics for Prometheus: how many runs are in each state, how many requests of each route took how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.contract.status import Status

METHODS = ("GET", "HEAD", "POST", "OPTIONS")


class _Runs(Collector):
    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[GaugeMetricFamily]:
        counts = self._counts()
        family = GaugeMetricFamily("stock_backtest_runs", "Runs in the database by status", labels=["status"])
        for status in Status:
            family.add_metric([status], counts.get(status, 0))
        yield family


def install(app: Flask, counts: Callable[[], Mapping[str, int]]) -> None:
    """Times every request by its route, and answers /metrics; `counts` asks the database, at every scrape."""
    registry = CollectorRegistry()
    names = ("method", "route", "status")
    seconds = Histogram("stock_backtest_http_request_seconds", "Time to answer", names, registry=registry)

    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def observe(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"
        method = request.method if request.method in METHODS else "other"  # anybody may send any word
        seconds.labels(method, route, response.status_code).observe(time.perf_counter() - g.started)
        return response

    @app.get("/metrics")
    def metrics() -> Response:
        text = generate_latest(registry)
        return Response(text, content_type=CONTENT_TYPE_LATEST)

    registry.register(_Runs(counts))
