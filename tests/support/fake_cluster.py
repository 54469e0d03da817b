"""An API server without a cluster: it answers the controller from copies of recorded objects.

`python -m tests.support.fake_cluster --completed 18000 --failed 2000 --running 1900 --pending 100`
prints its address. In a process of its own its work is not counted to the controller.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from tests.chart.rendering import object_of, objects
from tests.support.fake_answers import KINDS, Denied, Query, Snapshot, Token, place
from tests.support.recorded import Object, Stored, recorded, run_ids, stored

if TYPE_CHECKING:
    import pytest

NAMESPACE = "stocks"
TEMPLATE = "bt-stock-backtest-worker-job"
MAX_SNAPSHOTS = 20
LOG = "The worker's last line\n"
STATES = ("completed", "failed", "pending", "running")


class FakeCluster:
    """The objects of one namespace, and how an API server answers about them.

    kinds: the objects by kind and name.
    expired: no list can be continued, as after some minutes.
    denial: every call is answered with it, if there is one.
    max_jobs: a quota that counts Jobs, in whatever state they are, if there is one.
    requests: how often each call was made, like `GET jobs/{name}`.
    sent: the number of bytes in all answers.
    """

    def __init__(self) -> None:
        self.kinds: dict[str, dict[str, Stored]] = {kind: {} for kind in KINDS}
        self.expired = False
        self.denial: Denied | None = None
        self.max_jobs: int | None = None
        self.requests: Counter[str] = Counter()
        self.sent = 0
        self._pod_names: defaultdict[str, list[str]] = defaultdict(list)
        self._revision = 1000
        self._snapshots: dict[tuple[str, int], Snapshot] = {}
        self._lock = threading.Lock()
        config_map = object_of(objects(), "ConfigMap", "-worker-job")
        config_map["metadata"]["uid"] = str(uuid.uuid4())
        self._put("configmaps", stored("configmaps", config_map))

    def add(self, run_id: str, state: str) -> None:
        """Adds the Job of a run, and its pods."""
        for pattern in recorded()[state]:
            copy = pattern.copy(run_id)
            self._put(pattern.kind, copy)
            # those that are listed are encoded now; the completed ones are many and are not
            if state != "completed":
                _ = copy.body

    def _put(self, kind: str, added: Stored) -> None:
        self.kinds[kind][added.name] = added
        self._revision += 1
        if kind == "pods":
            self._pod_names[added.labels["job-name"]].append(added.name)

    def answer(self, method: str, path: str, query: Query, body: Object) -> tuple[int, bytes]:
        """HTTP status and content; raises Denied."""
        kind, name, is_log = place(path, NAMESPACE)
        call = f"{method} {kind}"
        if name:
            call += "/{name}"
        if is_log:
            call += "/log"
        with self._lock:
            self.requests[call] += 1
            if self.denial is not None:
                raise self.denial
            if method == "POST":
                return 201, self._create(kind, body, "dryRun" in query)
            if method == "DELETE":
                policy = str(body.get("propagationPolicy", "Background"))
                return 200, self._delete(kind, name, policy)
            if not name:
                return 200, self._list(kind, query)
            content = self._read(kind, name)
            return 200, LOG.encode() if is_log else content

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
        key = (kind, self._revision)
        if key not in self._snapshots:
            self._snapshots[key] = Snapshot(self._revision, self.kinds[kind])
            if len(self._snapshots) > MAX_SNAPSHOTS:
                del self._snapshots[next(iter(self._snapshots))]
        return self._snapshots[key]

    def _create(self, kind: str, body: Object, dry_run: bool) -> bytes:
        name = body["metadata"]["name"]
        if name in self.kinds[kind]:
            raise Denied(409, "AlreadyExists", f'{KINDS[kind].resource} "{name}" already exists')
        self._check_quota(kind, name)
        metadata = {
            **body["metadata"],
            "uid": str(uuid.uuid4()),
            "creationTimestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        created = stored(kind, {**body, "metadata": metadata, "status": {}})
        if not dry_run:
            self._put(kind, created)
        return KINDS[kind].whole(created.body)

    def _check_quota(self, kind: str, name: str) -> None:
        used = len(self.kinds["jobs"])
        if kind == "jobs" and self.max_jobs is not None and used >= self.max_jobs:
            count = "count/jobs.batch"
            raise Denied(
                403,
                "Forbidden",
                f'jobs.batch "{name}" is forbidden: exceeded quota: few-jobs, requested: '
                f"{count}=1, used: {count}={used}, limited: {count}={self.max_jobs}",
            )

    def set_status(self, job: str, *conditions: str, succeeded: int = 0) -> None:
        """Gives a Job these conditions, which are true."""
        listed = [{"type": condition, "status": "True"} for condition in conditions]
        document = json.loads(self.kinds["jobs"][job].body)
        document["status"] = {"conditions": listed, "succeeded": succeeded}
        self._put("jobs", stored("jobs", document))

    def _delete(self, kind: str, name: str, policy: str) -> bytes:
        content = self._read(kind, name)
        del self.kinds[kind][name]
        self._revision += 1
        if kind == "jobs" and policy != "Orphan":
            for pod_name in self._pod_names.pop(name, []):
                self.kinds["pods"].pop(pod_name, None)
        return content

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serves on a free port, and gives the address."""
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
    # head and body leave together
    wbufsize = 1 << 16

    def __init__(self, cluster: FakeCluster, *arguments: Any) -> None:
        self._cluster = cluster
        super().__init__(*arguments)

    def _answer(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if url.path == "/counts":
            counts = {"requests": self._cluster.requests, "bytes": self._cluster.sent}
            return self._send(200, json.dumps(counts).encode())
        try:
            query = dict(parse_qsl(url.query))
            document = json.loads(body or b"{}")
            status, content = self._cluster.answer(self.command, url.path, query, document)
        except Denied as error:
            status = error.status
            content = error.content
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
    """The text of a kubeconfig for a cluster at the address; JSON is YAML."""
    context = {"cluster": "fake", "user": "fake", "namespace": NAMESPACE}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": address}}],
        "users": [{"name": "fake", "user": {}}],
        "contexts": [{"name": "fake", "context": context}],
    }
    return json.dumps(document)


def point_client_at(address: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the Kubernetes client of this process call the cluster at the address."""
    path = folder / "kubeconfig"
    path.write_text(kubeconfig(address))
    monkeypatch.setenv("KUBECONFIG", str(path))
    # the client reads the variable when it is imported
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))


def of_states(**numbers: int) -> dict[str, str]:
    """The state of each run by run_id, the same in every process, in the order of STATES."""
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
