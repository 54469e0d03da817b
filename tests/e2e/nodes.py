"""Pauses, stops and restarts nodes of the kind cluster, which are containers of this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.cluster import Namespace, run

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


def nodes_of(namespace: Namespace) -> tuple[str, list[str]]:
    """The node with the API server, and the others."""
    labels_by_name = {
        node["metadata"]["name"]: node["metadata"]["labels"] for node in namespace.objects("nodes")
    }
    (first,) = [name for name, labels in labels_by_name.items() if CONTROL_PLANE in labels]
    return first, sorted(labels_by_name.keys() - {first})


def addresses(namespace: Namespace) -> list[str]:
    """The address of every node, as this machine reaches it."""
    listed = [node["status"]["addresses"] for node in namespace.objects("nodes")]
    return [
        next(str(address["address"]) for address in addresses if address["type"] == "InternalIP")
        for addresses in listed
    ]


@contextmanager
def paused(node: str) -> Iterator[None]:
    """Stops every process of the node inside the block."""
    run("docker", "pause", node)
    try:
        yield
    finally:
        run("docker", "unpause", node)


@contextmanager
def api_server_frozen(node: str) -> Iterator[None]:
    """Freezes the API server inside the block: it accepts connections and does not answer."""
    run("docker", "exec", node, "pkill", "-STOP", "kube-apiserver")
    try:
        yield
    finally:
        run("docker", "exec", node, "pkill", "-CONT", "kube-apiserver")


@contextmanager
def dead(node: str) -> Iterator[None]:
    """Kills the node without notice, as a power cut does; it starts again at the block's end."""
    run("docker", "kill", node)
    try:
        yield
    finally:
        run("docker", "start", node)


def ready(namespace: Namespace, node: str) -> bool:
    """Whether the node says so; False also while nobody answers."""
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    try:
        return namespace.kubectl("get", "node", node, "-o", path) == "True"
    except (AssertionError, subprocess.TimeoutExpired):
        return False
