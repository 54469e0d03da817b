"""The web under gunicorn as it is deployed: real processes, real sockets. Those that take longer are marked `fault`."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from scripts.config import ROOT, Config
from service.store.database import connect
from service.store.migrate import migrate
from service.store.prices import PriceStore
from tests.support.prices import series
from tests.support.requests import REQUEST
from tests.support.stores import EveryStore

GUNICORN = [
    str(Path(sys.executable).parent / "gunicorn"),
    "--config",
    "python:service.web.gunicorn_conf",
    "app:app",
]


class Web:
    """gunicorn with a database of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.config = Config(sqlite_path=str(folder / "web.sqlite3"))
        engine = connect(self.config)
        migrate(engine)
        PriceStore(engine).save(series("GOOG"))
        engine.dispose()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        given = {
            "WEB_BIND": f"127.0.0.1:{self.port}",
            "DB_HOST": "",
            "SQLITE_PATH": self.config.sqlite_path,
            **settings,
        }
        self.log = folder / "log"
        with self.log.open("w") as out:
            environment = {**os.environ, "MAX_PENDING_RUNS": "100000", **given}
            self.process = subprocess.Popen(
                GUNICORN, cwd=ROOT, env=environment, stdout=out, stderr=out
            )
        self.wait_for(lambda: self.get("/ready").startswith(b"HTTP/1.1 200"))

    def wait_for(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Until it holds; what gunicorn said when it does not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if condition():
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def connect(self, seconds: float = 10) -> socket.socket:
        """A plain connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    def send(self, data: bytes, seconds: float = 10) -> bytes:
        """All that is answered until the connection is closed."""
        with self.connect(seconds) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def get(self, path: str, *headers: str) -> bytes:
        """The whole answer, head and body."""
        lines = [f"GET {path} HTTP/1.1", "Host: web", "Connection: close", *headers, "", ""]
        return self.send("\r\n".join(lines).encode())

    def workers(self) -> list[int]:
        """The processes that serve."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def runs(self) -> set[str]:
        """The run_ids in the database."""
        engine = connect(self.config)
        found = {run.run_id for run in EveryStore(engine).latest(1_000_000)}
        engine.dispose()
        return found

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(30)


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Web]:
    web = Web(folder, **settings)
    try:
        yield web
    finally:
        if web.process.poll() is None:
            web.process.terminate()
            web.process.wait(30)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """One for the tests that leave it as it was."""
    settings = {
        "WEB_WORKERS": "2",
        "WEB_THREADS": "4",
        "WEB_REQUEST_SECONDS": "2",
        "LOG_FORMAT": "json",
    }
    with serving(tmp_path_factory.mktemp("web"), **settings) as one:
        yield one


def post(web: Web, document: dict[str, object]) -> bytes:
    """The body of the answer to a submission."""
    body = json.dumps(document).encode()
    head = "POST /backtest HTTP/1.1\r\nHost: web\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return web.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body).partition(
        b"\r\n\r\n"
    )[2]


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# what comes in


SLOW = {
    "nothing at all": b"",
    "half a head": b"GET /health HTTP/1.1\r\nHost: web\r\nX-Slow: ",
    "half a body": b"POST /backtest HTTP/1.1\r\nHost: web\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
    "half a chunk": b"POST /backtest HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW.keys())
def test_fifty_clients_that_do_not_finish_hold_nobody_up(web: Web, sent: bytes) -> None:
    clients = [web.connect() for _ in range(50)]
    for client in clients:
        client.sendall(sent)
    start = time.monotonic()
    for _ in range(20):
        assert status_of(web.get("/health")) == 200
    assert time.monotonic() - start < 1.5
    start = time.monotonic()
    for client in clients:
        client.settimeout(10)
        answer = client.recv(65536)
        assert status_of(answer) == 408 if sent else answer == b""
        client.close()
    assert time.monotonic() - start < 4, "their time is up after 2 s"


def test_a_dripping_client_gets_no_more_time_by_dripping(web: Web) -> None:
    start = time.monotonic()
    with web.connect() as client:
        client.setblocking(False)
        answer = b""
        while not answer and time.monotonic() - start < 8:
            try:
                client.send(b"G")
                answer = client.recv(1000)
            except BlockingIOError:
                pass
            time.sleep(0.1)
    assert status_of(answer) == 408
    assert time.monotonic() - start < 4


def test_clients_that_never_read_hold_nobody_up(web: Web) -> None:
    """Each asks for far more than the kernel keeps for it."""
    asked = b"GET /static/dashboard.js HTTP/1.1\r\nHost: web\r\n\r\n" * 400
    clients = []
    for _ in range(50):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", web.port))
        client.setblocking(False)
        with suppress(BlockingIOError):
            client.send(asked)
        clients.append(client)
    for _ in range(20):
        assert status_of(web.get("/health")) == 200
    for client in clients:
        client.close()


HEAVY = "".join(f"X-{number}: {'x' * 990}\r\n" for number in range(64))
HOSTILE: dict[str, tuple[bytes, int]] = {
    "64 kB of headers": (f"GET / HTTP/1.1\r\nHost: web\r\n{HEAVY}\r\n".encode(), 431),
    "64 kB in one header": (b"GET / HTTP/1.1\r\nHost: web\r\nX: " + b"x" * 65536 + b"\r\n\r\n", 431),
    "a header that does not end": (b"GET / HTTP/1.1\r\nHost: web\r\nX: " + b"x" * 70_000, 431),
    "a head of 12 kB in one field": (b"GET / HTTP/1.1\r\nHost: web\r\nX: " + b"x" * 12_000 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\nHost: web\r\n" + b"A: b\r\n" * 500 + b"\r\n", 431),
    "a long address": (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: web\r\n\r\n", 414),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: w\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "length and chunks": (
        b"POST /backtest HTTP/1.1\r\nHost: w\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
    ),
    "a length that is none": (b"POST / HTTP/1.1\r\nHost: w\r\nContent-Length: -5\r\n\r\n", 400),
    "a coding nobody knows": (b"POST / HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: zip\r\n\r\n", 400),
    "chunks that are none": (b"POST /backtest HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "a chunk longer than it says": (
        b"POST /backtest HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", 400,
    ),
    "a negative chunk": (b"POST /backtest HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n", 400),
    "a huge chunk": (b"POST /backtest HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\nab", 413),
    "a huge body": (b"POST /backtest HTTP/1.1\r\nHost: w\r\nContent-Length: 99999999\r\n\r\nab", 413),
    "a huge body of JSON": (
        b"POST /backtest HTTP/1.1\r\nHost: w\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n{", 413,
    ),
    "an expectation nobody knows": (b"GET / HTTP/1.1\r\nHost: w\r\nExpect: wonders\r\n\r\n", 417),
}  # fmt: skip


def test_a_thousand_who_ask_nothing_keep_nobody_out(tmp_path: Path) -> None:
    web = Web(tmp_path, WEB_REQUEST_SECONDS="60")
    silent = [web.connect() for _ in range(1100)]
    try:
        asked = b"GET /health HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"
        assert status_of(web.send(asked, seconds=20)) == 200
    finally:
        for connection in silent:
            connection.close()
        web.process.terminate()
        assert web.process.wait(30) == 0


@pytest.mark.parametrize(("sent", "status"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_nobody_should_send_is_the_clients_fault(web: Web, sent: bytes, status: int) -> None:
    before = web.workers()
    answer = web.send(sent)
    assert status_of(answer) == status
    assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"error", "code", "run_id"}
    assert b"connection: close" in answer.lower()
    assert status_of(web.get("/health")) == 200
    assert web.workers() == before


def test_requests_in_any_pieces_are_answered(web: Web) -> None:
    body = json.dumps({**REQUEST, "run_id": "nonsense"}).encode()
    plain = b"POST /backtest HTTP/1.1\r\nHost: web\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    chunks = (
        b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:8], body[8:]))
        + b"0\r\n\r\n"
    )
    chunked = b"POST /backtest HTTP/1.1\r\nHost: web\r\nContent-Type: application/json\r\nTransfer-Encoding: Chunked\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"
    everything = plain % (len(body), body) + chunked + chunks + last
    for size in (1, 3, 64, len(everything)):
        with web.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(everything), size):
                connection.sendall(everything[start : start + size])
            answers = b"".join(iter(lambda: connection.recv(65536), b""))
        assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"400", b"400", b"200"]
        assert answers.count(b"run_id must") == 2, answers


def test_a_client_that_waits_to_be_told_to_go_on(web: Web) -> None:
    head = b"POST /backtest HTTP/1.1\r\nHost: web\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    with web.connect() as connection:
        connection.sendall(head + b"Content-Length: 2\r\nConnection: close\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert status_of(connection.recv(65536)) == 400
    refused = web.send(head + b"Content-Length: 99999999\r\n\r\n")
    assert status_of(refused) == 413, "and is not told to go on for nothing"


# who is believed


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-Proto: https", "X-Forwarded-Protocol: ssl", "X-Forwarded-Ssl: on", "X-Forwarded-Host: evil.example",
     "SCRIPT_NAME: /evil", "Script-Name: /evil", "PATH_INFO: /runs", "X-Forwarded-Prefix: /evil", "Forwarded: proto=https"],
)  # fmt: skip
def test_nobody_is_believed_about_the_outside_without_proxy_hops(web: Web, header: str) -> None:
    """gunicorn alone believes the loopback."""
    plain = web.get("/result/nobody?format=json")
    told = web.get("/result/nobody?format=json", header)
    assert status_of(told) == status_of(plain) == 404
    page = web.get("/runs", "Accept: text/html", header)
    assert status_of(page) == 200
    assert b"evil" not in page
    assert b"https:" not in page


# what goes out


def test_counts_of_all_processes_add_up(web: Web) -> None:
    def families() -> dict[str, object]:
        text = web.get("/metrics").partition(b"\r\n\r\n")[2].decode()
        return {family.name: family for family in text_string_to_metric_families(text)}

    def answered() -> dict[tuple[str, ...], float]:
        samples = families()["stock_backtest_http_request_seconds"].samples  # type: ignore[attr-defined]
        return {
            tuple(sorted(one.labels.items())): one.value
            for one in samples
            if one.name.endswith("_count")
        }

    before, asked = answered(), 200
    for _ in range(asked):
        web.get("/rules")
    after = answered()
    key = (("method", "GET"), ("route", "/rules"), ("status", "200"))
    assert after[key] - before.get(key, 0) == asked
    found = [
        (s.name, tuple(sorted(s.labels.items()))) for f in families().values() for s in f.samples
    ]  # type: ignore[attr-defined]
    assert max(Counter(found).values()) == 1, "a series stands there once"
    assert not any("pid" in dict(labels) for _, labels in found)
    assert {"stock_backtest_runs"} <= set(families())
    pids = {re.search(r"_(\d+)\.db", str(path))[1] for path in _metrics_folder(web).glob("*.db")}  # type: ignore[index]
    assert len(pids) == 2, "both have answered"


def _metrics_folder(web: Web) -> Path:
    """Made by gunicorn's configuration, so it is looked for among the open files."""
    links = [os.readlink(path) for path in Path(f"/proc/{web.workers()[0]}/fd").iterdir()]
    return next(Path(link).parent for link in links if "/histogram_" in link)


def test_every_line_is_json_and_carries_the_run(web: Web) -> None:
    run_id = str(uuid.uuid4())
    assert json.loads(post(web, {**REQUEST, "run_id": run_id}))["run_id"] == run_id
    given = json.loads(post(web, {**REQUEST, "initial_capital": 4711}))["run_id"]
    web.get(f"/status/{run_id}")
    web.get("/health")
    lines = [json.loads(line) for line in web.log.read_text().splitlines()]
    assert all(
        set(line) - {"trace"} == {"time", "level", "logger", "run_id", "message"} for line in lines
    )
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines
    )
    access = [line for line in lines if line["logger"] == "gunicorn.access"]
    by_request = {(line["message"].split()[0], line["run_id"]) for line in access}
    assert {("GET", run_id), ("POST", run_id), ("POST", given)} <= by_request
    assert not any(
        probe in line["message"] for line in access for probe in ("/health", "/ready", "/metrics")
    )
    assert {"gunicorn.error", "gunicorn.access", "service.web.forms.submission"} <= {
        line["logger"] for line in lines
    }


# how it ends


class Load:
    """Clients that ask without pause until they are refused at the door, and what became of each request.

    A third submits runs over a connection that it keeps, a third with a new one for each, and the last third does
    nothing but connect, so that there is always somebody at the door.
    """

    EACH = 4

    def __init__(self, web: Web) -> None:
        self.web, self.accepted, self.broken = web, set[str](), list[str]()
        self.answered = self.refused = 0
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        work = [self._submit_kept, self._submit_anew, self._knock] * self.EACH
        self._threads = [threading.Thread(target=self._repeat, args=(one,)) for one in work]
        for thread in self._threads:
            thread.start()

    def _repeat(self, ask: Callable[[http.client.HTTPConnection], None]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=30)
        while not self.stopping.is_set():
            if connection.sock is None:
                try:
                    connection.connect()
                except OSError as error:
                    with self._lock:
                        self.refused += isinstance(error, ConnectionRefusedError)
                    return
            try:
                ask(connection)
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.broken.append(f"{ask.__name__}: {error!r}")
                connection.close()
        connection.close()

    def _submit_kept(self, connection: http.client.HTTPConnection, **more: str) -> None:
        run_id = str(uuid.uuid4())
        asked = json.dumps({**REQUEST, "run_id": run_id})
        connection.request("POST", "/backtest", asked, {"Content-Type": "application/json", **more})
        answer = connection.getresponse()
        body = answer.read()
        with self._lock:
            self.answered += 1
            if answer.status == 202 and json.loads(body)["run_id"] == run_id:
                self.accepted.add(run_id)
            else:
                self.broken.append(f"{answer.status} {body[:200]!r}")

    def _submit_anew(self, connection: http.client.HTTPConnection) -> None:
        self._submit_kept(connection, Connection="close")

    def _knock(self, connection: http.client.HTTPConnection) -> None:
        connection.request("GET", "/health", headers={"Connection": "close"})
        answer = connection.getresponse()
        if (answer.status, answer.read()) != (200, b'{"status":"ok"}\n'):
            self.broken.append(f"/health: {answer.status}")

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)


def _stop_under_load(folder: Path, seed: int) -> tuple[int, list[str]]:
    with serving(folder, WEB_WORKERS="2", LOG_LEVEL="WARNING") as web:
        load = Load(web)
        web.wait_for(lambda: load.answered > 20)
        time.sleep(random.Random(seed).uniform(0, 1))
        assert web.stop() == 0
        load.join()
        lost = load.accepted - web.runs()
        assert lost == set(), "answered with 202 and not in the database"
        assert load.refused == 3 * load.EACH, "everybody is refused at last"
    return load.answered, load.broken


def test_no_request_is_lost_at_sigterm(tmp_path: Path) -> None:
    _, broken = _stop_under_load(tmp_path, 1)
    assert broken == []


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(12))
def test_no_request_is_lost_at_sigterm_at_any_moment(tmp_path: Path, seed: int) -> None:
    answered, broken = _stop_under_load(tmp_path, seed)
    print(f"{answered} answered, broken: {broken}")
    assert broken == []


def _under_load(folder: Path, disturb: Callable[[Web], None]) -> Load:
    with serving(folder, WEB_WORKERS="2", LOG_LEVEL="WARNING") as web:
        load = Load(web)
        time.sleep(0.5)
        disturb(web)
        time.sleep(0.5)
        answered = load.answered
        web.wait_for(lambda: load.answered > answered + 20)
        load.stopping.set()
        load.join()
        assert load.accepted - web.runs() == set()
        assert load.refused == 0
    return load


def reload(web: Web) -> None:
    """By SIGHUP, until the last of the old workers has gone."""
    before = set(web.workers())
    web.process.send_signal(signal.SIGHUP)
    web.wait_for(lambda: len(web.workers()) == 2 and not before & set(web.workers()))


def kill(web: Web) -> None:
    """One worker, until there are two again."""
    before = web.workers()
    os.kill(before[0], signal.SIGKILL)
    web.wait_for(lambda: len(web.workers()) == 2 and before[0] not in web.workers())


@pytest.mark.fault
def test_no_request_is_lost_at_a_reload(tmp_path: Path) -> None:
    assert _under_load(tmp_path, reload).broken == []


@pytest.mark.fault
def test_a_killed_worker_is_replaced_and_takes_only_its_own_requests_along(tmp_path: Path) -> None:
    assert len(_under_load(tmp_path, kill).broken) <= 3 * Load.EACH, (
        "a client each has one request under way"
    )


def test_an_idle_connection_does_not_delay_the_end_and_nobody_has_to_have_an_access_log(
    tmp_path: Path,
) -> None:
    with (
        serving(tmp_path, ACCESS_LOG="false") as web,
        web.connect() as silent,
        web.connect() as kept,
    ):
        web.get("/runs")
        kept.sendall(b"GET /health HTTP/1.1\r\nHost: web\r\n\r\n")
        assert b"keep-alive" in kept.recv(65536)
        web.process.terminate()
        time.sleep(0.3)
        kept.sendall(b"GET /health HTTP/1.1\r\nHost: web\r\n\r\n")
        assert b"Connection: close" in kept.recv(65536), "the last answer on it says so"
        start = time.monotonic()
        assert web.process.wait(10) == 0
        assert time.monotonic() - start < 5
        assert silent.recv(10) == b""
        assert "gunicorn.access" not in web.log.read_text()
        pattern = r"[\d-]{10}T[\d:.]{12}Z [A-Z]+ [\w.]+ \[run_id=[-\w]+\] .+"
        assert [
            line for line in web.log.read_text().splitlines() if not re.fullmatch(pattern, line)
        ] == []


def test_nobody_gets_in_between_the_last_accept_and_the_close() -> None:
    """A handshake during the stop is not completed: the client would be reset later."""
    from service.web.gunicorn_worker import turn_away

    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener, socket.socket() as client:
        with socket.create_connection(listener.getsockname(), timeout=5):
            turn_away(listener)
            accepted, _ = listener.accept()
            accepted.close()
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.connect(listener.getsockname())


def reset(connection: socket.socket) -> None:
    """Closes it with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_clients_that_leave_in_the_middle_leave_no_trace(web: Web) -> None:
    for number in range(60):
        connection = web.connect()
        connection.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"[: None if number % 2 else 20])
        reset(connection)
    assert status_of(web.get("/health")) == 200
    files = [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in web.workers()]
    assert max(files) < 100
    assert "Traceback" not in web.log.read_text()
