"""verify_mvp.py passes, a broken step fails it, and a replay compares every byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from scripts import replay, verify_mvp
from scripts.config import ROOT, Config
from service.contract.request import parse_request
from service.store.tables import results
from service.usecases.runs import Runs
from service.usecases.sweeps import Sweeps
from service.worker.run import RunWorker
from service.worker.software import Software
from service.worker.sweep import SweepWorker
from tests.support.requests import REQUEST, RUN_ID, SWEEP


def test_the_walk_as_typed_from_the_root() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/verify_mvp.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "LOG_LEVEL": "ERROR"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [line for line in done.stdout.splitlines() if " pass " in line]
    assert len(steps) == 5
    assert "FAIL" not in done.stdout


def test_a_broken_step_fails_the_walk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verify_mvp, "GOLDEN_RETURN_PCT", 1.0)
    assert verify_mvp.walk() == 1
    out = capsys.readouterr().out
    assert "engine, figure  FAIL" in out
    assert "HTTP" not in out, "the walk ends there"


@pytest.fixture
def performed(runs: Runs, database: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    run, _ = runs.submit({"run_id": RUN_ID, **REQUEST})
    RunWorker(runs.run_store, runs.price_store).work(parse_request(json.loads(run.request)))
    monkeypatch.setattr(replay, "load_config", lambda: Config(sqlite_path=str(database)))
    return RUN_ID


def test_replay_gives_the_same_bytes(performed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_mvp.main(["--replay", performed]) == 0
    assert "every byte is the same" in capsys.readouterr().out


def test_replay_finds_a_changed_digit(
    performed: str, engine: Engine, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = runs.run_store.result(performed)
    assert stored is not None
    document = json.loads(stored.result)
    document["sharpe_ratio"] += 1e-15
    with engine.begin() as connection:
        connection.execute(update(results).values(result=json.dumps(document)))
    assert verify_mvp.main(["--replay", performed]) == 1
    assert "the bytes DIFFER: sharpe_ratio" in capsys.readouterr().out


def test_replay_of_a_stranger(performed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_mvp.main(["--replay", "nobody"]) == 1
    assert "is no completed run" in capsys.readouterr().err


@pytest.fixture
def swept(performed: str, runs: Runs) -> str:
    run, _ = Sweeps(runs).submit({**SWEEP, "tickers": ["GOOG", "SPY"], "folds": 3})
    runs.run_store.mark_launched(run.run_id)
    SweepWorker(runs.run_store, runs.price_store, Software("r", "i")).work(run.run_id)
    return run.run_id


def test_replay_of_a_sweep(swept: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_mvp.main(["--replay", swept]) == 0
    assert "every byte is the same" in capsys.readouterr().out


def test_replay_finds_a_changed_row(
    swept: str, engine: Engine, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = runs.run_store.result(swept)
    assert stored is not None
    changed = stored.table_csv.replace("GOOG,5,", "GOOG,6,", 1).encode()
    with engine.begin() as connection:
        connection.execute(update(results).values(table_csv=zlib.compress(changed)))
    assert verify_mvp.main(["--replay", swept]) == 1
    assert "the bytes DIFFER: the table" in capsys.readouterr().out
