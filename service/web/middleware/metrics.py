"""GET /metrics for Prometheus: the runs in the database, and the times of all requests."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from threading import Lock

from flask import Flask, Response, g, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Histogram,
    generate_latest,
    values,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.contract.status import Status
from service.store.database import DatabaseError
from service.store.requests import UNREADABLE, RequestStore
from service.usecases.troubles import Troubles
from service.web.openapi.document import answer, describe, text_of

logger = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "POST", "OPTIONS")
# Counting a million runs takes the database a good part of a second.
KEPT_SECONDS = 15.0


class _Runs(Collector):
    """Metrics of the runs, asked of the database at most every KEPT_SECONDS.

    There are none while the database cannot be reached.
    """

    def __init__(
        self, store: RequestStore, troubles: Troubles, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._troubles = troubles
        self._clock = clock
        self._kept: list[GaugeMetricFamily] = []
        self._until = float("-inf")
        self._lock = Lock()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        with self._lock:
            if self._clock() >= self._until:
                try:
                    self._kept = [*self._runs(), *self._waiting(), *self._room()]
                except DatabaseError:
                    logger.exception("The database cannot be reached: no metrics of the runs")
                    return []
                self._until = self._clock() + KEPT_SECONDS
            return self._kept

    def _runs(self) -> Iterable[GaugeMetricFamily]:
        counts = self._store.counts()
        family = GaugeMetricFamily(
            "stock_backtest_runs", "Runs in the database by status", labels=["status"]
        )
        for status in (*Status, UNREADABLE):
            family.add_metric([status], counts.get(status, 0))
        yield family
        family = GaugeMetricFamily(
            "stock_backtest_failed_runs", "Failed ones by reason", labels=["reason"]
        )
        for reason, count in sorted(self._store.failures().items()):
            family.add_metric([reason], count)
        yield family

    def _waiting(self) -> Iterable[GaugeMetricFamily]:
        length, age = self._store.queue()
        yield GaugeMetricFamily("stock_backtest_queue_length", "Runs that wait for a job", length)
        yield GaugeMetricFamily(
            "stock_backtest_queue_age_seconds", "How long the first of them waits", age or 0.0
        )

    def _room(self) -> Iterable[GaugeMetricFamily]:
        room = self._troubles.room()
        if room is None:
            return
        yield GaugeMetricFamily(
            "stock_backtest_database_bytes", "What the database takes", room.used_bytes
        )
        if room.limit_bytes is not None:
            yield GaugeMetricFamily(
                "stock_backtest_database_limit_bytes", "What it has room for", room.limit_bytes
            )


def install(app: Flask, store: RequestStore, troubles: Troubles) -> None:
    """Times every request by its route, and answers /metrics.

    Where several processes serve (service/web/server/gunicorn_conf.py), each counts in a file of
    METRICS_DIR, and any of them answers for all. The histogram itself is in no registry then:
    otherwise its series would be there twice.
    """
    registry = CollectorRegistry()
    counts_in_files = values.ValueClass is not values.MutexValue
    if counts_in_files:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    seconds = Histogram(
        "stock_backtest_http_request_seconds",
        "Time to answer",
        ("method", "route", "status"),
        registry=None if counts_in_files else registry,
    )
    registry.register(_Runs(store, troubles))

    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def observe(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"
        # A client may send any word as the method; each would be a series of its own.
        method = request.method if request.method in METHODS else "other"
        seconds.labels(method, route, response.status_code).observe(time.perf_counter() - g.started)
        return response

    @app.get("/metrics")
    @describe({200: answer("Prometheus text.", text_of("text/plain"))}, needs_database=False)
    def metrics() -> Response:
        """Runs by status and requests by route, for Prometheus."""
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
