"""Clusters with other users, other ports and an autoscaler: OpenShift's rules, somebody's MySQL."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.e2e.cluster import CommandFailed, Namespace, Release
from tests.e2e.conftest import ONE_EACH
from tests.e2e.pods import python_pod
from tests.e2e.waiters import job_ended, wait_until
from tests.support.requests import SWEEP

pytestmark = pytest.mark.cluster

USER = 1_000_670_000
# What OpenShift's restricted-v2 lets pass in a namespace whose users begin at that number.
RULES = {
    "a user of the namespace": "S.?runAsUser.orValue(0) >= 1000670000 && S.runAsUser <= 1000679999",
    "the namespace's group of files": "S.?fsGroup.orValue(0) == 1000670000",
    "the default seccomp profile": "S.?seccompProfile.type.orValue('') == 'RuntimeDefault'",
    "no user of a container": "C.all(c, !has(c.securityContext.runAsUser))",
    "no privilege": "C.all(c, c.securityContext.allowPrivilegeEscalation == false)",
    "no capability": "C.all(c, 'ALL' in c.securityContext.capabilities.drop)",
    "nothing of the host": "!object.spec.?hostNetwork.orValue(false)",
    "no volume of the host": "object.spec.?volumes.orValue([]).all(v, !has(v.hostPath))",
}
PARTS = {
    "S": "object.spec.securityContext",
    "C": "(object.spec.containers + object.spec.?initContainers.orValue([]))",
}


def expression(rule: str) -> str:
    return rule.replace("C.all", f"{PARTS['C']}.all").replace("S.", f"{PARTS['S']}.")


@pytest.fixture(scope="module")
def openshift(new_namespace: Callable[..., Namespace]) -> Iterator[Namespace]:
    """A namespace whose pods must be as restricted-v2 wants them."""
    namespace = new_namespace("-openshift")
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace.name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"namespaceSelector": selector, "resourceRules": [rule]},
            "validations": [
                {"expression": expression(rule), "message": f"restricted-v2: {name}"}
                for name, rule in RULES.items()
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace.name},
        "spec": {"policyName": namespace.name, "validationActions": ["Deny"]},
    }
    namespace.apply(policy, binding)
    wait_until(partial(refusal, namespace), lambda said: "restricted-v2" in said, 60, "it counts")
    yield namespace
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        namespace.kubectl("delete", kind, namespace.name)


def refusal(namespace: Namespace) -> str:
    """What the namespace says to a pod with the users of our own choice."""
    try:
        given = json.dumps(python_pod("fixed-user"))
        return namespace.kubectl("create", "--dry-run=server", "-f", "-", given=given)
    except CommandFailed as error:
        return error.said


def test_everything_runs_as_a_user_that_openshift_chose(
    openshift: Namespace, helm_release: Callable[..., Release]
) -> None:
    """Its admission fills in what the values leave open (null); here the values say it."""
    assert "restricted-v2: a user of the namespace" in refusal(openshift)
    users = {"runAsUser": USER, "runAsGroup": None, "fsGroup": USER}
    release = helm_release(
        **ONE_EACH,
        into=openshift,
        podSecurityContext=users,
        mysql={"podSecurityContext": users, "backup": {"enabled": True}},
    )
    with release.web() as web:
        assert web.completed()["num_trades"] == 34
        run_id = web.ask("/sweeps?force=true", SWEEP)["run_id"]
        assert web.wait(run_id, seconds=180)["status"] == "completed"
    (backup,) = openshift.objects("jobs", **release.labels("backup"))
    name = backup["metadata"]["name"]
    wait_until(partial(openshift.object, "job", name), job_ended, 120, "the backup has ended")
    assert job_ended(openshift.object("job", name)) == "Complete"
    assert "completed with the numbers" in release.helm("test", release.name, "--logs")[0]
    for part in ("web", "mysql"):
        words = "exec", next(iter(release.pods(part))), "--", "id", "-u"
        assert openshift.kubectl(*words).strip() == str(USER)


@pytest.fixture(scope="module")
def database(helm_release: Callable[..., Release]) -> Release:
    """A release whose MySQL lets the other release in, by a Service with another port."""
    peers = {"from": [{"podSelector": {}}]}
    values = {
        **ONE_EACH,
        "web": {"replicaCount": 3},
        "mysql": {"networkPolicy": {"extraIngress": [peers]}},
    }
    # The API server writes 2Gi; an upgrade must not take that for another size.
    values["mysql"]["persistence"] = {"size": "2048Mi"}
    release = helm_release("one", **values)
    selector = release.namespace.object("service", "one-mysql")["spec"]["selector"]
    ports = [{"port": 13306, "targetPort": 3306}]
    service = {"selector": selector, "ports": ports}
    release.namespace.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "theirs"}, "spec": service}
    )
    return release


def test_a_database_whose_service_has_another_port_than_its_pods(
    database: Release, helm_release: Callable[..., Release]
) -> None:
    """A network policy counts the port of the pod; DNS answers at the port that is open for it."""
    create = "CREATE DATABASE theirs; GRANT ALL ON theirs.* TO stock_backtest"
    root = f'MYSQL_PWD=$(<$MYSQL_ROOT_PASSWORD_FILE) mysql --user=root --execute="{create}"'
    database.namespace.kubectl("exec", "one-mysql-0", "--", "bash", "-c", root)
    theirs = {
        "host": "theirs",
        "port": 13306,
        "name": "theirs",
        "existingSecret": "one-mysql",
    }
    release = helm_release(
        "two",
        **ONE_EACH,
        mysql={"enabled": False},
        externalDatabase=theirs,
        networkPolicy={"databasePorts": [3306], "dnsPorts": [53]},
    )
    with release.web() as web:
        web.completed()
    (pod,) = release.pods("controller")
    assert connects(release, pod, "theirs:13306") == "open"
    closed = release.upgrade(networkPolicy={"databasePorts": [13306]}, wait=False)
    wait_until(
        lambda: connects(closed, pod, "theirs:13306"), "TimeoutError".__eq__, 60, "it is closed"
    )
    nameless = release.upgrade(networkPolicy={"dnsPorts": [5353]}, wait=False)
    wait_until(
        lambda: connects(nameless, pod, "theirs:13306"), "gaierror".__eq__, 60, "no name is known"
    )
    release.uninstall()


CONNECT = """
import socket, sys
host, port = sys.argv[1].split(":")
try:
    socket.create_connection((host, int(port)), timeout=4).close()
    print("open")
except OSError as error:
    print(type(error).__name__)
"""


def connects(release: Release, pod: str, target: str) -> str:
    return release.namespace.python(pod, CONNECT, target).strip()


@contextmanager
def watched(release: Release) -> Iterator[list[int]]:
    """How many pods the web's Deployment asks for, each time that it is looked at."""
    seen: list[int] = []
    stop = threading.Event()
    name = release.name_of("deployment", "web")

    def look() -> None:
        while not stop.wait(0.3):
            seen.append(release.namespace.object("deployment", name)["spec"].get("replicas", 1))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def test_switching_on_the_autoscaler_keeps_every_pod(database: Release) -> None:
    pods = database.pods("web")
    assert len(pods) == 3
    scaled: dict[str, Any] = {"autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 5}}
    with watched(database) as seen:
        release = database.upgrade(web=scaled)
        assert set(seen) == {3}
    assert release.pods("web") == pods
    release.namespace.kubectl("scale", "deployment/one-stock-backtest-web", "--replicas=4")
    with watched(release) as seen:
        release.upgrade(web=scaled)
        assert set(seen) == {4}, "a later upgrade leaves the autoscaler's number alone"
