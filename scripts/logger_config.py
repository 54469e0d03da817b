"""Logging to stdout, as text or JSON, with the run_id in every line; crashes are logged alike."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

_run_id: ContextVar[str] = ContextVar("run_id", default="-")

TEXT = "%(asctime)s %(levelname)s %(name)s [run_id=%(run_id)s] %(message)s"
INDENT = "    "
# In a WSGI environment: the run_id that a request was about, for the access log
WSGI_RUN_ID = "stock_backtest.run_id"
# Below WARNING they log at every look at the schema and at every request.
CHATTY = ("alembic", "werkzeug")


@contextmanager
def run_context(run_id: str) -> Iterator[None]:
    """Every line that is logged inside carries this run_id; lines outside carry "-"."""
    token = _run_id.set(run_id)
    try:
        yield
    finally:
        _run_id.reset(token)


def current_run_id() -> str:
    """The run_id of the lines logged here, "-" when there is none."""
    return _run_id.get()


def set_up_logging(level: str = "INFO", form: str = "text", stream: TextIO | None = None) -> None:
    """Replaces all handlers of the root logger by one.

    level: the lowest level that is logged; form: "text" or "json"; stream: where lines go when
    stdout is needed for a result.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.addFilter(_add_run_id)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter(TEXT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _log_crash
    threading.excepthook = _log_crash_of_thread


def _add_run_id(record: logging.LogRecord) -> bool:
    record.run_id = _run_id.get()
    return True


def _log_crash(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("crash").critical(
        "Uncaught %s: %s", kind.__name__, error, exc_info=(kind, error, trace)
    )


def _log_crash_of_thread(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_value is not None and not issubclass(crash.exc_type, SystemExit):
        _log_crash(crash.exc_type, crash.exc_value, crash.exc_traceback)


def printable(text: str) -> str:
    """The text with JSON's escape for each character that is not printable: `\\n`, `\\u001b`.

    Names, paths and messages come from users: a line break in them would begin a line of theirs in
    the log, and other control characters would speak to the terminal of whoever reads it.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One line; those of a trace follow it, indented, so that none of them looks like one."""
        line = printable(self._line(record))
        trace = self._trace(record)
        return "\n".join([line, *(f"{INDENT}{printable(row)}" for row in trace.splitlines())])

    def _line(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        return self.formatMessage(record)

    def _trace(self, record: logging.LogRecord) -> str:
        return self.formatException(record.exc_info) if record.exc_info else ""

    # The name is that of the logging module.
    def formatTime(  # noqa: N802
        self, record: logging.LogRecord, datefmt: str | None = None
    ) -> str:
        """UTC, ISO 8601, milliseconds."""
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _JsonFormatter(_TextFormatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "run_id": _run_id.get(),
            "message": record.getMessage(),
        }
        if trace := self._trace(record):
            line["trace"] = trace
        # Without ensure_ascii, which would escape Korean too, only ASCII's own are escaped so far.
        return printable(json.dumps(line, ensure_ascii=False))
