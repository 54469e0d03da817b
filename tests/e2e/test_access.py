"""Who may do what, and who reaches whom: the rights of each account, and the network policies as they are enforced."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml

from tests.e2e.cluster import Release
from tests.e2e.pods import python_pod
from tests.e2e.waiters import Object

pytestmark = pytest.mark.cluster

# Tries to connect to each host:port at once, after the second in which a new pod's policies come into force.
CONNECT = """
import json, socket, sys, time
from concurrent.futures import ThreadPoolExecutor
def answer(target):
    host, port = target.split(":")
    try:
        address = socket.getaddrinfo(host, int(port), socket.AF_INET)[0][4]
    except OSError as error:
        return f"no name: {error}"
    try:
        socket.create_connection(address, timeout=4).close()
    except OSError as error:
        return type(error).__name__
    return "open"
time.sleep(2)
with ThreadPoolExecutor() as pool:
    print(json.dumps(dict(zip(sys.argv[1:], pool.map(answer, sys.argv[1:])))))
"""
API = "kubernetes.default.svc:443"
CLOSED = "TimeoutError"


@pytest.fixture(scope="module")
def release(helm_release: Callable[..., Release]) -> Release:
    return helm_release()


def rights(release: Release, account: str) -> set[tuple[str, ...]]:
    """Resources, URLs, names and verbs of `kubectl auth can-i --list`."""
    user = f"system:serviceaccount:{release.namespace.name}:{account}"
    table = release.namespace.kubectl("auth", "can-i", "--list", "--as", user).splitlines()
    starts = [table[0].index(title) for title in ("Resources", "Non-Resource URLs", "Resource Names", "Verbs")]
    return {
        tuple(line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True))
        for line in table[1:]
    }


def test_each_account_may_do_exactly_what_its_program_calls(release: Release) -> None:
    everybody = rights(release, "somebody-else")
    template = release.namespace.object("deployment", release.name_of("deployment", "controller"))
    accounts = {part: release.name_of("serviceaccount", part) for part in ("web", "controller", "worker", "mysql")}
    assert template["spec"]["template"]["spec"]["serviceAccountName"] == accounts["controller"]
    for part in ("web", "worker", "mysql"):
        assert rights(release, accounts[part]) == everybody, part
    assert rights(release, accounts["controller"]) - everybody == {
        ("jobs.batch", "[]", "[]", "[create delete get list]"),
        ("pods", "[]", "[]", "[delete list]"),
        ("events", "[]", "[]", "[list]"),
        ("configmaps", "[]", f"[{release.name_of('configmap', 'worker')}]", "[get]"),
    }


def test_only_the_controller_has_a_token(release: Release) -> None:
    with release.web() as web:
        web.completed()
    holders = set()
    for pod in release.namespace.objects("pods"):
        mounts = [mount["mountPath"] for it in pod["spec"]["containers"] for mount in it.get("volumeMounts", [])]
        sources = [
            source for volume in pod["spec"]["volumes"] for source in volume.get("projected", {}).get("sources", [])
        ]
        if any("serviceaccount" in path for path in mounts) or any("serviceAccountToken" in it for it in sources):
            holders.add(pod["metadata"]["labels"]["app.kubernetes.io/component"])
    assert holders == {"controller"}
    parts = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in release.namespace.objects("pods")}
    assert parts == {"web", "controller", "worker", "mysql"}


@pytest.fixture(scope="module")
def targets(release: Release) -> dict[str, str]:
    """What there is to reach, by part."""
    addresses = {part: release.name_of("service", part) for part in ("web", "controller")}
    ports = {"web": 5000, "controller": 8000}
    (mysql,) = (
        name for name in release.namespace.names("service", **release.labels("mysql")) if "headless" not in name
    )
    return {"mysql": f"{mysql}:3306", "api": API, **{part: f"{addresses[part]}:{ports[part]}" for part in ports}}


def reached(release: Release, pod: str, targets: dict[str, str], itself: str = "") -> dict[str, str]:
    """How each other part answers the pod; a part may always reach itself."""
    answers = json.loads(release.namespace.python(pod, CONNECT, *targets.values()))
    return {part: answers[target] for part, target in targets.items() if part != itself}


def worker_labels(release: Release) -> Object:
    """Of the pods of runs, without a run."""
    template = release.namespace.object("configmap", release.name_of("configmap", "worker"))
    labels: Object = yaml.safe_load(template["data"]["job.yaml"])["spec"]["template"]["metadata"]["labels"]
    return labels


def test_a_stranger_reaches_the_web_and_never_the_database(release: Release, targets: dict[str, str]) -> None:
    """That all else is open to it shows that policies close the rest, and not the network itself."""
    pod = release.namespace.start(python_pod("stranger"))
    assert reached(release, pod, targets) == {"mysql": CLOSED, "api": "open", "web": "open", "controller": "open"}


def test_a_worker_reaches_the_database_and_nothing_else(release: Release, targets: dict[str, str]) -> None:
    pod = release.namespace.start(python_pod("like-a-worker", labels=worker_labels(release)))
    assert reached(release, pod, targets) == {"mysql": "open", "api": CLOSED, "web": CLOSED, "controller": CLOSED}


def test_the_web_reaches_the_database_and_nothing_else(release: Release, targets: dict[str, str]) -> None:
    pod = next(iter(release.pods("web")))
    assert reached(release, pod, targets, "web") == {"mysql": "open", "api": CLOSED, "controller": CLOSED}


def test_the_controller_reaches_the_database_and_the_api(release: Release, targets: dict[str, str]) -> None:
    pod = next(iter(release.pods("controller")))
    assert reached(release, pod, targets, "controller") == {"mysql": "open", "api": "open", "web": CLOSED}


def test_the_database_reaches_nothing(release: Release, targets: dict[str, str]) -> None:
    (pod,) = release.pods("mysql")
    address = release.namespace.object("service", release.name_of("service", "web"))["spec"]["clusterIP"]
    program = f"timeout 4 bash -c '</dev/tcp/{address}/5000' 2>&1; echo ended with $?"
    assert release.namespace.kubectl("exec", pod, "--", "bash", "-c", program).split("\n")[-2] == "ended with 124"
