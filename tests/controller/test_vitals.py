"""What probes and Prometheus are told about the controller, over HTTP."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

from service.controller.vitals import MAX_SILENCE_SECONDS, Vitals
from service.launchers.launcher import Launcher


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_readiness_and_metrics() -> None:
    vitals = Vitals()
    server = vitals.serve(0)
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        assert ask(f"{url}/health") == (200, "ok\n")
        assert ask(f"{url}/ready") == (503, "The controller is starting.\n")
        vitals.problem = ""
        assert ask(f"{url}/ready") == (200, "ok\n")
        vitals.problem = "The database is away."
        assert ask(f"{url}/ready") == (503, "The database is away.\n")
        assert ask(f"{url}/health") == (200, "ok\n"), "a restart would not bring the database back"
        vitals.beat = time.monotonic() - MAX_SILENCE_SECONDS - 1
        status, text = ask(f"{url}/health")
        assert status == 503
        assert "stands still" in text
        assert "stock_backtest_controller_active" in ask(f"{url}/metrics")[1]
    finally:
        server.shutdown()
        server.server_close()


def test_a_launcher_without_a_check_can_always_launch() -> None:
    assert Launcher.check(None) == ""  # type: ignore[arg-type]
