"""An API server without a cluster: it answers the calls of the controller from copies of recorded objects.

In a process of its own, so that its work is not counted to the controller:
`python -m tests.support.fake_cluster --completed 18000 --failed 2000 --running 1900 --pending 100` prints its address.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.chart.rendering import objects, one
from tests.support.fake_answers import KINDS, Denied, Query, Snapshot, Token, place
from tests.support.recorded import Object, Stored, recorded, run_ids, stored

NAMESPACE, TEMPLATE = "stocks", "bt-stock-backtest-worker-job"
SNAPSHOTS, LOG = 20, "The worker's last line\n"
STATES = ("completed", "failed", "pending", "running")


class FakeCluster:
    """The objects of one namespace; `expired` refuses to continue any list, as after minutes."""

    def __init__(self) -> None:
        self.kinds: dict[str, dict[str, Stored]] = {kind: {} for kind in KINDS}
        self.expired = False
        self.requests: Counter[str] = Counter()
        self.sent = 0
        self._pods: defaultdict[str, list[str]] = defaultdict(list)  # of each Job
        self._revision, self._snapshots = 1000, dict[tuple[str, int], Snapshot]()
        self._lock = threading.Lock()
        config_map = one(objects(), "ConfigMap", "-worker-job")
        config_map["metadata"]["uid"] = str(uuid.uuid4())
        self._put("configmaps", stored("configmaps", config_map))

    def add(self, run_id: str, state: str) -> None:
        """The Job of a run, and its pods; they are encoded now unless they are many and not listed."""
        for pattern in recorded()[state]:
            it = pattern.copy(run_id)
            self._put(pattern.kind, it)
            if state != "completed":
                _ = it.body

    def _put(self, kind: str, it: Stored) -> None:
        self.kinds[kind][it.name] = it
        self._revision += 1
        if kind == "pods":
            self._pods[it.labels["job-name"]].append(it.name)

    # calls

    def answer(
        self, method: str, kind: str, name: str, query: Query, body: Object
    ) -> tuple[int, bytes]:
        """Status and JSON; raises Denied."""
        with self._lock:
            self.requests[f"{method} {kind}{'/{name}' if name else ''}"] += 1
            if method == "POST":
                return 201, self._create(kind, body, "dryRun" in query)
            if method == "DELETE":
                return 200, self._delete(
                    kind, name, str(body.get("propagationPolicy", "Background"))
                )
            return 200, self._read(kind, name) if name else self._list(kind, query)

    def _read(self, kind: str, name: str) -> bytes:
        if name not in self.kinds[kind]:
            raise Denied(404, "NotFound", f'{KINDS[kind].resource} "{name}" not found')
        return KINDS[kind].whole(self.kinds[kind][name].body)

    def _list(self, kind: str, query: Query) -> bytes:
        token = Token.of(query.get("continue", ""))
        if token is None or token.revision < 0:
            snapshot = self._now(kind)
        elif self.expired or (kind, token.revision) not in self._snapshots:
            raise token.expired()
        else:
            snapshot = self._snapshots[kind, token.revision]
        return snapshot.page(KINDS[kind], query, token.start if token else "")

    def _now(self, kind: str) -> Snapshot:
        key = kind, self._revision
        if key not in self._snapshots:
            self._snapshots[key] = Snapshot(self._revision, self.kinds[kind])
            if len(self._snapshots) > SNAPSHOTS:
                del self._snapshots[next(iter(self._snapshots))]
        return self._snapshots[key]

    def _create(self, kind: str, body: Object, dry_run: bool) -> bytes:
        name = body["metadata"]["name"]
        if name in self.kinds[kind]:
            raise Denied(409, "AlreadyExists", f'{KINDS[kind].resource} "{name}" already exists')
        metadata = {
            "uid": str(uuid.uuid4()),
            "creationTimestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        it = stored(kind, {**body, "metadata": {**body["metadata"], **metadata}, "status": {}})
        if not dry_run:
            self._put(kind, it)
        return KINDS[kind].whole(it.body)

    def _delete(self, kind: str, name: str, policy: str) -> bytes:
        body = self._read(kind, name)
        del self.kinds[kind][name]
        self._revision += 1
        for pod in self._pods.pop(name, []) if kind == "jobs" and policy != "Orphan" else []:
            self.kinds["pods"].pop(pod, None)
        return body

    # serving

    @contextmanager
    def served(self) -> Iterator[str]:
        """Its address, on a free port."""
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self)) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.05,)).start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    """/api and /apis as the API server has them; /counts says what was asked so far."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body leave together

    def __init__(self, cluster: FakeCluster, *arguments: Any) -> None:
        self._cluster = cluster
        super().__init__(*arguments)

    def _answer(self) -> None:
        asked = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if asked.path == "/counts":
            counts = {"requests": self._cluster.requests, "bytes": self._cluster.sent}
            return self._send(200, json.dumps(counts).encode())
        try:
            kind, name, log = place(asked.path, NAMESPACE)
            query = dict(parse_qsl(asked.query))
            status, content = self._cluster.answer(
                self.command, kind, name, query, json.loads(body or b"{}")
            )
            content = LOG.encode() if log else content  # of a pod that is there
        except Denied as error:
            status, content = error.status, error.content
        self._cluster.sent += len(content)
        return self._send(status, content)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def kubeconfig(address: str) -> str:
    """Its text: JSON is YAML."""
    cluster, context = (
        {"server": address},
        {"cluster": "fake", "user": "fake", "namespace": NAMESPACE},
    )
    parts = {
        "clusters": ("cluster", cluster),
        "users": ("user", {}),
        "contexts": ("context", context),
    }
    named = {part: [{"name": "fake", key: value}] for part, (key, value) in parts.items()}
    return json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "fake", **named})


def of_states(**numbers: int) -> dict[str, str]:
    """The state of each run by run_id, the same in every process, in the order completed, failed, pending, running."""
    states = [state for state in STATES for _ in range(numbers.get(state, 0))]
    return dict(zip(run_ids(), states, strict=False))


def main() -> None:
    """Serves until its standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    for state in STATES:
        parser.add_argument(f"--{state}", type=int, default=0)
    cluster = FakeCluster()
    for run_id, state in of_states(**vars(parser.parse_args())).items():
        cluster.add(run_id, state)
    with cluster.served() as address:
        print(address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
