"""Logging: to stdout, the run_id in every line, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

_run_id: ContextVar[str] = ContextVar("run_id", default="-")

TEXT = "%(asctime)s %(levelname)s %(name)s [run_id=%(run_id)s] %(message)s"


@contextmanager
def run_context(run_id: str) -> Iterator[None]:
    """Every line logged inside carries this run_id; "-" outside."""
    token = _run_id.set(run_id)
    try:
        yield
    finally:
        _run_id.reset(token)


def current_run_id() -> str:
    """The run_id of the lines logged here, "-" when there is none."""
    return _run_id.get()


def set_up_logging(level: str = "INFO", form: str = "text", stream: TextIO | None = None) -> None:
    """Replaces whatever handlers the root logger had; `stream` where stdout is taken by a result."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.addFilter(_add_run_id)
    handler.setFormatter(_JsonFormatter() if form == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("alembic", "werkzeug"):  # they greet at every look at the schema, at every request
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _add_run_id(record: logging.LogRecord) -> bool:
    record.run_id = _run_id.get()
    return True


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "run_id": _run_id.get(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
