"""The database's password is changed while everybody works; nothing is restarted."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import pytest

from tests.e2e.cluster import Release
from tests.e2e.pods import POLL, python_pod
from tests.e2e.waiters import pod_ready, wait_until

pytestmark = pytest.mark.cluster

USER = "'stock_backtest'@'%'"
PARTS = ("web", "controller", "mysql")
AS_ROOT = """
export MYSQL_PWD=$(<"$MYSQL_ROOT_PASSWORD_FILE")
mysql --user=root --skip-column-names --force --execute="$1"
"""
OUR_CONNECTIONS = """
SELECT CONCAT('KILL ', id, ';') FROM information_schema.processlist WHERE user = 'stock_backtest'
"""


@pytest.fixture(scope="module")
def release(helm_release: Callable[..., Release]) -> Release:
    return helm_release(controller={"replicaCount": 1})


def as_root(release: Release, statement: str) -> str:
    (pod,) = release.pods("mysql")
    return release.namespace.kubectl("exec", pod, "--", "bash", "-c", AS_ROOT, "bash", statement)


def cut_all_connections(release: Release) -> None:
    """So that every process needs a new one; one that has gone by itself is no error."""
    as_root(release, f"{as_root(release, OUR_CONNECTIONS)} SELECT 'done'")


def store(release: Release, password: str) -> None:
    """Puts the password into the Secret, and waits until the pods have it.

    A change of a pod makes its kubelet look at once; without one it takes a minute or two.
    """
    patch = json.dumps({"stringData": {"DB_PASSWORD": password}})
    release.namespace.kubectl("patch", "secret", "bt-mysql", "--type=merge", "--patch", patch)
    pods = [pod for part in PARTS for pod in release.pods(part)]
    release.namespace.kubectl(
        "annotate", "pods", *pods, f"looked-at={len(password)}", "--overwrite"
    )
    for pod in release.pods("web"):
        words = "exec", pod, "--", "cat", "/run/secrets/database/password"
        wait_until(
            partial(release.namespace.kubectl, *words), password.__eq__, 180, f"{pod} has it"
        )


def restarts_and_pods(release: Release) -> tuple[object, ...]:
    return release.namespace.restarts(), *[release.pods(part) for part in PARTS]


def test_a_rotation_under_load_fails_no_request(release: Release) -> None:
    before = restarts_and_pods(release)
    address = f"http://{release.name_of('service', 'web')}:5000"
    poll = release.namespace.start(python_pod("poll", POLL, f"{address}/runs"))
    with release.web() as web:
        as_root(release, f"ALTER USER {USER} IDENTIFIED BY '비밀번호 둘' RETAIN CURRENT PASSWORD")
        web.completed(rule_id="MA_CROSS_11_40")
        store(release, "비밀번호 둘")
        web.completed(rule_id="MA_CROSS_12_40")
        as_root(release, f"ALTER USER {USER} DISCARD OLD PASSWORD")
        web.completed(rule_id="MA_CROSS_13_40")
    release.namespace.kubectl("exec", poll, "--", "touch", "/tmp/stop")
    wait_until(
        lambda: release.namespace.shown("exec", poll, "--", "cat", "/tmp/seen"),
        lambda text: text.startswith("["),
        30,
        "the client has stopped",
    )
    asked, failures = json.loads(release.namespace.kubectl("exec", poll, "--", "cat", "/tmp/seen"))
    print(f"{asked} requests during the rotation")
    assert asked > 300
    assert failures == []
    cut_all_connections(release)
    with release.web() as web:
        assert web.ask("/ready")["status"] == "ok", "new connections have the new password"
        web.completed(rule_id="MA_CROSS_14_40")
    assert restarts_and_pods(release) == before


def test_a_refused_login_is_called_one_and_heals_by_itself(release: Release) -> None:
    """A password that is changed at once, as many tools do: the Secret comes a minute later."""
    before = restarts_and_pods(release)
    as_root(release, f"ALTER USER {USER} IDENTIFIED BY 'three'")
    cut_all_connections(release)
    controller = f"deploy/{release.name_of('deployment', 'controller')}"
    with release.web() as web:
        wait_until(
            lambda: web.ask("/ready")["missing"],
            lambda missing: "refuses this program's login" in " ".join(missing),
            30,
            "/ready says that the login is refused",
        )
        assert "The database refuses this program's login" in str(web.ask("/runs"))
        wait_until(
            lambda: release.namespace.kubectl("logs", controller, "--tail=20"),
            lambda log: "The database refuses this program's login" in log,
            60,
            "the controller says it too",
        )
        (mysql,) = release.namespace.objects("pods", **release.labels("mysql"))
        assert pod_ready(mysql), "those who are logged in keep their way"
        store(release, "three")
        wait_until(lambda: web.ask("/ready")["status"], "ok".__eq__, 30, "ready again")
        web.completed(rule_id="MA_CROSS_15_40")
    assert restarts_and_pods(release) == before
