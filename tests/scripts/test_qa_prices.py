"""The data gate as a command: a table, JSON, and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from scripts.config import ROOT
from tests.support.price_defects import CLEAN, DEFECTS


def qa(*words: str, database: Path | str = "none.sqlite3") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DB_HOST": "", "SQLITE_PATH": str(database)}
    return subprocess.run(
        [sys.executable, "scripts/qa_prices.py", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_stored_tickers(engine: Engine, database: Path) -> None:
    done = qa(database=database)
    assert done.returncode == 0, done.stderr
    assert "2 tickers, 7732 bars, 12 findings" in done.stdout
    header, first = done.stdout.splitlines()[:2]
    assert header.split() == ["ticker", "severity", "code", "day", "what"]
    assert header.index("code") == first.index("TinyVolume")
    assert qa("NFLX", database=database).returncode == 2, "it is not stored"


def test_files_as_json(tmp_path: Path) -> None:
    path = tmp_path / "aapl.csv"
    DEFECTS["NaN close"][0](CLEAN.copy()).to_csv(path)
    done = qa("--json", str(path))
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)
    assert (finding["ticker"], finding["severity"], finding["code"]) == (
        "AAPL",
        "error",
        "NotANumber",
    )


def test_a_clean_file(tmp_path: Path) -> None:
    path = tmp_path / "AAPL.csv"
    CLEAN.to_csv(path)
    done = qa(str(path))
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "nothing found")


@pytest.mark.parametrize("name", ["nowhere.csv", "NOPE"])
def test_what_cannot_be_read(name: str, database: Path, engine: Engine) -> None:
    done = qa(name, database=database)
    assert done.returncode == 2
    assert "Cannot be read" in done.stderr
