"""How gunicorn serves the web: `gunicorn --config python:service.web.gunicorn_conf app:app`.

The settings are those of scripts/config.py; GUNICORN_CMD_ARGS and options on the command line win over them.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from scripts.config import load_config
from scripts.logger_config import set_up_logging
from service.web.gunicorn_log import Logger
from service.web.gunicorn_worker import Worker, turn_away

_config = load_config()
_memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  a heartbeat on a slow disk kills workers

bind = _config.web_bind
workers = _config.web_workers
threads = _config.web_threads
worker_class = Worker
timeout = _config.web_timeout_seconds
graceful_timeout = _config.web_graceful_seconds
keepalive = _config.web_keepalive_seconds
worker_tmp_dir = _memory
control_socket_disable = True
sendfile = False  # answers go through the buffers of gunicorn_client

limit_request_line = 4094
limit_request_fields = 100
limit_request_field_size = 8190

# Who is believed about the outside is said by PROXY_HOPS alone (ProxyFix): gunicorn trusts the loopback by itself.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""

logger_class = Logger
accesslog = "-" if _config.access_log == "true" else None

set_up_logging(_config.log_level, _config.log_format)
if workers > 1:  # prometheus_client reads the variable when a worker imports it
    _metrics = _config.metrics_dir or tempfile.mkdtemp(
        prefix="stock-backtest-metrics-", dir=_memory
    )
    raw_env = [f"PROMETHEUS_MULTIPROC_DIR={_metrics}"]


def on_starting(server: Any) -> None:
    """What the processes of an earlier start counted is not ours."""
    if workers > 1 and not server.master_pid:
        Path(_metrics).mkdir(parents=True, exist_ok=True)
        for file in Path(_metrics).glob("*.db"):
            file.unlink()


def when_ready(server: Any) -> None:
    """At its end the master turns new clients away before it tells the workers, see `turn_away`."""
    for listener in server.LISTENERS:
        listener.close = partial(_close, server, listener, listener.close)


def _close(server: Any, listener: Any, close: Any) -> None:
    if not (
        server.reexec_pid or server.master_pid
    ):  # else another master goes on with the same socket
        turn_away(listener)
    close()


def child_exit(server: Any, worker: Any) -> None:
    """Values of living processes only leave with theirs."""
    if workers > 1:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid, _metrics)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Leaves no folder of its own behind."""
    if workers > 1 and not _config.metrics_dir:
        for file in Path(_metrics).glob("*"):
            file.unlink()
        Path(_metrics).rmdir()
