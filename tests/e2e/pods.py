"""Pods that tests start, fit for Pod Security `restricted`, and what a process in them may do."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from tests.e2e.cluster import Namespace
from tests.e2e.waiters import wait_until

IMAGE = "stock-backtest-web:0.3.0"
SLEEP = "import time; time.sleep(3600)"
# Asks for an address as often as three threads can, until /tmp/stop is there; then /tmp/seen has
# the number of requests, and those that failed.
POLL = """
import json, os, sys, threading, time, urllib.request
asked, failures = [0], []
def ask():
    while not os.path.exists("/tmp/stop"):
        asked[0] += 1
        try:
            urllib.request.urlopen(sys.argv[1], timeout=5).read()
        except OSError as error:
            failures.append(f"{time.strftime('%X')} {error}")
        time.sleep(0.01)
threads = [threading.Thread(target=ask) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with open("/tmp/seen.new", "w") as file:
    json.dump([asked[0], failures], file)
os.replace("/tmp/seen.new", "/tmp/seen")
time.sleep(3600)
"""


def python_pod(
    name: str, program: str = SLEEP, *arguments: str, labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A pod that runs the program."""
    container = {
        "name": "python",
        "image": IMAGE,
        "command": ["python", "-c", program, *arguments],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    spec = {
        "containers": [container],
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": spec,
    }


# Prints what holds for the container's first process.
LOOK = """
while read -r name value _; do
  case $name in Uid:|CapEff:|CapBnd:|NoNewPrivs:|Seccomp:) echo "$name $value" ;; esac
done </proc/1/status
echo "root: $(touch /look 2>&1 | sed 's/.*: //')"
token=/var/run/secrets/kubernetes.io/serviceaccount/token
if [ -e "$token" ]; then echo "token: yes"; else echo "token: no"; fi
"""


def seen(said: str) -> dict[str, str]:
    """The lines that LOOK printed, as names and values."""
    return {
        name: value
        for name, _, value in (line.partition(": ") for line in said.strip().splitlines())
    }


def containers(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All of a pod's, init containers first."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def pod_ended(pod: Mapping[str, Any]) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def copy_of(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The pod with LOOK in each of its containers, init containers too, and all else the same.

    It has no labels, so that neither its Job nor a policy takes it for its own.
    """
    spec = {**copy.deepcopy(pod["spec"]), "restartPolicy": "Never"}
    spec.pop("nodeName", None)
    for container in containers(spec):
        container.update(command=["sh", "-c", LOOK], args=[])
        for name in ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle"):
            container.pop(name, None)
    name = f"copy-of-{pod['metadata']['name']}"[:63]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def looks_of(
    namespace: Namespace, pods: Iterable[Mapping[str, Any]]
) -> dict[str, list[dict[str, str]]]:
    """What LOOK prints in each container of copies of the pods, by the container's name."""
    copies = [copy_of(pod) for pod in pods]
    namespace.apply(*copies)
    looks: dict[str, list[dict[str, str]]] = {}
    for pod in copies:
        name = pod["metadata"]["name"]
        wait_until(partial(namespace.object, "pod", name), pod_ended, 60, f"{name} ended")
        for container in containers(pod["spec"]):
            log = namespace.kubectl("logs", name, "--container", container["name"])
            looks.setdefault(container["name"], []).append(seen(log))
    return looks
