"""kubectl and helm as functions, whose errors show what the command printed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import yaml

from scripts.config import ROOT
from tests.e2e.waiters import Object, deployment_ready, pod_ready, stateful_set_ready, wait_until
from tests.e2e.web import Web

CHART = ROOT / "charts" / "stock-backtest"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


class CommandFailed(AssertionError):
    """A command ended with another code than 0; `said` is what it wrote."""

    def __init__(self, words: Sequence[str], said: str) -> None:
        super().__init__(f"{' '.join(words)[:300]}:\n{said}")
        self.said = said


def run(
    *words: str, given: str | None = None, seconds: float = 600, kubeconfig: str = ""
) -> tuple[str, str]:
    """Runs a command and returns what it wrote to stdout and to stderr; raises CommandFailed."""
    environment = {**os.environ, **({"KUBECONFIG": kubeconfig} if kubeconfig else {})}
    done = subprocess.run(
        words, input=given, env=environment, capture_output=True, text=True, timeout=seconds
    )
    if done.returncode:
        raise CommandFailed(words, done.stdout + done.stderr)
    return done.stdout, done.stderr


@dataclass(frozen=True)
class Namespace:
    """One namespace of the cluster."""

    name: str
    kubeconfig: str

    def kubectl(self, *words: str, given: str | None = None) -> str:
        return run(
            "kubectl", "--namespace", self.name, *words, given=given, kubeconfig=self.kubeconfig
        )[0]

    def create(self) -> None:
        """New and empty; what a broken run left under the name goes first."""
        self.kubectl("delete", "namespace", self.name, "--ignore-not-found")
        metadata = {"name": self.name, "labels": RESTRICTED}
        created = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        self.kubectl("create", "-f", "-", given=yaml.safe_dump(created))

    def delete(self) -> None:
        """Does not wait for the end."""
        self.kubectl("delete", "namespace", self.name, "--wait=false")

    def objects(self, kind: str, **labels: str) -> list[dict[str, Any]]:
        """The objects of a kind with all of these labels, named without `app.kubernetes.io/`."""
        selector = ",".join(f"app.kubernetes.io/{name}={value}" for name, value in labels.items())
        listed: list[dict[str, Any]] = json.loads(
            self.kubectl("get", kind, "-o", "json", "-l", selector)
        )["items"]
        return listed

    def object(self, kind: str, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return document

    def names(self, kind: str, **labels: str) -> set[str]:
        return {document["metadata"]["name"] for document in self.objects(kind, **labels)}

    def apply(self, *objects: Object) -> None:
        self.kubectl("apply", "-f", "-", given=yaml.safe_dump_all(objects))

    def start(self, pod: Object) -> str:
        """Applies a pod and waits until it is ready; its name."""
        self.apply(pod)
        name = str(pod["metadata"]["name"])
        wait_until(lambda: self.object("pod", name), pod_ready, 60, f"pod {name} is ready")
        return name

    def node(self) -> str:
        """Address of the cluster's first node."""
        (first, *_) = self.objects("nodes")
        return next(
            str(address["address"])
            for address in first["status"]["addresses"]
            if address["type"] == "InternalIP"
        )

    def python(self, pod: str, program: str, *arguments: str) -> str:
        """Runs a Python program inside the pod and returns its output."""
        return self.kubectl("exec", pod, "--", "python", "-c", program, *arguments)

    def evict(self, pod: str) -> None:
        """Evicts a pod through the API, as a drain does."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.name},
        }
        path = f"/api/v1/namespaces/{self.name}/pods/{pod}/eviction"
        self.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(body))

    @contextmanager
    def without(self, kind: str, name: str) -> Iterator[None]:
        """The object is not there inside the block, and as before after it."""
        there = self.object(kind, name)
        kept = ("name", "labels", "annotations")
        there["metadata"] = {key: value for key, value in there["metadata"].items() if key in kept}
        self.kubectl("delete", kind, name)
        try:
            yield
        finally:
            self.kubectl("create", "-f", "-", given=json.dumps(there))

    def wait_until_whole(self, seconds: float) -> None:
        """Waits until every StatefulSet and Deployment is what its spec asks for."""
        for kind, ready in (("statefulset", stateful_set_ready), ("deployment", deployment_ready)):
            for name in sorted(self.names(kind)):
                wait_until(partial(self.object, kind, name), ready, seconds, f"{name} is ready")

    def restarts(self) -> dict[str, int]:
        """Containers that were restarted, and how often."""
        sections = {}
        for pod in self.objects("pods"):
            status = pod["status"]
            for container in [
                *status.get("initContainerStatuses", []),
                *status.get("containerStatuses", []),
            ]:
                if container["restartCount"]:
                    sections[f"{pod['metadata']['name']}/{container['name']}"] = container[
                        "restartCount"
                    ]
        return sections

    def dump(self) -> str:
        """Pods, Jobs, events and the ends of the logs, for the report of a failed test."""
        parts = [
            ("get", "pods,jobs,pvc", "-o", "wide"),
            ("get", "events", "--sort-by=.lastTimestamp"),
        ]
        parts += [
            ("logs", f"pod/{name}", "--all-containers", "--prefix", "--tail=15")
            for name in self.names("pods")
        ]
        return "\n".join(f"$ kubectl {' '.join(words)}\n{self.shown(*words)}" for words in parts)

    def shown(self, *words: str) -> str:
        """The end of what kubectl says, also when it refuses."""
        try:
            return self.kubectl(*words)[-4000:]
        except CommandFailed as error:
            return error.said

    @contextmanager
    def forwarded(self, target: str, port: int = 5000) -> Iterator[str]:
        """An address on this machine that leads to the target's port."""
        words = ["kubectl", "--namespace", self.name, "port-forward", target, f":{port}"]
        environment = {**os.environ, "KUBECONFIG": self.kubeconfig}
        with subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                assert "Forwarding from" in line, line + process.stdout.read()
                yield "http://" + line.split()[2]
            finally:
                process.terminate()


@dataclass(frozen=True)
class Release:
    """One release of a chart; `values` are what it was last installed or upgraded with."""

    name: str
    namespace: Namespace
    values: Object = field(default_factory=dict)
    chart: str = str(CHART)
    program: str = "helm"

    def helm(self, *words: str, given: str | None = None, seconds: float = 600) -> tuple[str, str]:
        words = (self.program, "--namespace", self.namespace.name, *words)
        return run(*words, given=given, seconds=seconds, kubeconfig=self.namespace.kubeconfig)

    def install(self, *options: str) -> str:
        """Waits until all is ready; what helm warned of."""
        return self._deploy("install", *options)

    def upgrade(self, *options: str, wait: bool = True, **values: Any) -> Release:
        """Upgrades the release with some changed values; returns the release as it is then."""
        newer = replace(self, values=merged(self.values, values))
        newer._deploy("upgrade", *options, wait=wait)
        return newer

    def _deploy(self, verb: str, *options: str, wait: bool = True) -> str:
        waiting = ["--wait", "--timeout", "5m"] if wait else []
        words = [verb, self.name, self.chart, "--values", "-", *waiting, *options]
        return self.helm(*words, given=yaml.safe_dump(self.values))[1]

    def uninstall(self) -> None:
        self.helm("uninstall", self.name, "--wait", "--timeout", "3m")

    def labels(self, component: str) -> dict[str, str]:
        return {"instance": self.name, "component": component}

    def name_of(self, kind: str, component: str) -> str:
        """The name of the one object of this kind and component."""
        (name,) = self.namespace.names(kind, **self.labels(component))
        return name

    def pods(self, component: str) -> dict[str, str]:
        """Living pods of a part: name to uid."""
        pods = self.namespace.objects("pods", **self.labels(component))
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in pods
            if "deletionTimestamp" not in pod["metadata"]
        }

    @contextmanager
    def web(self, path: str = "", token: str = "") -> Iterator[Web]:
        """The dashboard through a port-forward of its Service."""
        with self.namespace.forwarded(f"service/{self.name_of('service', 'web')}") as address:
            yield Web(address + path, token)


def merged(below: Object, above: Object) -> dict[str, Any]:
    """Values as helm merges them: maps by key, everything else replaced."""
    both = {
        key: merged(below[key], value)
        if isinstance(value, dict) and isinstance(below.get(key), dict)
        else value
        for key, value in above.items()
    }
    return {**below, **both}


def have(*programs: str) -> str:
    """Why a test cannot run here: the first program that is missing, or nothing."""
    missing = [program for program in programs if shutil.which(program) is None]
    return f"{missing[0]} is not installed" if missing else ""
