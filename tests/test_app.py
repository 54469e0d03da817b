"""app.py wires everything from the environment, and flask and gunicorn find it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from scripts.config import ROOT


def test_flask_finds_the_app_and_the_schema_is_made(tmp_path: Path) -> None:
    environment = {**os.environ, "DB_HOST": "", "SQLITE_PATH": str(tmp_path / "app.sqlite3")}
    routes = subprocess.run(
        [sys.executable, "-m", "flask", "routes"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert routes.returncode == 0, routes.stderr
    for route in (
        "/backtest",
        "/status/<run_id>",
        "/result/<run_id>",
        "/health",
        "/ready",
        "/rules",
        "/tickers",
        "/runs",
    ):
        assert route in routes.stdout
    code = "from app import app; answer = app.test_client().get('/ready'); print(answer.status_code, answer.text)"
    ready = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert ready.stdout.startswith("200"), ready.stdout
