"""A release with the longest name: installed by Helm 3, upgraded by Helm 4, installed again."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.e2e.cluster import Namespace, Release, merged
from tests.e2e.conftest import ONE_EACH, TINY
from tests.e2e.waiters import wait_until

pytestmark = pytest.mark.cluster

HELM3 = os.environ.get("HELM3", "")  # a binary; without one, Helm 4 installs
NAME = "the-longest-name-that-helm-accepts-has-53-characters-"[:52] + "x"


@pytest.fixture(scope="module")
def installed(namespace: Namespace) -> Release:
    release = Release(NAME, namespace, merged(TINY, ONE_EACH), program=HELM3 or "helm")
    release.install()
    return release


@pytest.fixture(scope="module")
def first_run(installed: Release) -> str:
    """A completed run of the release's first days."""
    with installed.web() as web:
        return str(web.completed()["run_id"])


def test_a_name_of_53_characters_fits_everything(installed: Release, first_run: str) -> None:
    assert len(NAME) == 53
    names = {
        kind: installed.namespace.names(kind, instance=NAME)
        for kind in ("deploy", "sts", "svc", "cm", "pods", "jobs")
    }
    assert all(names.values()), names
    assert max(len(name) for name in set().union(*names.values())) <= 63


def test_helm_4_upgrades_what_helm_3_installed(installed: Release, first_run: str) -> None:
    if not HELM3:
        pytest.skip("HELM3 names no binary of Helm 3")
    assert installed.helm("version", "--short")[0].startswith("v3.")
    newer = replace(installed, program="helm")
    assert newer.helm("version", "--short")[0].startswith("v4.")
    webs = installed.pods("web")
    mysql = installed.pods("mysql")
    newer = newer.upgrade(config={"logLevel": "DEBUG"})
    assert set(newer.pods("web")).isdisjoint(webs)
    assert newer.pods("mysql") == mysql
    with newer.web() as web:
        assert web.result(first_run)["status"] == "completed"
        web.completed()


def left(namespace: Namespace) -> set[str]:
    """Everything in the namespace that was not there when it was made, of any kind."""
    kinds = namespace.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    remaining = set(namespace.kubectl("get", ",".join(kinds), "-o", "name").split())
    return {
        name
        for name in remaining
        if not name.startswith(("event", "serviceaccount/default", "configmap/kube-root-ca.crt"))
    }


def test_uninstalling_leaves_the_data_and_its_passwords(installed: Release, first_run: str) -> None:
    namespace = installed.namespace
    (claim,) = namespace.objects("pvc")
    secrets = namespace.objects("secrets", instance=NAME)
    promised = {
        f"persistentvolumeclaim/{claim['metadata']['name']}",
        f"secret/{secrets[0]['metadata']['name']}",
    }
    replace(installed, program="helm").uninstall()
    wait_until(lambda: left(namespace), promised.__eq__, 90, f"only {promised} are left")

    again = Release(NAME, namespace, merged(TINY, ONE_EACH))
    again.install()
    assert namespace.objects("secrets", instance=NAME)[0]["data"] == secrets[0]["data"]
    with again.web() as web:
        assert web.result(first_run)["num_trades"] == 34
        web.completed()
