"""app.py wires everything from the environment, and flask and gunicorn find it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from scripts.config import ROOT


def test_flask_finds_the_app_and_the_schema_is_made(tmp_path: Path) -> None:
    environment = {**os.environ, "DB_HOST": "", "SQLITE_PATH": str(tmp_path / "app.sqlite3")}
    routes = subprocess.run(
        [sys.executable, "-m", "flask", "routes"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
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
    code = (
        "from app import app; answer = app.test_client().get('/ready');"
        " print(answer.status_code, answer.text)"
    )
    ready = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ready.stdout.startswith("200"), ready.stdout


def test_a_bad_setting_is_an_error_that_gunicorn_does_not_repeat(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "DB_HOST": "",
        "SQLITE_PATH": str(tmp_path / "x.sqlite3"),
        "MAX_BODY_BYTES": "abc",
    }
    gunicorn = [str(Path(sys.executable).parent / "gunicorn"), "--bind", "127.0.0.1:0", "app:app"]
    done = subprocess.run(
        gunicorn, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert "MAX_BODY_BYTES must be a number, got 'abc'" in done.stderr


def run_sh(port: int, database: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "DB_HOST": "",
        "SQLITE_PATH": str(database),
        "PORT": str(port),
        "BIN": str(Path(sys.executable).parent),
    }
    command = ["sh", "scripts/run.sh"]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = run_sh(port, tmp_path / "x.sqlite3")
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"Port {port} is taken; choose another: make run PORT={port + 1}" in out


def test_web_and_controller_end_together(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = run_sh(port, tmp_path / "x.sqlite3")
    assert process.stdout is not None
    for line in process.stdout:
        if f"http://127.0.0.1:{port}" in line:
            break
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_readme_shows_the_client_that_make_demo_api_runs() -> None:
    shown = (ROOT / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    assert shown == (ROOT / "scripts" / "demo_api.py").read_text()
