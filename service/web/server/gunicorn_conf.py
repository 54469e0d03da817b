"""gunicorn's configuration: `gunicorn --config python:service.web.server.gunicorn_conf app:app`.

The settings are those of scripts/config.py; GUNICORN_CMD_ARGS and options on the command line win.

The gevent worker gives each connection a greenlet, which costs a few kilobytes while it waits for
its client: clients that are slow to send or to read hold nobody up. gunicorn lets gevent replace
the blocking parts of the standard library in each worker before it imports the application. This
module is imported in the master before that, so it imports nothing that opens connections or
derives from the classes of `ssl`.
"""

from __future__ import annotations

import resource
import socket
import tempfile
from pathlib import Path
from typing import Any

from scripts.config import load_config
from scripts.logger_config import set_up_logging
from service.web.server.access_log import Logger
from service.web.server.event_loop import let_others_run

# Of one process. Their heads and small answers must fit into its memory when all of them are slow.
MAX_CONNECTIONS = 2_000
# Beside the connections: the listening socket, the database, logs, metrics.
MAX_OTHER_FILES = 200
# A client that takes nothing of its answer for so long is disconnected by the kernel.
MAX_UNREAD_SECONDS = 30
# A heartbeat on a slow disk would let the master kill healthy workers.
MEMORY_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108

_config = load_config()

bind = _config.web_bind
workers = _config.web_workers
worker_class = "gevent"
worker_connections = MAX_CONNECTIONS
timeout = _config.web_timeout_seconds
graceful_timeout = _config.web_graceful_seconds
keepalive = _config.web_keepalive_seconds
worker_tmp_dir = MEMORY_FOLDER
control_socket_disable = True

limit_request_line = 4094
# Browsers and proxies send some 40. What has come of a head stays in memory until it is whole.
limit_request_fields = 50
limit_request_field_size = 8190

# Only PROXY_HOPS (ProxyFix) says who is believed about the outside: gunicorn would trust the
# loopback.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""

logger_class = Logger
accesslog = "-" if _config.access_log == "true" else None

set_up_logging(_config.log_level, _config.log_format)
_metrics_folder = _config.metrics_dir
if workers > 1:
    if not _metrics_folder:
        _metrics_folder = tempfile.mkdtemp(prefix="stock-backtest-metrics-", dir=MEMORY_FOLDER)
    # prometheus_client reads the variable when a worker imports it.
    raw_env = [f"PROMETHEUS_MULTIPROC_DIR={_metrics_folder}"]


def on_starting(server: Any) -> None:
    """Allows as many open files as connections, and removes what an earlier start has counted."""
    _allow_open_files(MAX_CONNECTIONS + MAX_OTHER_FILES)
    if workers > 1 and not server.master_pid:
        folder = Path(_metrics_folder)
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.db"):
            file.unlink()


def when_ready(server: Any) -> None:
    """Limits how long a client may leave its answer unread; connections inherit the option."""
    for listener in server.LISTENERS:
        listener.sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, MAX_UNREAD_SECONDS * 1000
        )


def post_worker_init(worker: Any) -> None:
    """Lets requests that wait for a run go as soon as the worker is told to stop."""
    from service.web.services import services_of

    services_of(worker.app.callable).watch.stop_when(lambda: not worker.alive)


def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
    """Lets others go first: a client that sends request after request would keep them waiting."""
    let_others_run()


def child_exit(server: Any, worker: Any) -> None:
    """Removes the values that count only while their process lives."""
    if workers > 1:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid, _metrics_folder)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Removes the folder that was made for the metrics."""
    if workers > 1 and not _config.metrics_dir:
        for file in Path(_metrics_folder).glob("*"):
            file.unlink()
        Path(_metrics_folder).rmdir()


def _allow_open_files(wanted: int) -> None:
    """Raises the soft limit of open files, as far as the hard limit lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
