"""Lines go to stdout and carry the run_id, as text and as JSON."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from scripts.logger_config import current_run_id, run_context, set_up_logging


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers = root.handlers[:]
    level = root.level
    hooks = (sys.excepthook, threading.excepthook)
    yield
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook = hooks
    root.handlers[:] = handlers
    root.setLevel(level)


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("INFO", "text")
    with run_context("abc"):
        logging.getLogger("x").info("Backtest started: ticker=%s, rule=%s", "GOOG", "RSI")
        assert current_run_id() == "abc"
    logging.getLogger("x").debug("not shown")
    logging.getLogger("x").warning("outside")
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.endswith("INFO x [run_id=abc] Backtest started: ticker=GOOG, rule=RSI")
    assert second.endswith("WARNING x [run_id=-] outside")
    assert err == ""


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("INFO", "json")
    with run_context("abc"):
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("x").exception("It broke")
    (line,) = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert (record["level"], record["logger"], record["run_id"], record["message"]) == (
        "ERROR",
        "x",
        "abc",
        "It broke",
    )
    assert "ValueError: two\nlines" in record["trace"]


def test_contexts_nest() -> None:
    with run_context("a"):
        with run_context("b"):
            assert current_run_id() == "b"
        assert current_run_id() == "a"
    assert current_run_id() == "-"
