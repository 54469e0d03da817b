"""Finds where a secret can be read: in a namespace, its pods and its release, in any encoding."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from tests.e2e.cluster import CommandFailed, Namespace, Release
from tests.e2e.login import PASSWORD, Login, answer, basic
from tests.e2e.pods import containers

DESCRIBED = "pods,jobs,deployments,statefulsets,configmaps"
# Command lines, those of the database while a client is at work, and the environment of our own
# programs. (The image of MySQL passes the passwords to its server as variables.)
PROCESSES = """
if [ -e /scripts/client.sh ]; then
  bash /scripts/client.sh mysql --execute='SELECT SLEEP(2)' >/dev/null & sleep 1
else
  cat /proc/[0-9]*/environ
fi
cat /proc/[0-9]*/cmdline | tr '\\0' ' '; wait
"""


def written(secret: str) -> set[str]:
    """The secret as it is, as part of a URL, and in base64 at each of three offsets."""
    assert len(secret) >= 16, "a short one is found by chance"
    forms = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    for before in range(3):
        text = base64.b64encode(bytes(before) + secret.encode()).decode()
        whole = text[-(-before * 8 // 6) : (before + len(secret.encode())) * 8 // 6]
        forms |= {whole, whole.replace("+", "-").replace("/", "_")}
    return forms


def shown(texts: Mapping[str, str], secret: str) -> set[str]:
    """The places where the secret stands."""
    forms = written(secret)
    return {place for place, text in texts.items() if any(form in text for form in forms)}


def state(namespace: Namespace) -> dict[str, str]:
    """Every object of the namespace, Secrets too, and kubectl's descriptions of them."""
    kinds = namespace.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    items = json.loads(
        namespace.kubectl("get", ",".join(kinds), "-o", "json", "--show-managed-fields")
    )["items"]
    objects = {
        f"{item['kind']}/{item['metadata']['name']}": json.dumps(item, ensure_ascii=False)
        for item in items
    }
    return {**objects, "kubectl describe": namespace.kubectl("describe", DESCRIBED)}


def said_by(release: Release) -> dict[str, str]:
    """The logs of every container, also before a restart, command lines, and helm's own texts."""
    namespace = release.namespace
    pods = namespace.objects("pods")
    living = [name for part in ("web", "controller", "mysql") for name in release.pods(part)]
    commands = {
        **{f"log of {' '.join(words)}": ("logs", *words) for pod in pods for words in _logs(pod)},
        **{f"processes of {name}": ("exec", name, "--", "sh", "-c", PROCESSES) for name in living},
    }
    with ThreadPoolExecutor(4) as pool:
        texts = dict(
            zip(
                commands,
                pool.map(lambda words: namespace.kubectl(*words), commands.values()),
                strict=True,
            )
        )
    return {**texts, "helm get all": "\n".join(release.helm("get", "all", release.name))}


def _logs(pod: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    status = pod["status"]
    restarts = {
        container_status["name"]: container_status["restartCount"]
        for container_status in [
            *status.get("initContainerStatuses", []),
            *status.get("containerStatuses", []),
        ]
    }
    for container in containers(pod["spec"]):
        words = (pod["metadata"]["name"], "--container", container["name"])
        yield words
        if restarts.get(container["name"]):
            yield (*words, "--previous")


def answers(release: Release, login: Login, run_ids: Iterable[str]) -> dict[str, str]:
    """The answers of the web, errors too, to a stranger, to a user and to a program."""
    paths = ["/openapi.json", "/metrics", "/ready", "/", "/runs", "/nowhere", "/backtest"]
    paths += [f"/{kind}/{run_id}" for kind in ("status", "result") for run_id in run_ids]
    texts = {}
    with release.web() as web:
        for path in paths:
            for authorization in ("", basic("alice", PASSWORD), f"Bearer {login.token}"):
                code, text = answer(web, path, authorization, b"{" if path == "/backtest" else None)
                texts[f"{path} {authorization[:6]} {code}"] = text
    return texts


def refusals(release: Release) -> dict[str, str]:
    """The messages of our programs when the database refuses them, and when it does not answer."""
    (pod, *_) = release.pods("web")
    texts = {}
    for wrong in ("DB_USER=somebody", "DB_HOST=127.0.0.1"):
        words = (
            "exec",
            pod,
            "--",
            "env",
            wrong,
            "DB_WAIT_SECONDS=1",
            "python",
            "-m",
            "service.store.migrate",
        )
        with pytest.raises(CommandFailed) as caught:
            release.namespace.kubectl(*words)
        texts[wrong] = caught.value.said
    return texts
