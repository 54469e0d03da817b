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
    """Of every node, as this machine reaches them."""
    listed = [node["status"]["addresses"] for node in namespace.objects("nodes")]
    return [
        next(str(address["address"]) for address in addresses if address["type"] == "InternalIP")
        for addresses in listed
    ]


@contextmanager
def paused(node: str) -> Iterator[None]:
    """Every process of the node stands still."""
    run("docker", "pause", node)
    try:
        yield
    finally:
        run("docker", "unpause", node)


@contextmanager
def api_server_frozen(node: str) -> Iterator[None]:
    """It takes connections and answers nobody."""
    run("docker", "exec", node, "pkill", "-STOP", "kube-apiserver")
    try:
        yield
    finally:
        run("docker", "exec", node, "pkill", "-CONT", "kube-apiserver")


@contextmanager
def dead(node: str) -> Iterator[None]:
    """Without a word to anybody, as when its power goes; it starts again at the end."""
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
