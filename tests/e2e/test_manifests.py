"""An install from k8s/ alone, as Argo CD, Flux or a person with kubectl makes it."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable

import pytest

from scripts.config import ROOT
from tests.e2e.cluster import CommandFailed, Namespace
from tests.e2e.web import web_at

pytestmark = pytest.mark.cluster

SECRET = {
    "DB_USER": "stock_backtest",
    "DB_PASSWORD": "only-for-this-test",
    "MYSQL_ROOT_PASSWORD": "only-for-root",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The manifests with small CPU requests: the nodes of tests have few cores, and share them."""
    copy = tmp_path_factory.mktemp("k8s")
    for file in (ROOT / "k8s").iterdir():
        (copy / file.name).write_text(re.sub(r"cpu: \d+m", "cpu: 10m", file.read_text()))
    return str(copy)


@pytest.fixture(scope="module")
def applied(new_namespace: Callable[..., Namespace], folder: str) -> Namespace:
    """The two documented steps, then patience."""
    namespace = new_namespace(name="stock-backtest")
    with pytest.raises(CommandFailed, match="illegal base64"):
        namespace.kubectl("apply", "-f", f"{folder}/secret.yaml")  # a template, nobody's password
    words = [f"--from-literal={key}={value}" for key, value in SECRET.items()]
    namespace.kubectl("create", "secret", "generic", "stock-backtest-mysql-auth", *words)
    namespace.kubectl("apply", "-k", folder)
    namespace.wait_until_whole(300)
    return namespace


def test_a_backtest_at_the_port_of_the_node(applied: Namespace) -> None:
    (port,) = applied.object("service", "stock-backtest-web")["spec"]["ports"]
    web = web_at(f"http://{applied.node()}:{port['nodePort']}")
    run_id = web.submit()
    assert web.wait(run_id)["status"] == "completed"
    assert web.result(run_id)["num_trades"] == 34
    assert f"bt-{run_id}" in applied.names("jobs")
    assert len(applied.objects("pods", component="web")) == 2


def test_nobody_who_comes_past_the_ingress_says_for_whom_he_asks(applied: Namespace) -> None:
    """He would be another client at each request, and no limit would hold him."""
    (port,) = applied.object("service", "stock-backtest-web")["spec"]["ports"]
    address = f"http://{applied.node()}:{port['nodePort']}/tickers"
    asked = urllib.request.Request(address, headers={"X-Forwarded-For": "203.0.113.7"})
    for _ in range(4):  # each of the two pods is asked
        urllib.request.urlopen(asked, timeout=20).read()
    logs = "".join(
        applied.kubectl("logs", pod, "--container", "web", "--tail=200")
        for pod in applied.names("pods", component="web")
    )
    assert logs.count("GET /tickers 200") == 4
    assert "203.0.113.7" not in logs


def generations(namespace: Namespace) -> dict[str, int]:
    """The generation of each object, which counts the changes of its spec."""
    items = namespace.objects(
        "deployments,statefulsets,networkpolicies,poddisruptionbudgets,ingresses"
    )
    return {
        f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["generation"]
        for item in items
    }


def test_a_second_sync_changes_nothing(applied: Namespace, folder: str) -> None:
    """Neither a client-side one nor a server-side one, as Flux makes it.

    After a client-side apply the first server-side one needs force: Kubernetes has filled in claim
    templates, which then differ from what is applied.
    """
    pods = applied.names("pods")

    def changes(*options: str) -> bool:
        before = generations(applied)
        applied.kubectl("apply", *options, "-k", folder)
        return generations(applied) != before

    assert applied.kubectl("diff", "-k", folder) == ""
    assert not changes()
    changes("--server-side", "--force-conflicts")
    assert applied.kubectl("diff", "--server-side", "-k", folder) == ""
    assert not changes("--server-side")
    assert applied.names("pods") == pods
