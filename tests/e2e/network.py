"""Which pods can connect to which: programs that try, and a listener outside of the cluster."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from tests.e2e.cluster import Namespace, Release

# Tries to connect to all addresses (address:port) at once, after the time that the policies of a
# new pod take to come into force.
CONNECT = """
import json, socket, sys, time
from concurrent.futures import ThreadPoolExecutor
def answer(target):
    host, port = target.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=4).close()
    except OSError as error:
        return type(error).__name__
    return "open"
time.sleep(2)
with ThreadPoolExecutor() as pool:
    print(json.dumps(dict(zip(sys.argv[1:], pool.map(answer, sys.argv[1:])))))
"""
# The same where there is no Python.
CONNECT_BY_BASH = """
sleep 2
for target; do
  (timeout 4 bash -c "</dev/tcp/${target/:/\\/}" 2>/dev/null; echo "$target $?") &
done
wait
"""
BASH = {"0": "open", "124": "TimeoutError"}
LISTEN = """
import http.server as h
h.ThreadingHTTPServer(("", 8000), h.BaseHTTPRequestHandler).serve_forever()
"""
CLOSED = "TimeoutError"


def targets_of(release: Release, worker: str) -> dict[str, str]:
    """The addresses (address:port) to connect to: each part, a worker's pod, the Kubernetes API."""
    namespace = release.namespace
    ports = {"mysql": 3306, "web": 5000, "controller": 8000}
    pods = {"worker": worker, **{part: next(iter(release.pods(part))) for part in ports}}
    addresses = {
        part: namespace.object("pod", pod)["status"]["podIP"] for part, pod in pods.items()
    }
    api = replace(namespace, name="default").object("service", "kubernetes")["spec"]["clusterIP"]
    return {
        **{part: f"{addresses[part]}:{ports.get(part, 8000)}" for part in addresses},
        "api": f"{api}:443",
    }


def reached(namespace: Namespace, pod: str, targets: Mapping[str, str]) -> dict[str, str]:
    """The answer of each target to the pod."""
    answers = json.loads(namespace.python(pod, CONNECT, *targets.values()))
    return {part: answers[target] for part, target in targets.items()}


def reached_by_bash(namespace: Namespace, pod: str, targets: Mapping[str, str]) -> dict[str, str]:
    """The same for a pod without Python."""
    output = namespace.kubectl(
        "exec", pod, "--", "bash", "-c", CONNECT_BY_BASH, "bash", *targets.values()
    )
    answers = dict(line.split() for line in output.splitlines())
    return {part: BASH.get(answers[target], answers[target]) for part, target in targets.items()}


@contextmanager
def outside(namespace: Namespace) -> Iterator[str]:
    """The address:port of a listener on this machine, which is outside of the cluster."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((namespace.node(), 9))
        address = way.getsockname()[0]
    with socket.create_server(("", 0), backlog=128) as listener:
        yield f"{address}:{listener.getsockname()[1]}"
