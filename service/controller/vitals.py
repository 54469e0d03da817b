"""What the controller says of itself: /health, /ready and /metrics on a port of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import Counter, Gauge, Histogram, make_wsgi_app

from service.contract.status import Status
from service.store.queue import EndedRun

MAX_SILENCE_SECONDS = 120

ACTIVE = Gauge(
    "stock_backtest_controller_active", "1 in the controller that starts jobs, 0 in a standby"
)
LAUNCHES = Counter("stock_backtest_launches", "Jobs started by this controller")
RUNS_ENDED = Counter(
    "stock_backtest_runs_ended",
    "Runs that ended after this controller had seen them start",
    ["status"],
)
FAILURES = Counter("stock_backtest_failures", "Those that failed", ["reason"])
BAD_ROWS = Counter(
    "stock_backtest_bad_rows", "Runs that were set aside because their rows cannot be read"
)
_BUCKETS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600)
WAITED = Histogram(
    "stock_backtest_run_waited_seconds", "From the request to the first worker", buckets=_BUCKETS
)
TOOK = Histogram(
    "stock_backtest_run_seconds", "From the first worker to the end", ["status"], buckets=_BUCKETS
)
LAST_PASS = Gauge(
    "stock_backtest_controller_last_pass_seconds", "When the last pass ended, in seconds since 1970"
)
PASS_SECONDS = Histogram(
    "stock_backtest_controller_pass_seconds", "One look at all active runs and the queue"
)


def observe(ended: Iterable[EndedRun]) -> None:
    """Counts runs that have ended since the last look."""
    for run in ended:
        RUNS_ENDED.labels(run.status).inc()
        if run.status == Status.FAILED:
            FAILURES.labels(run.reason).inc()
        if run.waited is not None:
            WAITED.observe(run.waited)
        if run.seconds is not None:
            TOOK.labels(run.status).observe(run.seconds)


@dataclass
class Vitals:
    """Written by the loop, read by the server; each answer is empty or a sentence."""

    problem: str = "The controller is starting."
    beat: float = field(default_factory=time.monotonic)

    def health(self) -> str:
        """Whether the loop still turns, whatever its surroundings do."""
        silence_seconds = time.monotonic() - self.beat
        if silence_seconds <= MAX_SILENCE_SECONDS:
            return ""
        return f"The controller's loop stands still for {silence_seconds:.0f} s."

    def ready(self) -> str:
        """Whether it could start a job."""
        return self.problem

    def serve(self, port: int) -> WSGIServer:
        """In a thread of its own."""
        app = _app({"/health": self.health, "/ready": self.ready})
        server = make_server("", port, app, _Server, _Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


def _app(checks: Mapping[str, Callable[[], str]]) -> Callable[..., Iterable[bytes]]:
    metrics: Callable[..., Iterable[bytes]] = make_wsgi_app()

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        check = checks.get(environ["PATH_INFO"])
        if check is None:
            return metrics(environ, start)
        problem = check()
        start(
            "503 Service Unavailable" if problem else "200 OK",
            [("Content-Type", "text/plain; charset=utf-8")],
        )
        return [f"{problem or 'ok'}\n".encode()]

    return app


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds and say nothing new."""
