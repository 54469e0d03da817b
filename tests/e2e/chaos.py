"""Faults of a cluster, chosen by a seeded hand every few seconds."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from tests.e2e.cluster import CommandFailed, Release
from tests.e2e.nodes import api_server_frozen, nodes_of, paused

Fault = Callable[[], None]
PAUSE_SECONDS = (2.0, 7.0)
QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "none"},
    "spec": {"hard": {"pods": "0"}},
}
RUN = "stock-backtest/run-id"


class Chaos:
    """Random faults, each of which is undone at its end; its target may be gone already."""

    def __init__(self, release: Release, seed: int) -> None:
        self._release = release
        self._namespace = release.namespace
        self._random = random.Random(seed)
        self._first_node, (self._other_node, *_) = nodes_of(release.namespace)
        self._controller = release.name_of("deployment", "controller")
        self.done: Counter[str] = Counter()
        self.kinds: Sequence[Fault] = (
            self.worker_deleted,
            self.worker_evicted,
            self.worker_killed,
            self.job_deleted,
            self.mysql_killed,
            self.web_killed,
            self.controller_killed,
            self.controllers_gone,
            self.api_server_frozen,
            self.node_paused,
            self.quota_full,
            self.rights_taken,
            self.service_account_gone,
        )

    def run(self, seconds: float) -> None:
        """Faults for that long; each kind comes once before any comes again."""
        deadline = time.monotonic() + seconds
        deck: list[Fault] = []
        while time.monotonic() < deadline:
            time.sleep(self._random.uniform(*PAUSE_SECONDS))
            deck = deck or self._random.sample(self.kinds, len(self.kinds))
            fault = deck.pop()
            print(f"{time.strftime('%H:%M:%S')} {fault.__name__}")  # shown where the test fails
            with suppress(CommandFailed):  # it was gone
                fault()
                self.done[fault.__name__] += 1

    def _some_pod(self, *selection: str) -> str:
        """A living one; raises CommandFailed where there is none."""
        listed = self._namespace.kubectl(
            "get", "pods", "-o", "name", "--field-selector=status.phase=Running", *selection
        )
        if not listed:
            raise CommandFailed(selection, "no pod")
        return self._random.choice(sorted(listed.split()))

    def _kill(self, pod: str) -> None:
        self._namespace.kubectl("delete", pod, "--force", "--grace-period=0", "--wait=false")

    def _part(self, component: str) -> str:
        return self._some_pod(
            "-l", f"app.kubernetes.io/component={component},app.kubernetes.io/instance=bt"
        )

    def worker_deleted(self) -> None:
        self._namespace.kubectl("delete", self._some_pod("-l", RUN), "--wait=false")

    def worker_killed(self) -> None:
        self._kill(self._some_pod("-l", RUN))

    def worker_evicted(self) -> None:
        self._namespace.evict(self._some_pod("-l", RUN).removeprefix("pod/"))

    def job_deleted(self) -> None:
        """Deletes the Job of a run that is at work."""
        pod = self._some_pod("-l", RUN).removeprefix("pod/")
        self._namespace.kubectl("delete", "job", pod.rpartition("-")[0], "--wait=false")

    def mysql_killed(self) -> None:
        self._kill(self._some_pod("-l", "app.kubernetes.io/name=mysql"))

    def web_killed(self) -> None:
        self._kill(self._part("web"))

    def controller_killed(self) -> None:
        self._kill(self._part("controller"))

    def controllers_gone(self) -> None:
        for replicas in (0, 2):
            self._namespace.kubectl(
                "scale", f"deployment/{self._controller}", f"--replicas={replicas}"
            )
            time.sleep(self._random.uniform(2, 8))

    def api_server_frozen(self) -> None:
        with api_server_frozen(self._first_node):
            time.sleep(self._random.uniform(3, 15))

    def node_paused(self) -> None:
        with paused(self._other_node):
            time.sleep(self._random.uniform(3, 15))

    def quota_full(self) -> None:
        self._namespace.apply(QUOTA)
        time.sleep(self._random.uniform(3, 12))
        self._namespace.kubectl("delete", "resourcequota", "none")

    def rights_taken(self) -> None:
        self._away("rolebinding", self._controller)

    def service_account_gone(self) -> None:
        """Deletes the service account of the workers for a while: no pod of theirs can be made."""
        self._away("serviceaccount", self._release.name_of("serviceaccount", "worker"))

    def _away(self, kind: str, name: str) -> None:
        with self._namespace.without(kind, name):
            time.sleep(self._random.uniform(2, 10))
