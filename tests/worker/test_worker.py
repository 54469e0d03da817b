"""worker.py as a program: its environment, standard output, database and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.config import ROOT
from service.contract.documents import checker
from service.contract.request import parse_request, text_from_request
from service.contract.result import BacktestResult
from service.contract.status import ExitCode, Status
from service.usecases.runs import Runs
from tests.support.requests import REQUEST, RUN_ID

ENVIRONMENT = {name.upper(): value for name, value in REQUEST.items()}


def worker(database: Path | str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    names = {
        **os.environ,
        "DB_HOST": "",
        "SQLITE_PATH": str(database),
        "PYTHONPATH": "",
        **environment,
    }
    return subprocess.run(
        [sys.executable, "worker.py"], cwd=ROOT, env=names, capture_output=True, text=True
    )


def test_without_a_database_it_prints_the_result() -> None:
    done = worker(**ENVIRONMENT, RUN_ID=RUN_ID)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert checker("result.v1")(document) is None
    assert document["run_id"] == RUN_ID
    assert document["total_return_pct"] == pytest.approx(162.94554248685, rel=1e-9)


def test_same_bytes_from_processes_with_other_hash_seeds_and_threads() -> None:
    outputs = {
        worker(
            **ENVIRONMENT,
            RUN_ID=RUN_ID,
            PYTHONHASHSEED=seed,
            OMP_NUM_THREADS=threads,
            LANG=lang,
            TZ=zone,
        ).stdout
        for seed, threads, lang, zone in (
            ("0", "1", "C", "UTC"),
            ("77", "4", "C.UTF-8", "Asia/Seoul"),
        )
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > 30_000


def test_params_and_costs_come_from_the_environment() -> None:
    done = worker(
        **{
            **ENVIRONMENT,
            "RULE_ID": "RSI",
            "PARAMS": '{"period": 5}',
            "LOT_SIZE": "1",
            "ALLOW_SHORT": "true",
        }
    )
    provenance = json.loads(done.stdout)["provenance"]
    assert provenance["params"]["period"] == 5
    assert (provenance["lot_size"], provenance["allow_short"], provenance["rule_id"]) == (
        1.0,
        True,
        "RSI_5_30_70",
    )


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        ({"TICKER": "goog"}, 64, "ticker must be"),
        ({"RULE_ID": "RSX"}, 64, "Did you mean RSI_14_30_70?"),
        ({"PARAMS": "{"}, 64, "params must be an object"),
        ({"INITIAL_CAPITAL": "nan"}, 64, "initial_capital must be"),
        ({"INITIAL_CAPITAL": "1e999"}, 64, "initial_capital must be"),
        ({"START_DATE": ""}, 64, "start_date is missing."),
        ({"TICKER": "NONE"}, 65, "No prices of NONE in data/NONE.csv"),
        ({"TICKER": "BTC/USD"}, 65, "No prices of BTC/USD in data/BTC_USD.csv"),
        ({"START_DATE": "2030-01-01", "END_DATE": "2031-01-01"}, 65, "GOOG has 0 bars"),
    ],
)
def test_exit_codes_and_one_sentence(change: dict[str, str], code: int, sentence: str) -> None:
    done = worker(**{**ENVIRONMENT, **change})
    assert done.returncode == code
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_with_a_database_the_result_is_stored(database: Path, runs: Runs) -> None:
    run, _ = runs.submit({"run_id": RUN_ID, **REQUEST})
    request = parse_request(json.loads(run.request))
    done = worker(database, **text_from_request(request))
    assert done.returncode == 0, done.stdout
    assert f"[run_id={RUN_ID}] Backtest started: ticker=GOOG, rule=MA_CROSS_10_30" in done.stdout
    assert f"[run_id={RUN_ID}] Backtest completed: return=162.95%" in done.stdout
    assert all(f"run_id={RUN_ID}" in line for line in done.stdout.splitlines())
    stored = runs.result(runs.run(RUN_ID))
    alone = BacktestResult(**json.loads(worker(**text_from_request(request)).stdout))
    assert stored.reproducible() == alone.reproducible()
    assert worker(database, **text_from_request(request)).returncode == 0, "nothing left to do"


@pytest.mark.parametrize("sqlite_path", ["", "gone.sqlite3"])
def test_a_database_that_a_controller_has_is_away_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_path: str
) -> None:
    """It was deleted: the result must not go to standard output, where nobody looks for it."""
    path = str(tmp_path / sqlite_path) if sqlite_path else ""
    patience = "import worker, sys; worker.DATABASE_PATIENCE_SECONDS = 0; sys.exit(worker.main())"
    names = {**os.environ, **ENVIRONMENT, "DB_HOST": "", "SQLITE_PATH": path, "RUN_ID": RUN_ID}
    done = subprocess.run(
        [sys.executable, "-c", patience],
        cwd=ROOT,
        env={**names, "RULES_DIGEST": "d" * 64},
        capture_output=True,
        text=True,
    )
    assert done.returncode == ExitCode.DATABASE_AWAY
    assert "total_return_pct" not in done.stdout
    assert not Path(path).is_file()


def test_sigterm_gives_the_run_back(database: Path, runs: Runs) -> None:
    runs.submit({"run_id": RUN_ID, **REQUEST})
    runs.run_store.claim(RUN_ID, "another worker, so that this one waits")
    environment = {
        **os.environ,
        "DB_HOST": "",
        "SQLITE_PATH": str(database),
        **ENVIRONMENT,
        "RUN_ID": RUN_ID,
    }
    waiting = subprocess.Popen(
        [sys.executable, "worker.py"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert waiting.stdout is not None
    assert "Waiting: another worker holds the run" in waiting.stdout.readline()
    waiting.send_signal(signal.SIGTERM)
    waiting.communicate(timeout=10)
    assert waiting.returncode == 143
    assert runs.run(RUN_ID).status == Status.RUNNING


def test_told_to_stop_while_it_imports(tmp_path: Path) -> None:
    """The first process of a container ignores SIGTERM until it handles it, after its imports."""
    (tmp_path / "pandas.py").write_text(
        "import time; print('importing', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, **ENVIRONMENT, "RUN_ID": RUN_ID, "PYTHONPATH": str(tmp_path)}
    starting = subprocess.Popen(
        [sys.executable, "worker.py"], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    assert starting.stdout is not None
    assert starting.stdout.readline() == b"importing\n"
    starting.send_signal(signal.SIGTERM)
    starting.communicate(timeout=10)
    assert starting.returncode == 143
