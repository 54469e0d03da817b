"""Lines go to stdout and carry the run_id, as text and as JSON."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


FORGED = "x\n2026-11-30T00:00:00.000Z INFO service [run_id=-] Login: client=root\x1b[2K\u2028\u202e"


def logged(message: str, form: str, run_id: str = "-", trace: bool = False) -> str:
    stream = StringIO()
    set_up_logging("INFO", form, stream)
    with run_context(run_id):
        try:
            raise ValueError(message)
        except ValueError as error:
            logging.getLogger("x").error("%s", message, exc_info=error if trace else None)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_users_send_cannot_begin_a_line_or_speak_to_a_terminal(form: str) -> None:
    (line,) = logged(FORGED, form, run_id=FORGED).splitlines()
    assert line.isprintable()
    assert "x\\n2026" in line
    assert "\\u001b[2K\\u2028\\u202e" in line


def test_lines_of_a_trace_are_indented_in_a_text_log() -> None:
    _, *trace = logged(FORGED, "text", trace=True).splitlines()
    assert trace[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in trace)
    assert any(line.startswith("    2026-11-30") for line in trace)


@given(st.text(), st.sampled_from(["text", "json"]))
def test_whatever_is_logged_is_one_printable_line(message: str, form: str) -> None:
    (line,) = logged(message, form).split("\n")[:-1]
    assert line.isprintable()
    if form == "json":
        assert json.loads(line)["message"] == message
    elif message.isprintable():
        assert line.endswith(f" {message}")


def test_korean_stays_readable() -> None:
    assert "종목 005930의 가격" in logged("종목 005930의 가격", "json")
