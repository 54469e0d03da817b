"""gunicorn's lines and its access log, in the form of all our lines."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger as GunicornLogger

from scripts.logger_config import WSGI_RUN_ID, run_context

PROBES = ("/health", "/ready", "/metrics")
LINE = "%s %s %s, %s bytes, %.1f ms, for %s"


class Logger(GunicornLogger):  # type: ignore[misc]
    """Hands every line to the root logger, which `set_up_logging` has set up."""

    def setup(self, cfg: Any) -> None:
        """Called at the start and at each reload; requests are logged if `cfg.accesslog` is set."""
        self.cfg = cfg
        for log in (self.error_log, self.access_log):
            log.propagate = True
            log.setLevel(logging.NOTSET)
        self._logs_requests = cfg.accesslog is not None

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Logs one line; probes, which come every few seconds and say nothing new, at DEBUG."""
        level = logging.DEBUG if environ.get("PATH_INFO") in PROBES else logging.INFO
        if not self._logs_requests or not self.access_log.isEnabledFor(level):
            return
        with run_context(environ.get(WSGI_RUN_ID) or "-"):
            self.access_log.log(
                level,
                LINE,
                environ.get("REQUEST_METHOD"),
                environ.get("RAW_URI"),
                str(resp.status)[:3],
                resp.sent,
                request_time.total_seconds() * 1000,
                environ.get("REMOTE_ADDR"),
            )

    def reopen_files(self) -> None:
        """Does nothing: there are no files."""
